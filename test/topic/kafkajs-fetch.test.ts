import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { createQueue, cutPartition, mendPartition } from '../../src/topic/kafkajs-fetch.ts';
import type { FetchedPartition, FetchedRecord } from '../../src/topic/kafkajs-fetch.ts';

/* Faults of kafkajs 2.2.4, shown in its own code, and the same input mended. */

interface Batch {
  messages: FetchedRecord[];
  lastOffset(): string;
  isEmptyDueToFiltering(): boolean;
}
const KafkajsBatch = createRequire(import.meta.url)('kafkajs/src/consumer/batch') as new (topic: string, fetchedOffset: string, partition: FetchedPartition & { partition: number; highWatermark: string }) => Batch;

const batchOf = (partition: FetchedPartition, fetchedOffset = '0'): Batch => new KafkajsBatch('t', fetchedOffset, { ...partition, partition: 0, highWatermark: '1000000' });
const offsetsOf = (batch: Batch): number[] => batch.messages.map(({ offset }) => Number(offset));
const mended = (partition: FetchedPartition): FetchedPartition => {
  mendPartition(partition);
  return partition;
};

const abort = Buffer.from([0, 0, 0, 0]);
const commit = Buffer.from([0, 0, 0, 1]);
function record(offset: number, producerId: string | null, { key = null, control = false, firstOffset = offset, lastOffsetDelta = 0 }: { key?: Buffer | null; control?: boolean; firstOffset?: number; lastOffsetDelta?: number } = {}): FetchedRecord {
  return { offset: String(offset), key, isControlRecord: control, batchContext: { firstOffset: String(firstOffset), lastOffsetDelta, producerId: producerId ?? '-1', inTransaction: producerId !== null } };
}

/** A begins first and ends last; the broker lists what ended first. */
const overlapping = (): FetchedPartition => ({
  abortedTransactions: [{ producerId: 'B', firstOffset: '1' }, { producerId: 'A', firstOffset: '0' }],
  messages: [record(0, 'A'), record(1, 'B'), record(2, 'A'), record(3, 'B', { key: abort, control: true }), record(4, 'A', { key: abort, control: true }), record(5, null), record(6, 'C'), record(7, 'C', { key: commit, control: true })],
});

test('overlapping aborted transactions: kafkajs hands over an aborted record, mended it does not', () => {
  assert.deepEqual(offsetsOf(batchOf(overlapping())), [0, 5, 6]);
  const batch = batchOf(mended(overlapping()));
  assert.deepEqual(offsetsOf(batch), [5, 6]);
  assert.equal(batch.lastOffset(), '7');
});

test('a fetch that begins inside two of them: the same', () => {
  const partition = (): FetchedPartition => ({
    abortedTransactions: [{ producerId: 'A', firstOffset: '0' }, { producerId: 'B', firstOffset: '1' }],
    messages: [record(10, 'B'), record(11, 'A'), record(12, 'B', { key: abort, control: true }), record(13, 'A', { key: abort, control: true })],
  });
  assert.deepEqual(offsetsOf(batchOf(partition())), [10]);
  const batch = batchOf(mended(partition()));
  assert.deepEqual(offsetsOf(batch), []);
  assert.ok(batch.isEmptyDueToFiltering());
  assert.equal(batch.lastOffset(), '13');
});

test('an aborted record whose key is four zero bytes does not end its transaction', () => {
  const partition = (): FetchedPartition => ({
    abortedTransactions: [{ producerId: 'A', firstOffset: '0' }],
    messages: [record(0, 'A', { key: Buffer.from([0, 0, 0, 0]) }), record(1, 'A'), record(2, 'A', { key: abort, control: true }), record(3, 'A'), record(4, 'A', { key: commit, control: true })],
  });
  assert.deepEqual(offsetsOf(batchOf(partition())), [0, 1, 3]);
  assert.deepEqual(offsetsOf(batchOf(mended(partition()))), [3]);
});

test('compaction took the end of a batch: kafkajs believes that the batch ends before, mended it goes on behind it', () => {
  const partition = (): FetchedPartition => ({ abortedTransactions: null, messages: [record(100, null, { firstOffset: 100, lastOffsetDelta: 9_999 })] });
  assert.equal(batchOf(partition(), '100').lastOffset(), '100');
  assert.equal(batchOf(mended(partition()), '100').lastOffset(), '10099');
  assert.deepEqual(offsetsOf(batchOf(mended(partition()), '100')), [100]);
  // The next fetch of kafkajs alone brings the same batch again, and moves on by one.
  assert.equal(batchOf(partition(), '101').lastOffset(), '101');
  const again = batchOf(mended(partition()), '101');
  assert.deepEqual([again.lastOffset(), offsetsOf(again)], ['10099', []]);
});

test('records of old formats, and none at all, stay as they are', () => {
  const old: FetchedPartition = { messages: [{ offset: '3', key: null }] };
  assert.deepEqual(offsetsOf(batchOf(mended(old))), [3]);
  assert.deepEqual(mended({ abortedTransactions: [], messages: [] }).messages, []);
});

test('those partitions are asked for first that have waited longest', () => {
  const queue = createQueue();
  const order = (topic: string): number[] => queue.ordered(topic, [0, 1, 2, 3].map(partition => ({ partition, maxBytes: 1 }))).map(({ partition }) => partition);
  assert.deepEqual(order('t'), [0, 1, 2, 3]);
  queue.served('t', 0);
  queue.served('t', 2);
  assert.deepEqual(order('t'), [1, 3, 0, 2]);
  queue.served('t', 1);
  queue.served('t', 0);
  assert.deepEqual(order('t'), [3, 2, 1, 0]);
  assert.deepEqual(order('other'), [0, 1, 2, 3]);
});

test('of an answer that its limit has ended, the partition that was cut is named', () => {
  const cut = (sizes: number[]): number | null => cutPartition(sizes, { maxBytes: 300, topics: [{ topic: 't', partitions: [0, 1, 2, 3, 4].map(partition => ({ partition, maxBytes: 100 })) }] });
  assert.equal(cut([100, 50, 100, 50, 0]), 3);
  assert.equal(cut([50, 100, 0, 100, 50]), 4);
  assert.equal(cut([100, 100, 100, 0, 0]), null, 'each has its share');
  assert.equal(cut([100, 50, 100, 49, 0]), null, 'the limit was not reached: there was no more');
  assert.equal(cut([500, 0, 0, 0, 0]), null, 'the first always gets its first batch');
  assert.equal(cut([0, 350, 0, 0, 0]), null);
  assert.equal(cut([]), null);
});
