import type { IHeaders, KafkaMessage } from 'kafkajs';
import type { RecordHeader } from '../event/dead-letter.ts';

export interface SubscribedRecord {
  offset: bigint;
  key: Buffer | null;
  value: Buffer | null;
  /** Milliseconds since the epoch. */
  timestampMs: number;
  headers: IHeaders;
}

export function readRecord(message: KafkaMessage): SubscribedRecord {
  return {
    offset: BigInt(message.offset),
    key: message.key,
    value: message.value,
    timestampMs: Number(message.timestamp),
    headers: message.headers ?? {},
  };
}

/** A header's last value as text, or null. */
export function headerText(headers: IHeaders, name: string): string | null {
  const value = headers[name];
  // Kafka allows a header without a value; kafkajs' types don't say so.
  const last = (Array.isArray(value) ? value[value.length - 1] : value) as Buffer | string | null | undefined;
  return last?.toString() ?? null;
}

/** All headers with their bytes; one that repeats is there as often. */
export function headerList(headers: IHeaders): RecordHeader[] {
  return Object.entries(headers).flatMap(([name, values]) =>
    (Array.isArray(values) ? values : [values]).map((value): RecordHeader => [name, value === undefined || value === null ? null : Buffer.from(value)]),
  );
}
