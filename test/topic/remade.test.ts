import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BatchHandler } from '../../src/topic/subscribe.ts';
import { eventually } from '../helpers/eventually.ts';
import { keepingLog, valuesOf, withTopic } from '../helpers/topic-scene.ts';

/* A topic that is deleted and made again under the same name: an offset of the old one says nothing about the new one. */

const named = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, index) => `${prefix}${index}`);

/** Commits each batch and notes its values. */
function reading(seen: string[]): BatchHandler {
  return async batch => {
    await batch.commit(batch.endOffset, 'done');
    seen.push(...valuesOf(batch));
    return batch.endOffset;
  };
}

for (const [count, how] of [[3, 'fewer'], [40, 'more']] as const) {
  test(`made again under a running member, with ${how} records than before: every one is read`, async () => {
    await withTopic(2, async ({ topic, send, join, remake, committed }) => {
      const { log, events } = keepingLog();
      const seen: string[] = [];
      await send(named('old', 20), 0);
      await send(named('old too ', 20), 1);
      const member = await join(reading(seen), { log, topicPollMs: 300 });
      await eventually(() => seen, all => all.length === 40);
      await remake();
      await send(named('new', count), 0);
      await eventually(() => seen, all => named('new', count).every(value => all.includes(value)), 25_000);
      await eventually(committed, all => all.find(({ partition }) => partition === 0)?.offset === String(count));
      assert.ok(member.joined());
      const alarms = events('topic_remade');
      // Where kafkajs noticed that the topic was away, it has joined anew, and Kafka has dropped the commits with the topic.
      assert.ok(alarms.length <= 1, JSON.stringify(alarms));
      for (const alarm of alarms) {
        assert.equal(alarm['topic'], topic);
        assert.notEqual(alarm['oldTopicId'], alarm['newTopicId']);
        assert.ok(Array.isArray(alarm['partitions']));
      }
    });
  });
}

test('commits of the old topic that are still there do not move the new one', async () => {
  await withTopic(1, async ({ topic, groupId, admin, send, join, remake, committed }) => {
    const seen: string[] = [];
    await send(named('old', 20));
    const first = await join(reading(seen));
    await eventually(() => seen, all => all.length === 20);
    await first.close();
    const [before] = await committed();
    assert.equal(before?.offset, '20');
    await remake();
    await send(named('new', 30));
    // Kafka drops a topic's commits with it; a commit that was under way comes after that.
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '20' }] });
    const { log, events } = keepingLog();
    const member = await join(reading(seen), { log });
    await eventually(() => seen, all => all.includes('new29'));
    assert.ok(member.joined());
    // Without an id in its metadata a commit is believed, as an older version's must be.
    assert.deepEqual(seen.slice(20), named('new', 30).slice(20));
    assert.deepEqual(events('topic_remade'), []);
  });
});
