import { isUtf8 } from 'node:buffer';
import { uuidOf } from './identity.ts';
import type { Place } from './row.ts';
import { clickHouseTime } from './time.ts';

/** A record or event that could not pass, with its exact bytes and why. */
export interface DeadLetter {
  /** UUID; the same for the same record, however often it is found to be one. */
  id: string;
  tenant: string;
  atMs: number;
  code: string;
  detail: string;
  payload: Buffer;
  source: 'http' | 'kafka';
  writeKeyId: string | null;
  messageId: string | null;
  /** Where the record stood; null for what never was on a topic. */
  place: Place | null;
}

/** The columns of `dead_letters` that a row brings, in the order of {@link deadLetterRow}. */
export const deadLetterColumns = [
  'id', 'tenant', 'at', 'code', 'detail', 'payload', 'payload_encoding', 'source', 'write_key_id', 'message_id', 'topic', 'partition', 'offset',
] as const;

/** The id of a dead letter that stood on a topic: by its place and the record's time, since a topic made again starts its offsets over. */
export function deadLetterId(place: Place, timestampMs: number): string {
  return uuidOf(`dead-letter/${place.topic}/${place.partition}/${place.offset}/${timestampMs}`);
}

/** A row of `dead_letters` as one JSONCompactEachRow line. Bytes that are no UTF-8 text are kept as base64. */
export function deadLetterRow(letter: DeadLetter): string {
  const asText = isUtf8(letter.payload);
  const head = JSON.stringify([
    letter.id, letter.tenant, clickHouseTime(letter.atMs), letter.code, letter.detail,
    letter.payload.toString(asText ? 'utf8' : 'base64'), asText ? 'utf8' : 'base64', letter.source, letter.writeKeyId ?? '', letter.messageId ?? '',
    letter.place?.topic ?? '', letter.place?.partition ?? 0,
  ]);
  return `${head.slice(0, -1)},${letter.place?.offset ?? 0n}]`;
}
