import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { KafkaMessage } from 'kafkajs';
import { compressFrameSync } from 'lz4-napi';
import { compressSync } from 'snappy';
import { registerCodecs } from '../../src/topic/codecs.ts';
import { mendFetch } from '../../src/topic/kafkajs-fetch.ts';
import { readRecord } from '../../src/topic/record.ts';

/* Answers to a Fetch, byte by byte as brokers write them (KIP-98, and the two formats before), through kafkajs as it is mended. */

const require = createRequire(import.meta.url);
registerCodecs();
mendFetch();

interface Partition {
  messages: unknown[];
}
interface Batch {
  messages: KafkaMessage[];
  lastOffset(): string;
  isEmptyDueToFiltering(): boolean;
}
const encodeRecord = require('kafkajs/src/protocol/recordBatch/record/v0') as (record: { offsetDelta: number; timestampDelta: number; key: null; value: Buffer; headers: Record<string, Buffer> }) => { buffer: Buffer };
const KafkajsBatch = require('kafkajs/src/consumer/batch') as new (topic: string, fetchedOffset: string, partition: Partition) => Batch;
const fetch = require('kafkajs/src/protocol/requests/fetch') as {
  protocol: (choice: { version: number }) => (args: object) => { response: { decode: (data: Buffer) => Promise<{ responses: { partitions: Partition[] }[] }> } };
};

const int = (bytes: 1 | 2 | 4 | 8, value: number): Buffer => {
  const buffer = Buffer.alloc(bytes);
  if (bytes === 8) buffer.writeBigInt64BE(BigInt(value));
  else buffer.writeIntBE(value, 0, bytes);
  return buffer;
};

/** One frame of zstd that compresses nothing (RFC 8878): a head with the size, one raw block. */
function rawZstd(bytes: Buffer): Buffer {
  const head = Buffer.from('28b52ffda000000000000000', 'hex');
  head.writeUInt32LE(bytes.length, 5);
  head.writeUIntLE((bytes.length << 3) | 1, 9, 3);
  return Buffer.concat([head, bytes]);
}
const codecs = { none: (bytes: Buffer) => bytes, gzip: (bytes: Buffer) => gzipSync(bytes), snappy: (bytes: Buffer) => compressSync(bytes), lz4: (bytes: Buffer) => compressFrameSync(bytes), zstd: rawZstd };
type Codec = keyof typeof codecs;
const codecNames = Object.keys(codecs) as Codec[];

const appendTime = 8;
/** `last` is the batch's end; records before it may have been compacted away. Record times are 1000, 1001, …; the batch's own is 5000. */
function batch(offsets: readonly number[], { codec = 'none', attributes = 0, headers = {}, ...range }: { first?: number; last?: number; codec?: Codec; attributes?: number; headers?: Record<string, Buffer> } = {}): Buffer {
  const first = range.first ?? offsets[0] ?? 0;
  const last = range.last ?? offsets.at(-1) ?? first;
  const records = Buffer.concat(offsets.map((offset, index) => encodeRecord({ offsetDelta: offset - first, timestampDelta: index, key: null, value: Buffer.from(`v${offset}`), headers }).buffer));
  const body = offsets.length === 0 ? records : codecs[codec](records);
  const flags = attributes | codecNames.indexOf(codec);
  return Buffer.concat([
    int(8, first), int(4, 49 + body.length), int(4, 0), int(1, 2), int(4, 0), int(2, flags), int(4, last - first), int(8, 1000), int(8, 5000),
    int(8, -1), int(2, -1), int(4, -1), int(4, offsets.length), body,
  ]);
}
/** A message of the formats before: 1 has a time (7000), 0 has none. */
function message(offset: number, magic: 0 | 1, value: Buffer = Buffer.from(`v${offset}`), attributes = 0): Buffer {
  const body = Buffer.concat([int(4, 0), int(1, magic), int(1, attributes), magic === 1 ? int(8, 7000) : Buffer.alloc(0), int(4, -1), int(4, value.length), value]);
  return Buffer.concat([int(8, offset), int(4, body.length), body]);
}

/** What kafkajs makes of an answer for one partition: offsets that are handed over, and the offset up to which it has read. */
async function read(parts: readonly Buffer[], { from = 0, maxBytes = 1_000_000 } = {}): Promise<{ offsets: number[]; last: number; batch: Batch }> {
  const set = Buffer.concat(parts);
  const data = Buffer.concat([
    int(4, 0), int(2, 0), int(4, 0), int(4, 1), int(2, 1), Buffer.from('t'), int(4, 1),
    int(4, 0), int(2, 0), int(8, 1_000_000), int(8, 1_000_000), int(8, 0), int(4, 0), int(4, -1), int(4, set.length), set,
  ]);
  const { response } = fetch.protocol({ version: 11 })({ maxBytes: 1_000_000, topics: [{ topic: 't', partitions: [{ partition: 0, fetchOffset: String(from), maxBytes }] }] });
  const partition = (await response.decode(data)).responses[0]?.partitions[0];
  assert.ok(partition);
  const read = new KafkajsBatch('t', String(from), partition);
  return { offsets: read.messages.map(({ offset }) => Number(offset)), last: Number(read.lastOffset()), batch: read };
}
const timesOf = ({ messages }: Batch): number[] => messages.map(each => readRecord(each).timestampMs);

