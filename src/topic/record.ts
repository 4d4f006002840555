import { isUtf8 } from 'node:buffer';
import type { IHeaders, KafkaMessage } from 'kafkajs';
import type { RecordHeader } from '../event/dead-letter.ts';

export interface SubscribedRecord {
  offset: bigint;
  key: Buffer | null;
  value: Buffer | null;
  /** Milliseconds since the epoch; -1 where the record has none. */
  timestampMs: number;
  headers: IHeaders;
}

export function readRecord(message: KafkaMessage): SubscribedRecord {
  return {
    offset: BigInt(message.offset),
    key: message.key,
    value: message.value,
    // The oldest format (before Kafka 0.10) has none.
    timestampMs: Number(message.timestamp ?? -1),
    headers: message.headers ?? {},
  };
}

/** A header's last value, or null. */
export function headerBytes(headers: IHeaders, name: string): Buffer | null {
  const values = Object.hasOwn(headers, name) ? headers[name] : undefined;
  return Buffer.isBuffer(values) ? values : (bytesOf(values).at(-1) ?? null);
}

/** The same as text. Bytes that are no UTF-8 are `0x` and their hex digits, so that different ones stay different. */
export function headerText(headers: IHeaders, name: string): string | null {
  const last = headerBytes(headers, name);
  if (last === null) return null;
  return isUtf8(last) ? last.toString('utf8') : `0x${last.toString('hex')}`;
}

/** All headers with their bytes; one that repeats is there as often. */
export function headerList(headers: IHeaders): RecordHeader[] {
  return Object.entries(headers).flatMap(([name, values]) => bytesOf(values).map((value): RecordHeader => [name, value]));
}

/** kafkajs collects headers in a plain object: one that is named like a member of all objects comes with that member. Kafka allows headers without a value. */
function bytesOf(values: unknown): (Buffer | null)[] {
  return (Array.isArray(values) ? (values as unknown[]) : [values]).flatMap((value): (Buffer | null)[] => {
    if (value === undefined || value === null) return [null];
    if (Buffer.isBuffer(value)) return [value];
    return typeof value === 'string' ? [Buffer.from(value)] : [];
  });
}
