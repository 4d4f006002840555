import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cutBatch, decodePlan, encodePlan, planOf, planToken, readCommit, remainderToken, settledMetadata } from '../../src/sink/plan.ts';

const record = (offset: number, value: string | null = `v${offset}`): { offset: bigint; value: Buffer | null } => ({ offset: BigInt(offset), value: value === null ? null : Buffer.from(value) });

test('a plan survives the way through commit metadata', () => {
  const plan = planOf([record(5), record(7), record(9)]);
  assert.deepEqual([plan.first, plan.last, plan.count], [5n, 9n, 3]);
  const metadata = encodePlan(plan);
  assert.ok(metadata.length < 200);
  assert.deepEqual(decodePlan(5n, metadata), plan);
  const judged = planOf([record(5)], 'e', '0123456789abcdef');
  assert.deepEqual([decodePlan(5n, encodePlan(judged))?.rules, plan.rules], ['0123456789abcdef', '']);
});

test('metadata that is no plan of ours is none', () => {
  for (const metadata of ['', 'x', '{}', '{"plan":2,"last":"9","count":1,"hash":"x"}', '{"plan":1,"last":9,"count":1,"hash":"x"}', '{"plan":1,"last":"-9","count":1,"hash":"x"}', '{broken']) {
    assert.equal(decodePlan(5n, metadata), null, metadata);
  }
  assert.equal(decodePlan(null, encodePlan(planOf([record(1)]))), null);
});

test('a sink’s metadata with another offset is somebody else’s commit; that of earlier versions, which named none, is a sink’s', () => {
  const plan = planOf([record(5), record(7)], 'e1');
  assert.equal(readCommit(4n, encodePlan(plan)), null);
  assert.equal(readCommit(4n, settledMetadata(5n, null, 'e1')), null);
  assert.deepEqual(readCommit(5n, settledMetadata(5n, 8n, 'e1')), { plan: null, storedUpTo: 8n, unfed: null, epoch: 'e1' });
  for (const unfed of [{ from: 3n, sinceMs: 1_790_000_000_000 }, { from: 3n, sinceMs: null }]) assert.deepEqual(readCommit(5n, settledMetadata(5n, null, '', unfed)), { plan: null, storedUpTo: 4n, unfed, epoch: '' });
  assert.equal(readCommit(5n, settledMetadata(5n, null, '', { from: 5n, sinceMs: 1 }))?.unfed, null);
  assert.deepEqual(readCommit(5n, `{"plan":1,"last":"7","count":2,"hash":"${plan.hash}"}`), { plan: { ...plan, epoch: '' }, storedUpTo: 4n, unfed: null, epoch: '' });
  assert.deepEqual(readCommit(5n, '{"settled":1}'), { plan: null, storedUpTo: 4n, unfed: null, epoch: '' });
});

test('the hash tells any other records apart', () => {
  const hashes = [
    [record(1), record(2)],
    [record(1), record(3)],
    [record(1), record(2, 'other')],
    [record(1), record(2, null)],
    [record(1), record(2, '')],
    [record(1, 'v1v'), record(2, '2')],
    [record(1)],
  ].map(records => planOf(records).hash);
  assert.equal(new Set(hashes).size, hashes.length);
});

test('batches are cut by rows and bytes and never empty', () => {
  const records = [record(1, 'aaaa'), record(2, 'bbbb'), record(3, 'cccc'), record(4, null)];
  const offsets = (maxRows: number, maxBytes: number): number[] => cutBatch(records, maxRows, maxBytes).map(({ offset }) => Number(offset));
  assert.deepEqual(offsets(2, 100), [1, 2]);
  assert.deepEqual(offsets(10, 8), [1, 2]);
  assert.deepEqual(offsets(10, 1), [1]);
  assert.deepEqual(offsets(10, 100), [1, 2, 3, 4]);
  assert.deepEqual(cutBatch([], 10, 100), []);
});

test('tokens name the batch, and a remainder its ids', () => {
  const plan = planOf([record(5), record(9)]);
  assert.equal(planToken('events', 3, plan), `events/3/5-9/${plan.hash}`);
  assert.notEqual(remainderToken('t', ['a', 'b']), remainderToken('t', ['a']));
});
