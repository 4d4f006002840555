import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { decodeBatch } from '../../src/topic/record-batch.ts';

/* Bytes as brokers have them (KIP-98), read here and by kafkajs' own decoder. */

const require = createRequire(import.meta.url);
const encodeRecord = require('kafkajs/src/protocol/recordBatch/record/v0') as (record: object) => { buffer: Buffer };
const Decoder = require('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => object;
const theirs = require('kafkajs/src/protocol/recordBatch/v0/decoder') as (decoder: object) => Promise<{ firstOffset: string; lastOffsetDelta: number; producerId: string; inTransaction: boolean; records: Record<string, unknown>[] }>;

const gzip = 1;
function batch(records: readonly Buffer[], { firstOffset = 0n, attributes = 0, count = records.length }: { firstOffset?: bigint; attributes?: number; count?: number } = {}): Buffer {
  const plain = Buffer.concat(records);
  const body = (attributes & gzip) !== 0 && count > 0 ? gzipSync(plain) : plain;
  const head = Buffer.alloc(61);
  head.writeBigInt64BE(firstOffset, 0);
  head.writeInt32BE(49 + body.length, 8);
  head.writeInt8(2, 16);
  head.writeInt16BE(attributes, 21);
  head.writeInt32BE(70_000, 23);
  head.writeBigInt64BE(1_750_000_000_000n, 27);
  head.writeBigInt64BE(1_750_000_099_000n, 35);
  head.writeBigInt64BE(77n, 43);
  head.writeInt32BE(count, 57);
  return Buffer.concat([head, body]);
}

const sent: { key: Buffer | null; value: Buffer | null; headers: Record<string, Buffer | Buffer[]>; offsetDelta: number; timestampDelta: number }[] = [
  { key: null, value: null, headers: {}, offsetDelta: 0, timestampDelta: 0 },
  { key: Buffer.alloc(0), value: Buffer.alloc(0), headers: { a: Buffer.alloc(0) }, offsetDelta: 1, timestampDelta: -5 },
  { key: Buffer.from('k'), value: Buffer.alloc(300, 7), headers: { tenant: Buffer.from('acme'), dialect: Buffer.from('segment') }, offsetDelta: 63, timestampDelta: 63 },
  { key: Buffer.from('k'), value: Buffer.alloc(20_000, 7), headers: { tenant: Buffer.from('acme'), dialecT: Buffer.from('x') }, offsetDelta: 64, timestampDelta: 64 },
  { key: Buffer.from('é'), value: Buffer.from('v'), headers: { a: [Buffer.from('1'), Buffer.from('2'), Buffer.from('3')], 'ü€': Buffer.from([255]) }, offsetDelta: 70_000, timestampDelta: 9_000_000_000 },
];

test('a batch is what kafkajs makes of it: offsets, times, nulls, headers that repeat, compressed, transactional, of control, with append time', async () => {
  const records = sent.map(record => encodeRecord(record).buffer);
  for (const attributes of [0, gzip, 0x10, 0x20, 0x8, 0x8 | gzip]) {
    const bytes = batch(records, { firstOffset: 9_007_199_254_000_000n, attributes });
    const expected = await theirs(new Decoder(bytes));
    const got = await decodeBatch(Buffer.concat([Buffer.alloc(3), bytes]), 3);
    assert.ok(got);
    const { firstOffset, lastOffsetDelta, producerId, inTransaction } = expected;
    assert.deepEqual([got.context, got.end], [{ firstOffset, lastOffsetDelta, producerId, inTransaction }, 3 + bytes.length]);
    const told = ({ offset, timestamp, key, value, headers, isControlRecord }: Record<string, unknown>): unknown => ({ offset, timestamp, key, value, headers, isControlRecord });
    assert.deepEqual(got.records.map(record => told({ ...record })), expected.records.map(told));
    assert.equal(got.recordBytes, Buffer.concat(records).length);
  }
});

test('headers that are named as what every object has are headers', async () => {
  const headers = Object.defineProperty({ toString: Buffer.from('1') }, '__proto__', { value: Buffer.from('2'), enumerable: true });
  const got = await decodeBatch(batch([encodeRecord({ key: null, value: null, headers, offsetDelta: 0, timestampDelta: 0 }).buffer]), 0);
  assert.deepEqual(Object.entries(got?.records[0]?.headers ?? {}), Object.entries(headers));
});

test('what claims to be longer than its batch is a fault, and quickly: a record, its value, its headers, the batch’s own count', async () => {
  const zigzag = (value: number): Buffer => {
    const bytes: number[] = [];
    let left = value < 0 ? -2 * value - 1 : 2 * value;
    for (; left >= 128; left = Math.floor(left / 128)) bytes.push((left % 128) | 128);
    return Buffer.from([...bytes, left]);
  };
  const record = (...parts: number[]): Buffer => {
    const body = Buffer.concat([Buffer.from([0]), ...parts.map(zigzag)]);
    return Buffer.concat([zigzag(body.length), body]);
  };
  // Time, offset, key, value, headers.
  assert.equal((await decodeBatch(batch([record(0, 0, -1, -1, 0)]), 0))?.records.length, 1);
  for (const bad of [record(0, 0, -1, 1_000, 0), record(0, 0, 5, -1, 0), record(0, 0, -1, -1, 2 ** 31), record(0, 0, -1, -1, 1, 2 ** 31), record(0, 0, -1, -1, 1, 0, 2 ** 31), zigzag(2 ** 31), zigzag(-1)]) {
    await assert.rejects(decodeBatch(batch([bad]), 0), RangeError, bad.toString('hex'));
  }
  await assert.rejects(decodeBatch(batch([record(0, 0, -1, -1, 0)], { count: 2 ** 31 - 1 }), 0), RangeError);
  // No number at all: nothing would be longer than that.
  await assert.rejects(decodeBatch(batch([Buffer.alloc(400, 0x80)], { count: 100_000 }), 0), RangeError);
  const short = batch([]);
  short.writeInt32BE(48, 8);
  await assert.rejects(decodeBatch(short, 0), RangeError);
});

test('a batch that is not whole is none', async () => {
  const bytes = batch([encodeRecord({ key: null, value: Buffer.from('v'), headers: {}, offsetDelta: 0, timestampDelta: 0 }).buffer]);
  for (let length = 0; length < bytes.length; length++) assert.equal(await decodeBatch(bytes.subarray(0, length), 0), null, `${length} bytes`);
});
