import { isUtf8 } from 'node:buffer';
import type { Judgement } from './canonical.ts';
import { uuidOf } from './identity.ts';
import type { Place } from './row.ts';
import { clickHouseTime } from './time.ts';

/** A record's header as it came; null is a header without a value. Names may repeat. */
export type RecordHeader = readonly [name: string, value: Buffer | null];

/** What publishing a record again needs besides its value. */
export interface RecordOrigin {
  /** Null for a record without a key. */
  key: Buffer | null;
  headers: readonly RecordHeader[];
  /** As Kafka has it; -1 is none. */
  timestampMs: number;
}

/** Why a contract refused an event, and which event that was. */
export interface LetterJudgement extends Judgement {
  /** UUID. */
  eventId: string;
  type: string;
  /** What the contract calls it by: see contractName. */
  event: string;
}

/** A record or event that could not pass, with its exact bytes and why. */
export interface DeadLetter {
  /** UUID; the same for the same record, however often it is found to be one, and for every record redriven from it. */
  id: string;
  /** Where the record was redriven from letter `id` and failed again: the UUID of this failure. */
  attempt: string | null;
  tenant: string;
  atMs: number;
  code: string;
  detail: string;
  payload: Buffer;
  /** Whether the record had no value at all (the payload is empty then). */
  tombstone: boolean;
  source: 'http' | 'kafka';
  writeKeyId: string | null;
  messageId: string | null;
  /** Where the record stood; null for what never was on a topic. */
  place: Place | null;
  /** Null for what never was on a topic, and where it was not kept. */
  origin: RecordOrigin | null;
  /** Of what a contract refused. */
  judged?: LetterJudgement;
}

const commonColumns = [
  'id', 'tenant', 'at', 'code', 'detail', 'payload', 'payload_encoding', 'source', 'write_key_id', 'message_id', 'topic', 'partition', 'offset',
  'tombstone', 'key', 'key_encoding', 'headers', 'timestamp_ms',
  'event_id', 'type', 'event', 'contract_version', 'contract_action', 'contract_violations',
] as const;

/** The columns of `dead_letters` that a row brings, in the order of {@link deadLetterRow}. */
export const deadLetterColumns = [...commonColumns, 'attempts'] as const;

/** The columns of `dead_letter_attempts`, in the order of {@link attemptRow}. */
export const attemptColumns = [...commonColumns, 'letter_id'] as const;

/** The header of a redriven record that names the letter it comes from. */
export const redrivenFromHeader = 'redriven-from';

/** The header of a redriven record with the first one's timestamp, in milliseconds. */
export const originTimestampHeader = 'origin-timestamp';

/** The header of an event that the door has refused: the path that it was sent to, whose dialect reads it. */
export const sentPathHeader = 'sent-to';

/** The id of a dead letter that stood on a topic: by its place and the record's time, since a topic made again starts its offsets over. */
export function deadLetterId(place: Place, timestampMs: number): string {
  return uuidOf(`dead-letter/${place.topic}/${place.partition}/${place.offset}/${timestampMs}`);
}

/** A UUID in lower case, or null where the text is none. */
export function uuidOrNull(text: string | null): string | null {
  return text !== null && /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text) ? text : null;
}

/** A row of `dead_letters` as one JSONCompactEachRow line. Bytes that are no UTF-8 text are kept as base64. */
export function deadLetterRow(letter: DeadLetter): string {
  // What a contract said of an attempt stands in the attempt's own row.
  return `[${cells(letter, letter.id, letter.attempt === null ? letter.judged : undefined)},${JSON.stringify(letter.attempt === null ? [] : [letter.attempt])}]`;
}

/** A row of `dead_letter_attempts`, for a letter with an attempt. */
export function attemptRow(letter: DeadLetter): string {
  return `[${cells(letter, letter.attempt ?? letter.id, letter.judged)},${JSON.stringify(letter.id)}]`;
}

const noId = '00000000-0000-0000-0000-000000000000';

function cells(letter: DeadLetter, id: string, judged: LetterJudgement | undefined): string {
  const [payload, payloadEncoding] = encoded(letter.payload);
  const { origin } = letter;
  const [key, keyEncoding] = origin === null ? ['', ''] : encoded(origin.key);
  const headers = (origin?.headers ?? []).map(([name, bytes]) => {
    const [value, encoding] = encoded(bytes);
    return { name, value, encoding };
  });
  const head = JSON.stringify([
    id, letter.tenant, clickHouseTime(letter.atMs), letter.code, letter.detail, payload, payloadEncoding,
    letter.source, letter.writeKeyId ?? '', letter.messageId ?? '', letter.place?.topic ?? '', letter.place?.partition ?? 0,
  ]);
  const contract = judged === undefined ? [noId, '', '', 0, '', []] : [judged.eventId, judged.type, judged.event, judged.version, judged.action, judged.violations];
  const tail = JSON.stringify([letter.tombstone, key, keyEncoding, headers, origin?.timestampMs ?? letter.atMs, ...contract]);
  return `${head.slice(1, -1)},${letter.place?.offset ?? 0n},${tail.slice(1, -1)}`;
}

function encoded(bytes: Buffer | null): [text: string, encoding: 'utf8' | 'base64' | 'none'] {
  if (bytes === null) return ['', 'none'];
  return isUtf8(bytes) ? [bytes.toString('utf8'), 'utf8'] : [bytes.toString('base64'), 'base64'];
}