test('every compression, mixed in one fetch that begins inside the first batch; values and times are the records’ own', async () => {
  const { offsets, last, batch: got } = await read(codecNames.map((codec, index) => batch([2 * index, 2 * index + 1], { codec })), { from: 1 });
  assert.deepEqual([offsets, last], [[1, 2, 3, 4, 5, 6, 7, 8, 9], 9]);
  assert.deepEqual(got.messages.map(({ value }) => value?.toString()), offsets.map(offset => `v${offset}`));
  assert.deepEqual(timesOf(got), [1001, 1000, 1001, 1000, 1001, 1000, 1001, 1000, 1001]);
});

test('records of a topic with append time have the batch’s time, compressed or not', async () => {
  assert.deepEqual(timesOf((await read([batch([0, 1], { codec: 'lz4', attributes: appendTime }), batch([2], { attributes: appendTime })])).batch), [5000, 5000, 5000]);
});

test('what comes to more than the share is cut behind a whole batch, never before the first; the same offset brings the same', async () => {
  const large = { h: Buffer.alloc(40_000) };
  for (const headers of [{}, large]) {
    const parts = [0, 10, 20, 30].map(first => batch([first, first + 5], { last: first + 9, codec: 'gzip', headers }));
    assert.deepEqual((await read(parts, { maxBytes: 1 })).offsets, [0, 5]);
    assert.deepEqual((await read(parts.slice(1), { from: 12, maxBytes: 1 })).offsets, [15]);
    assert.equal((await read(parts, { maxBytes: 1 })).last, 9);
  }
  // Headers count: two batches of 80 kB are the first that come to 150 kB; small ones all fit.
  const [inflated, small] = [large, {}].map(headers => [0, 10, 20, 30].map(first => batch([first, first + 5], { codec: 'gzip', headers })));
  assert.ok(inflated && small);
  assert.deepEqual((await read(inflated, { maxBytes: 100_000 })).offsets, [0, 5, 10, 15]);
  assert.deepEqual((await read(small, { maxBytes: 100_000 })).offsets, [0, 5, 10, 15, 20, 25, 30, 35]);
});

test('a fetch may end anywhere in a batch', async () => {
  const next = batch([4, 5], { codec: 'snappy' });
  for (const bytes of [1, 12, 16, 17, 48, 49, 60, 61, next.length - 1]) assert.deepEqual((await read([batch([3]), next.subarray(0, bytes)], { from: 3 })).offsets, [3], `${bytes} bytes`);
  for (const bytes of [1, 16, 17, 61]) assert.deepEqual((await read([next.subarray(0, bytes)], { from: 4 })).offsets, [], `${bytes} bytes`);
});

test('batches without records, as compaction leaves them, are passed, also where a fetch brings nothing else', async () => {
  for (const codec of codecNames) {
    const { batch: got, last } = await read([batch([], { first: 5, last: 9, codec }), batch([], { first: 10, last: 11, codec })], { from: 5 });
    assert.deepEqual([got.isEmptyDueToFiltering(), last], [true, 11], codec);
  }
  const { offsets, last } = await read([batch([], { first: 5, last: 9 }), batch([10]), batch([], { first: 11, last: 20 })], { from: 5 });
  assert.deepEqual([offsets, last], [[10], 20]);
});

test('the formats before Kafka 0.11: plain, compressed, before and behind batches', async () => {
  const inner = (magic: 0 | 1, offsets: readonly number[]): Buffer => gzipSync(Buffer.concat(offsets.map(offset => message(offset, magic))));
  assert.deepEqual((await read([message(3, 1), message(4, 1)])).offsets, [3, 4]);
  // Format 1 counts within a compressed message, which itself has the last one's offset.
  assert.deepEqual((await read([message(5, 1, inner(1, [0, 2]), 1)])).offsets, [3, 5]);
  assert.deepEqual((await read([message(5, 0, inner(0, [3, 5]), 1)])).offsets, [3, 5]);
  // Each change of format ends a fetch; the next begins there.
  assert.deepEqual((await read([message(3, 1), batch([4, 5])])).offsets, [3]);
  assert.deepEqual((await read([batch([4, 5]), message(6, 1, Buffer.alloc(60))])).offsets, [4, 5]);
  assert.deepEqual(timesOf((await read([message(3, 1)])).batch), [7000]);
  assert.deepEqual(timesOf((await read([message(3, 0)])).batch), [-1]);
});
