import { crc32c, Writer, type Reader } from '@platformatic/kafka';

/**
 * The two Kafka requests that the producer makes, in versions that Kafka 2.1 up to 4.x and Redpanda answer.
 * Written here in one pass over one buffer because building a record out of many small ones costs more than
 * everything else a producer does (docs/adr/0001-producer.md).
 *
 * Produce (key 0, version 7)
 *   transactional_id NULLABLE_STRING | acks INT16 | timeout_ms INT32 | [topics: name STRING | [partitions: index INT32 | records BYTES]]
 *   answer: [topics: name STRING | [partitions: index INT32 | error INT16 | base_offset INT64 | log_append_time INT64 | log_start INT64]] | throttle INT32
 * Metadata (key 3, version 5)
 *   [topics STRING] | allow_auto_topic_creation BOOLEAN
 *   answer: throttle INT32 | [brokers: id INT32 | host STRING | port INT32 | rack NULLABLE_STRING] | cluster NULLABLE_STRING | controller INT32
 *     | [topics: error INT16 | name STRING | internal BOOLEAN | [partitions: error INT16 | index INT32 | leader INT32 | [replicas] | [isr] | [offline] INT32]]
 * Record batch, format 2 (KIP-98)
 *   base_offset INT64 | length INT32 | leader_epoch INT32 | magic INT8 | crc32c UINT32 of all that follows | attributes INT16
 *     | last_offset_delta INT32 | first_timestamp INT64 | max_timestamp INT64 | producer_id INT64 | epoch INT16 | sequence INT32 | count INT32 | records
 *   record: length VARINT | attributes INT8 | timestamp_delta VARINT | offset_delta VARINT | key | value | headers (each length a VARINT, -1 for null)
 */
export const produceApi = { key: 0, version: 7 } as const;
export const metadataApi = { key: 3, version: 5 } as const;

/** The bytes of a record batch before its first record. */
export const batchHeadBytes = 61;

type SingleValue = string | Uint8Array | null;

/** A header without a value is null; a list is one header several times. */
export type HeaderValue = SingleValue | readonly SingleValue[];

export interface PlainRecord {
  key: Uint8Array | null;
  value: Uint8Array;
  headers: Readonly<Record<string, HeaderValue>>;
}

/** A record's key, value and headers as a batch will have them: a range of a larger piece of memory. */
export interface WireRecord {
  bytes: Buffer;
  start: number;
  end: number;
}

/** One record batch: the records of one partition in one request. */
export interface WireBatch {
  topic: string;
  partition: number;
  records: readonly WireRecord[];
}

export interface ProducedPartition {
  topic: string;
  partition: number;
  /** Kafka's error code, 0 when the batch is stored. */
  errorCode: number;
  baseOffset: bigint;
}

export interface MetadataAnswer {
  brokers: { id: number; host: string; port: number }[];
  topics: { name: string; errorCode: number; partitions: { index: number; leader: number }[] }[];
}

/** What a record takes in bytes, without its length prefix and offset delta (at most 10 bytes more). */
export function recordBodyBytes({ start, end }: WireRecord): number {
  return 2 + end - start;
}

/** More bytes than {@link writePlain} may write. */
export function plainBound({ key, value, headers }: PlainRecord): number {
  let bytes = 3 * varintBound + (key?.length ?? 0) + value.length;
  for (const name in headers) {
    const values = headers[name] as HeaderValue;
    for (const each of isList(values) ? values : [values]) bytes += 2 * varintBound + headerName(name).length + (typeof each === 'string' ? 3 * each.length : (each?.length ?? 0));
  }
  return bytes;
}

/** Writes key, value and headers at `start`, where there is room for them; returns the index after them. */
export function writePlain(out: Buffer, start: number, { key, value, headers }: PlainRecord): number {
  let at = key === null ? writeVarint(out, start, -1) : writeSized(out, start, key);
  at = writeSized(out, at, value);
  let count = 0;
  for (const name in headers) {
    const values = headers[name] as HeaderValue;
    count += isList(values) ? values.length : 1;
  }
  at = writeVarint(out, at, count);
  for (const name in headers) {
    const values = headers[name] as HeaderValue;
    if (isList(values)) for (const each of values) at = writeHeader(out, at, headerName(name), each);
    else at = writeHeader(out, at, headerName(name), values);
  }
  return at;
}

/** A whole Produce request with acks=all, plain (not idempotent, not compressed); all its records carry `nowMs`. */
export function encodeProduce(batches: readonly WireBatch[], timeoutMs: number, nowMs: number): Buffer {
  const byTopic = new Map<string, WireBatch[]>();
  let bound = 12;
  for (const batch of batches) {
    bound += batchHeadBytes + 8;
    for (const record of batch.records) bound += recordBodyBytes(record) + 2 * varintBound;
    const group = byTopic.get(batch.topic);
    if (group === undefined) {
      byTopic.set(batch.topic, [batch]);
      bound += 6 + Buffer.byteLength(batch.topic);
    } else group.push(batch);
  }

  const out = Buffer.allocUnsafe(bound);
  let at = out.writeInt16BE(-1, 0);
  at = out.writeInt16BE(-1, at);
  at = out.writeInt32BE(timeoutMs, at);
  at = out.writeInt32BE(byTopic.size, at);
  for (const [topic, group] of byTopic) {
    at = out.writeInt16BE(Buffer.byteLength(topic), at);
    at += out.write(topic, at);
    at = out.writeInt32BE(group.length, at);
    for (const batch of group) {
      at = out.writeInt32BE(batch.partition, at);
      const end = writeBatch(out, at + 4, batch, nowMs);
      out.writeInt32BE(end - at - 4, at);
      at = end;
    }
  }
  return out.subarray(0, at);
}

