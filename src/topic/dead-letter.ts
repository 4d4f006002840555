import { createHash } from 'node:crypto';
import type { IHeaders } from 'kafkajs';
import { readLetterJudgement } from '../contract/judged.ts';
import type { DeadLetter, RecordHeader, RecordOrigin } from '../event/dead-letter.ts';
import { uuidOrNull } from '../event/dead-letter.ts';
import { uuidOf } from '../event/identity.ts';
import type { OutgoingRecord } from './publish.ts';
import { headerBytes, headerText } from './record.ts';

/*
 * A dead letter on its topic: the value is the payload, byte for byte; everything else is headers.
 *
 *   id, tenant, at (ms), code, detail, source      always
 *   write-key-id, message-id                       where known
 *   origin-topic, origin-partition, origin-offset  where it stood on a topic
 *   origin-key                                     its key's bytes, where it had one
 *   origin-headers                                 its headers, as JSON: [[name, base64 or null], …]
 *   origin-timestamp                               its timestamp, in ms
 *   tombstone                                      "true" where it had no value
 *   judged                                         what a contract said of the event, as JSON
 *   attempt                                        where it was redriven from letter `id` and failed again
 *
 * The key is the id, so that repeats of one letter share a partition.
 */

/** The dead-letter topic takes records of 8 MiB; only a compressed batch, or a topic of somebody's own, can bring more. */
const maxPayloadBytes = 7 * 1024 * 1024;
const keptOfLarger = 1024 * 1024;

/** A payload that no record of the topic can hold is cut, and its detail says what it was: the partition must not wait for it for ever. */
function cut(letter: DeadLetter): DeadLetter {
  const { payload, detail } = letter;
  if (payload.length <= maxPayloadBytes) return letter;
  const digest = createHash('sha256').update(payload).digest('hex');
  return { ...letter, payload: payload.subarray(0, keptOfLarger), detail: `${detail} (cut: the first ${keptOfLarger} of ${payload.length} bytes, whose SHA-256 is ${digest})` };
}

export function deadLetterRecord(topic: string, whole: DeadLetter): OutgoingRecord {
  const letter = cut(whole);
  const { place, origin } = letter;
  return {
    topic,
    key: Buffer.from(letter.id),
    value: letter.payload,
    headers: {
      id: letter.id,
      tenant: letter.tenant,
      at: String(letter.atMs),
      code: letter.code,
      detail: letter.detail,
      source: letter.source,
      ...(letter.attempt !== null && { attempt: letter.attempt }),
      ...(letter.tombstone && { tombstone: 'true' }),
      ...(letter.writeKeyId !== null && { 'write-key-id': letter.writeKeyId }),
      ...(letter.messageId !== null && { 'message-id': letter.messageId }),
      ...(letter.judged !== undefined && { judged: JSON.stringify(letter.judged) }),
      ...(place !== null && {
        'origin-topic': place.topic,
        'origin-partition': String(place.partition),
        'origin-offset': String(place.offset),
      }),
      ...(origin !== null && {
        ...(origin.key !== null && { 'origin-key': origin.key }),
        'origin-headers': JSON.stringify(origin.headers.map(([name, value]) => [name, value?.toString('base64') ?? null])),
        'origin-timestamp': String(origin.timestampMs),
      }),
    },
  };
}

/** Reads a dead letter back; a record that somebody else put on the topic becomes one too. */
export function readDeadLetter(record: { topic: string; partition: number; offset: bigint; timestampMs: number; value: Buffer | null; headers: IHeaders }): DeadLetter {
  const header = (name: string): string | null => headerText(record.headers, name);
  const originTopic = header('origin-topic');
  const at = Number(header('at') ?? NaN);
  const judged = readLetterJudgement(header('judged') ?? '');
  return {
    id: uuidOrNull(header('id')) ?? uuidOf(`${record.topic}/${record.partition}/${record.offset}/${record.timestampMs}`),
    attempt: uuidOrNull(header('attempt')),
    tenant: header('tenant') ?? '',
    atMs: Number.isSafeInteger(at) && at >= 0 ? at : Math.max(0, record.timestampMs),
    code: header('code') ?? 'unreadable',
    detail: header('detail') ?? '',
    payload: record.value ?? Buffer.alloc(0),
    tombstone: record.value === null || header('tombstone') === 'true',
    source: header('source') === 'http' ? 'http' : 'kafka',
    writeKeyId: header('write-key-id'),
    messageId: header('message-id'),
    place:
      originTopic === null
        ? null
        : { topic: originTopic, partition: Number(/^\d{1,9}$/.exec(header('origin-partition') ?? '')?.[0] ?? 0), offset: safeOffset(header('origin-offset')) },
    origin: readOrigin(record.headers),
    ...(judged !== null && { judged }),
  };
}

/** Null where the letter was written before its origin was kept, or its header is no such thing. */
function readOrigin(headers: IHeaders): RecordOrigin | null {
  const list = readHeaderList(headerText(headers, 'origin-headers'));
  if (list === null) return null;
  const timestampMs = Number(headerText(headers, 'origin-timestamp') ?? NaN);
  return { key: headerBytes(headers, 'origin-key'), headers: list, timestampMs: Number.isSafeInteger(timestampMs) ? timestampMs : -1 };
}

function readHeaderList(text: string | null): RecordHeader[] | null {
  if (text === null) return null;
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    return null;
  }
  if (!Array.isArray(list)) return null;
  return list.flatMap((pair: unknown): RecordHeader[] => {
    const [name, value] = Array.isArray(pair) ? (pair as unknown[]) : [];
    return typeof name === 'string' ? [[name.toWellFormed(), typeof value === 'string' ? Buffer.from(value, 'base64') : null]] : [];
  });
}

function safeOffset(text: string | null): bigint {
  return text !== null && /^\d{1,19}$/.test(text) ? BigInt(text) : 0n;
}
