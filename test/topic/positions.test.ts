import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openMetadata, sealMetadata } from '../../src/topic/committed-metadata.ts';
import { createPositions, startOf } from '../../src/topic/positions.ts';
import type { Gap } from '../../src/topic/positions.ts';

test('the envelope goes on and off; what has none, or is no envelope, stays as it is', () => {
  assert.deepEqual(openMetadata(sealMetadata('id', '{"plan":1}')), { topicId: 'id', metadata: '{"plan":1}' });
  assert.equal(sealMetadata(null, 'bare'), 'bare');
  for (const text of ['', 'bare', '{"plan":1,"last":"3"}', '{"topicId":', '{"topicId":7,"metadata":"x"}', '{"topicId":"x"}']) {
    assert.deepEqual(openMetadata(text), { topicId: null, metadata: text });
  }
});

test('where a session begins', () => {
  const commit = { offset: 7n, topicId: 'a', metadata: 'm' };
  const committed = { offset: 7n, metadata: 'm' };
  assert.deepEqual(startOf(undefined, 'a', 3n), { committed: { offset: null, metadata: '' }, position: 3n, seek: false, finding: null });
  assert.deepEqual(startOf({ ...commit, offset: -1n }, 'a', 3n), { committed: { offset: null, metadata: '' }, position: 3n, seek: false, finding: null });
  assert.deepEqual(startOf({ ...commit, offset: -2n }, 'a', 3n).finding, { kind: 'gap', reason: 'reset', from: null });
  for (const [theirs, ours] of [['a', 'a'], ['a', null], [null, 'a'], [null, null]] as const) {
    assert.deepEqual(startOf({ ...commit, topicId: theirs }, ours, 3n), { committed, position: 7n, seek: false, finding: null });
  }
  assert.deepEqual(startOf(commit, 'a', 9n), { committed, position: 9n, seek: true, finding: { kind: 'gap', reason: 'deleted', from: 7n } });
  assert.deepEqual(startOf(commit, 'b', 0n), { committed: { offset: null, metadata: '' }, position: 0n, seek: true, finding: { kind: 'remade', oldTopicId: 'a' } });
});

function scene(earliest: bigint, latest: bigint): { positions: ReturnType<typeof createPositions>; sought: bigint[]; gaps: Gap[] } {
  const sought: bigint[] = [];
  const gaps: Gap[] = [];
  const positions = createPositions({
    topic: 't',
    seek: (_partition, offset) => sought.push(offset),
    look: () => Promise.resolve({ id: 'a', partitionCount: 1, brokerCount: 1, earliest: new Map([[0, earliest]]), latest: new Map([[0, latest]]) }),
    onGap: gap => gaps.push(gap),
  });
  return { positions, sought, gaps };
}

test('kafkajs is where it should be, or is sent there; what it jumps over is never silent', async () => {
  const { positions, sought, gaps } = scene(0n, 100n);
  positions.begin(0, startOf({ offset: 10n, topicId: 'a', metadata: '' }, 'a', 0n));
  assert.equal(await positions.judge(0, 10n), true);
  positions.advance(0, 20n);
  // A stale seek, a fault of kafkajs: whatever it is, records would be passed by.
  assert.equal(await positions.judge(0, 30n), false);
  assert.deepEqual(sought, [20n]);
  assert.equal(await positions.judge(0, 20n), true);
  positions.advance(0, 25n);
  assert.equal(await positions.judge(0, 30n), false);
  assert.equal(await positions.judge(0, 30n), true, 'where it cannot be sent there, reading goes on, with an alarm');
  assert.deepEqual(gaps, [{ topic: 't', partition: 0, reason: 'skipped', from: 25n, to: 30n, count: 5n }]);
});

test('what holds only control records is no gap, also just after a seek', async () => {
  const { positions, sought, gaps } = scene(0n, 100n);
  positions.begin(0, startOf({ offset: 10n, topicId: 'a', metadata: '' }, 'a', 0n));
  positions.passed(0, 12n);
  assert.equal(await positions.judge(0, 12n), true);
  positions.begin(0, startOf({ offset: 10n, topicId: 'a', metadata: '' }, 'b', 0n));
  // Fetched before the seek: says nothing about where we are now.
  positions.passed(0, 60n);
  assert.equal(await positions.judge(0, 60n), false);
  positions.passed(0, 3n);
  assert.equal(await positions.judge(0, 3n), true);
  assert.deepEqual(sought, [0n, 0n]);
  assert.deepEqual(gaps, []);
});