export function parseProduce(_correlationId: number, _key: number, _version: number, reader: Reader): ProducedPartition[] {
  const results: ProducedPartition[] = [];
  for (let topics = reader.readInt32(); topics > 0; topics--) {
    const topic = reader.readString(false);
    for (let partitions = reader.readInt32(); partitions > 0; partitions--) {
      results.push({ topic, partition: reader.readInt32(), errorCode: reader.readInt16(), baseOffset: reader.readInt64() });
      reader.skip(16);
    }
  }
  return results;
}

export function encodeMetadata(topics: readonly string[]): Buffer {
  const writer = Writer.create();
  writer.appendArray([...topics], (w, topic) => void w.appendString(topic, false), false, false);
  return writer.appendBoolean(false).buffer;
}

export function parseMetadata(_correlationId: number, _key: number, _version: number, reader: Reader): MetadataAnswer {
  const list = <T>(item: (r: Reader) => T): T[] => reader.readArray(item, false, false);
  reader.skip(4);
  const brokers = list((r) => {
    const broker = { id: r.readInt32(), host: r.readString(false), port: r.readInt32() };
    r.readNullableString(false);
    return broker;
  });
  reader.readNullableString(false);
  reader.skip(4);
  const topics = list((r) => {
    const errorCode = r.readInt16();
    const name = r.readString(false);
    r.skip(1);
    const partitions = list((p) => {
      p.skip(2);
      const partition = { index: p.readInt32(), leader: p.readInt32() };
      for (let lists = 3; lists > 0; lists--) list((node) => node.readInt32());
      return partition;
    });
    return { name, errorCode, partitions };
  });
  return { brokers, topics };
}

function writeBatch(out: Buffer, start: number, batch: WireBatch, nowMs: number): number {
  const { records } = batch;
  const now = BigInt(nowMs);
  let at = start + 21;
  at = out.writeInt16BE(0, at);
  at = out.writeInt32BE(records.length - 1, at);
  at = out.writeBigInt64BE(now, at);
  at = out.writeBigInt64BE(now, at);
  at = out.writeBigInt64BE(-1n, at);
  at = out.writeInt16BE(-1, at);
  at = out.writeInt32BE(-1, at);
  at = out.writeInt32BE(records.length, at);
  for (let delta = 0; delta < records.length; delta++) {
    const record = records[delta] as WireRecord;
    at = writeVarint(out, at, recordBodyBytes(record) + varintBytes(delta));
    out[at++] = 0;
    out[at++] = 0;
    at = writeVarint(out, at, delta);
    at += record.bytes.copy(out, at, record.start, record.end);
  }
  out.writeBigInt64BE(0n, start);
  out.writeInt32BE(at - start - 12, start + 8);
  out.writeInt32BE(-1, start + 12);
  out.writeInt8(2, start + 16);
  out.writeUInt32BE(crc32c(out.subarray(start + 21, at)), start + 17);
  return at;
}

function writeHeader(out: Buffer, start: number, name: Buffer, value: SingleValue): number {
  const at = writeSized(out, start, name);
  if (typeof value !== 'string') return value === null ? writeVarint(out, at, -1) : writeSized(out, at, value);
  const from = writeVarint(out, at, Buffer.byteLength(value));
  return from + out.write(value, from);
}

function writeSized(out: Buffer, at: number, bytes: Uint8Array): number {
  const from = writeVarint(out, at, bytes.length);
  out.set(bytes, from);
  return from + bytes.length;
}

const varintBound = 5;

/** A signed 32-bit integer, zigzag, seven bits a byte. */
function writeVarint(out: Buffer, at: number, value: number): number {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  while (rest > 127) {
    out[at++] = (rest & 127) | 128;
    rest >>>= 7;
  }
  out[at++] = rest;
  return at;
}

function varintBytes(value: number): number {
  const zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  return zigzag < 0x80 ? 1 : zigzag < 0x4000 ? 2 : zigzag < 0x200000 ? 3 : zigzag < 0x10000000 ? 4 : 5;
}

function isList(value: HeaderValue): value is readonly SingleValue[] {
  return Array.isArray(value);
}

const headerNames = new Map<string, Buffer>();

/** Header names are few and repeat in every record, so their bytes are kept; bounded, in case they are not. */
function headerName(name: string): Buffer {
  const known = headerNames.get(name);
  if (known !== undefined) return known;
  const bytes = Buffer.from(name);
  if (headerNames.size < 1000) headerNames.set(name, bytes);
  return bytes;
}
