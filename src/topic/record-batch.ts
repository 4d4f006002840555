import { createRequire } from 'node:module';
import type { FetchedRecord } from './kafkajs-fetch.ts';

/*
 * A record batch (KIP-98), integers big-endian, varints zigzag:
 *
 *   0   first offset      INT64      21  attributes          INT16      43  producer id        INT64
 *   8   length of what    INT32      23  last offset delta   INT32      51  producer epoch     INT16
 *       follows it                   27  first timestamp     INT64      53  first sequence     INT32
 *   12  leader epoch      INT32      35  largest timestamp   INT64      57  count of records   INT32
 *   16  format, 2         INT8                                          61  records, compressed as the attributes say
 *   17  CRC               UINT32
 *
 *   a record: length VARINT, attributes INT8, timestamp delta VARLONG, offset delta VARINT, key, value, headers;
 *   bytes are a VARINT length, -1 for null, and so many bytes; headers a VARINT count, and name and value of each
 *
 * kafkajs reads the same and gives the same, at ten times the cost: a decoder for each record, a Long for each byte of a time, a copy
 * of the headers for each header. What it makes of a record that claims to be longer than its batch is anybody's guess; here it is a fault.
 */

export interface BatchContext {
  firstOffset: string;
  lastOffsetDelta: number;
  producerId: string;
  inTransaction: boolean;
}

export interface RecordBatch {
  context: BatchContext;
  records: FetchedRecord[];
  /** What the records came to, inflated. */
  recordBytes: number;
  /** Where the next batch begins. */
  end: number;
}

interface Codec {
  decompress: (compressed: Buffer) => Promise<Buffer>;
}

const lengthAt = 8;
const lengthEnd = 12;
const formatAt = 16;
const recordsAt = 61;

const appendTimeFlag = 0x8;
const transactionalFlag = 0x10;
const controlFlag = 0x20;

/** The format of the batch that begins at `at`, or null where not even that is there. */
export function batchFormat(bytes: Buffer, at: number): number | null {
  return at + formatAt < bytes.length ? bytes.readInt8(at + formatAt) : null;
}

const require = createRequire(import.meta.url);
const { lookupCodecByAttributes } = require('kafkajs/src/protocol/message/compression') as { lookupCodecByAttributes: (attributes: number) => Codec | null };

/** The batch of format 2 that begins at `at`, or null where it is not whole: a fetch ends in the middle of one. */
export async function decodeBatch(bytes: Buffer, at: number): Promise<RecordBatch | null> {
  if (at + recordsAt > bytes.length) return null;
  const end = at + lengthEnd + bytes.readInt32BE(at + lengthAt);
  if (end > bytes.length) return null;
  if (end < at + recordsAt) throw new RangeError('a record batch is shorter than its head');
  const attributes = bytes.readInt16BE(at + 21);
  const firstOffset = bytes.readBigInt64BE(at);
  const context: BatchContext = {
    firstOffset: String(firstOffset),
    lastOffsetDelta: bytes.readInt32BE(at + 23),
    producerId: String(bytes.readBigInt64BE(at + 43)),
    inTransaction: (attributes & transactionalFlag) !== 0,
  };
  const count = bytes.readInt32BE(at + 57);
  const codec = lookupCodecByAttributes(attributes);
  const stored = bytes.subarray(at + recordsAt, end);
  const cursor: Cursor = { bytes: codec === null || count <= 0 ? stored : await codec.decompress(stored), at: 0, names: [] };
  const times = { first: Number(bytes.readBigInt64BE(at + 27)), all: (attributes & appendTimeFlag) === 0 ? null : Number(bytes.readBigInt64BE(at + 35)) };
  const isControlRecord = (attributes & controlFlag) !== 0;
  const records: FetchedRecord[] = [];
  for (let index = 0; index < count; index++) records.push(readRecord(cursor, Number(firstOffset), times, isControlRecord, context));
  return { context, records, recordBytes: cursor.bytes.length, end };
}

interface Cursor {
  readonly bytes: Buffer;
  at: number;
  /** Of the headers of the record before: most often the next one has the same. */
  readonly names: { bytes: Buffer; text: string }[];
}

function readRecord(cursor: Cursor, firstOffset: number, times: { first: number; all: number | null }, isControlRecord: boolean, batchContext: BatchContext): FetchedRecord {
  const length = readVarint(cursor);
  const end = cursor.at + length;
  if (length < 0 || end > cursor.bytes.length) throw new RangeError('a record is longer than its batch');
  // Its attributes mean nothing yet.
  cursor.at++;
  const time = readVarint(cursor);
  const offset = String(firstOffset + readVarint(cursor));
  const key = readBytes(cursor);
  const value = readBytes(cursor);
  const headers = readHeaders(cursor);
  // A later format may have more in it.
  if (cursor.at > end) throw new RangeError('a record is longer than it claims');
  cursor.at = end;
  return { offset, timestamp: String(times.all ?? times.first + time), key, value, headers, isControlRecord, batchContext };
}

/** Exact up to 2^53, beyond which no offset or time of ours goes. */
function readVarint(cursor: Cursor): number {
  const { bytes } = cursor;
  let byte = bytes[cursor.at++] ?? 0;
  let sum = byte & 0x7f;
  for (let factor = 128, length = 1; byte >= 0x80; factor *= 128) {
    // Far more of them would make no number at all, which no bound holds.
    if (++length > 10) throw new RangeError('an integer is longer than 64 bits');
    byte = bytes[cursor.at++] ?? 0;
    sum += (byte & 0x7f) * factor;
  }
  return sum % 2 === 0 ? sum / 2 : -(sum + 1) / 2;
}

function readBytes(cursor: Cursor): Buffer | null {
  const length = readVarint(cursor);
  if (length < 0) return null;
  const start = cursor.at;
  cursor.at += length;
  return cursor.bytes.subarray(start, cursor.at);
}

/** As kafkajs collects them: of a name that comes again, all values in a list. */
function readHeaders(cursor: Cursor): NonNullable<FetchedRecord['headers']> {
  const headers: NonNullable<FetchedRecord['headers']> = {};
  const count = readVarint(cursor);
  for (let index = 0; index < count; index++) {
    const name = readName(cursor, index);
    const value = readBytes(cursor);
    if (Object.hasOwn(headers, name)) headers[name] = [headers[name] ?? null, value].flat();
    // It has a setter of that name.
    else if (name === '__proto__') Object.defineProperty(headers, name, { value, enumerable: true, writable: true, configurable: true });
    else headers[name] = value;
  }
  return headers;
}

const maxNames = 20;

function readName(cursor: Cursor, index: number): string {
  const length = readVarint(cursor);
  if (length > cursor.bytes.length - cursor.at) throw new RangeError('a header is longer than its batch');
  if (length < 0) return 'null';
  const start = cursor.at;
  cursor.at += length;
  const before = cursor.names[index];
  if (before?.bytes.length === length && before.bytes.compare(cursor.bytes, start, cursor.at) === 0) return before.text;
  const bytes = cursor.bytes.subarray(start, cursor.at);
  const text = bytes.toString();
  if (index < maxNames) cursor.names[index] = { bytes, text };
  return text;
}
