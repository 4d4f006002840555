import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BatchHandler, Gap } from '../../src/topic/subscribe.ts';
import { eventually } from '../helpers/eventually.ts';
import { keepingLog, valuesOf, withTopic } from '../helpers/topic-scene.ts';

/* Offsets that are gone, and partitions that are new: faults.md 9 and 10. */

const named = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, index) => `${prefix}${index}`);

function reading(seen: string[]): BatchHandler {
  return async batch => {
    await batch.commit(batch.endOffset, 'done');
    seen.push(...valuesOf(batch));
    return batch.endOffset;
  };
}

test('records deleted while nobody read: on from the earliest, with one alarm that names the gap', { timeout: 40_000 }, async () => {
  await withTopic(2, async ({ topic, groupId, deleteBefore, send, join }) => {
    const seen: string[] = [];
    await send(named('a', 10), 1);
    const first = await join(reading(seen));
    await eventually(() => seen, all => all.length === 10);
    await first.close();
    await send(named('b', 30), 1);
    await deleteBefore(1, 25);
    const { log, events } = keepingLog();
    const gaps: Gap[] = [];
    await join(reading(seen), { log, onGap: gap => gaps.push(gap) });
    await eventually(() => seen, all => all.includes('b29'));
    assert.deepEqual(seen.slice(10), named('b', 30).slice(15));
    assert.deepEqual(gaps, [{ topic, partition: 1, reason: 'deleted', from: 10n, to: 25n, count: 15n }]);
    const [alarm, ...others] = events('offset_gap');
    assert.deepEqual(others, []);
    const { level, groupId: group, partition, from, to, count } = alarm ?? {};
    assert.deepEqual({ level, group, partition, from, to, count }, { level: 50, group: groupId, partition: 1, from: '10', to: '25', count: '15' });
  });
});

test('records deleted under a running member, whose next fetch is out of range: the same alarm', { timeout: 40_000 }, async () => {
  await withTopic(1, async ({ topic, deleteBefore, send, join }) => {
    const seen: string[] = [];
    const gaps: Gap[] = [];
    let hold: Promise<void> = Promise.resolve();
    let release: () => void = () => undefined;
    await send(named('a', 10));
    const member = await join(async batch => {
      await reading(seen)(batch);
      await hold;
      return batch.endOffset;
    }, { onGap: gap => gaps.push(gap) });
    await eventually(() => seen, all => all.length === 10);
    hold = new Promise(resolve => (release = resolve));
    await send(['last before']);
    await eventually(() => seen, all => all.includes('last before'));
    await send(named('b', 30));
    await deleteBefore(0, 21).finally(release);
    await eventually(() => seen, all => all.includes('b29'));
    assert.deepEqual(seen.slice(11), named('b', 30).slice(10));
    assert.deepEqual(gaps, [{ topic, partition: 0, reason: 'deleted', from: 11n, to: 21n, count: 10n }]);
    assert.ok(member.joined());
  });
});

test('a log shorter than what was read: from the earliest, with an alarm', { timeout: 40_000 }, async () => {
  await withTopic(1, async ({ topic, groupId, admin, send, join }) => {
    const seen: string[] = [];
    await send(named('a', 5));
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '50' }] });
    const gaps: Gap[] = [];
    await join(reading(seen), { onGap: gap => gaps.push(gap) });
    await eventually(() => seen, all => all.length === 5);
    assert.deepEqual(gaps, [{ topic, partition: 0, reason: 'truncated', from: 50n, to: 0n, count: null }]);
  });
});

test('a new group begins at the earliest; what was deleted before it is a warning, no gap', { timeout: 40_000 }, async () => {
  await withTopic(1, async ({ deleteBefore, send, join }) => {
    const seen: string[] = [];
    const { log, events } = keepingLog();
    await send(named('a', 10));
    await deleteBefore(0, 4);
    await join(reading(seen), { log });
    await eventually(() => seen, all => all.length === 6);
    assert.deepEqual(events('offset_gap'), []);
    assert.deepEqual(events('group_begins_late').map(({ partitions }) => partitions), [[{ partition: 0, from: '0', to: '4' }]]);
  });
});

test('added partitions are read from their beginning within ten seconds, by a member that stays', { timeout: 40_000 }, async () => {
  await withTopic(1, async ({ topic, admin, send, join }) => {
    const seen: string[] = [];
    const gaps: Gap[] = [];
    const members = [await join(reading(seen), { onGap: gap => gaps.push(gap) }), await join(reading(seen), { onGap: gap => gaps.push(gap) })];
    await send(['before']);
    await eventually(() => seen, all => all.length === 1);
    await admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] });
    const added = Date.now();
    // The producer has to know of them first.
    await eventually(() => send(['first of 3'], 3).then(() => true, () => false), yes => yes);
    await send(['second of 3'], 3);
    await send(['of 1'], 1);
    await eventually(() => seen, all => all.length >= 4, 15_000);
    assert.ok(Date.now() - added < 10_000, `took ${Date.now() - added} ms`);
    assert.deepEqual([...seen].sort(), ['before', 'first of 3', 'of 1', 'second of 3']);
    assert.deepEqual(gaps, []);
    assert.ok(members.every(member => member.joined()));
  });
});
