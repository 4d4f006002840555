import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';
import { sealMetadata } from '../../src/topic/committed-metadata.ts';
import type { BatchHandler } from '../../src/topic/subscribe.ts';
import { eventually } from '../helpers/eventually.ts';
import { sharedStack } from '../helpers/shared-stack.ts';
import { keepingLog, valuesOf, withTopic } from '../helpers/topic-scene.ts';
import type { TopicScene } from '../helpers/topic-scene.ts';

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

/** Commits as a member would whose commit was under way while the topic was made again. */
async function commitLate({ topic, groupId }: TopicScene, offset: number, metadata: string): Promise<void> {
  const consumer = new Kafka({ brokers: [sharedStack().kafkaBrokers], logLevel: logLevel.NOTHING }).consumer({ groupId, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic] });
  const joined = new Promise(resolve => consumer.on(consumer.events.GROUP_JOIN, event => {
    // Else it would itself find the offset out of range, and commit another.
    consumer.pause([{ topic }]);
    resolve(event);
  }));
  await consumer.run({ autoCommit: false, eachMessage: () => Promise.resolve() });
  await joined;
  await consumer.commitOffsets([{ topic, partition: 0, offset: String(offset), metadata }]);
  await consumer.disconnect();
}

for (const [count, how] of [[5, 'fewer'], [30, 'more']] as const) {
  test(`made again while nobody ran, with ${how} records than before, and an old commit that came after: read from the beginning`, async () => {
    await withTopic(1, async scene => {
      const { topic, send, join, remake, committed } = scene;
      const seen: string[] = [];
      await send(named('old', 20));
      const first = await join(reading(seen));
      await eventually(() => seen, all => all.length === 20);
      await first.close();
      const [before] = await committed();
      assert.equal(before?.offset, '20');
      await remake();
      await send(named('new', count));
      await commitLate(scene, 20, sealMetadata(before.topicId, '{"settled":1}'));
      const { log, events } = keepingLog();
      const shown: unknown[] = [];
      await join(async batch => {
        shown.push(await batch.committed());
        return reading(seen)(batch);
      }, { log });
      await eventually(() => seen, all => all.includes(`new${count - 1}`));
      assert.deepEqual(seen.slice(20), named('new', count));
      assert.deepEqual(shown[0], { offset: null, metadata: '' });
      const [after] = await committed();
      assert.equal(after?.offset, String(count));
      assert.notEqual(after.topicId, before.topicId);
      const [alarm, ...others] = events('topic_remade');
      assert.deepEqual(others, []);
      assert.deepEqual([alarm?.['topic'], alarm?.['partitions'], alarm?.['oldTopicId'], alarm?.['newTopicId']], [topic, [0], before.topicId, after.topicId]);
      assert.equal(alarm?.['level'], 50);
    });
  });
}

test('a commit without a topic id, as older versions made them, is believed', async () => {
  await withTopic(1, async scene => {
    const seen: string[] = [];
    await scene.send(named('a', 10));
    await commitLate(scene, 4, '{"settled":1}');
    const shown: unknown[] = [];
    await scene.join(async batch => {
      shown.push(await batch.committed());
      return reading(seen)(batch);
    });
    await eventually(() => seen, all => all.includes('a9'));
    assert.deepEqual(seen, named('a', 10).slice(4));
    assert.deepEqual(shown[0], { offset: 4n, metadata: '{"settled":1}' });
  });
});
