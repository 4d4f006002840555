import type { RecordHeader } from '../event/dead-letter.ts';
import { originTimestampHeader, redrivenFromHeader } from '../event/dead-letter.ts';
import { maxMessageIdLength, recordMessageId } from '../event/identity.ts';
import type { StoredLetter } from './letters.ts';
import type { Draft } from './patch.ts';

/** A record to be published: as topic/publish.ts takes it. */
export interface Republished {
  topic: string;
  key: Buffer | null;
  value: Buffer;
  headers: Record<string, (Buffer | null)[]>;
}

const messageIdHeader = 'message-id';

/** What the record was: its own key and headers; of a letter that kept none, what its columns say. */
export function draftOf(letter: StoredLetter): Draft {
  const { payload, origin } = letter;
  if (origin !== null) return { payload, key: origin.key, headers: origin.headers };
  const headers: RecordHeader[] = [];
  if (letter.tenant !== '') headers.push(['tenant', Buffer.from(letter.tenant)]);
  // Whatever came through the door had this dialect when headers were not kept yet.
  if (letter.source === 'http' && letter.place !== null) headers.push(['dialect', Buffer.from('segment')]);
  return { payload, key: null, headers };
}

/**
 * The record that a letter becomes: its draft, with what makes it the same event however often it is published (`message-id`,
 * where its value has none), where it comes from, and when it came first.
 */
export function recordOf(letter: StoredLetter, draft: Draft, topic: string): Republished {
  const headers = new Map<string, (Buffer | null)[]>();
  for (const [name, value] of draft.headers) headers.set(name, [...(headers.get(name) ?? []), value]);
  const sent = headers.get(messageIdHeader)?.at(-1)?.toString() ?? '';
  if (sent === '' || sent.length > maxMessageIdLength) headers.set(messageIdHeader, [Buffer.from(messageIdOf(letter))]);
  headers.set(redrivenFromHeader, [Buffer.from(letter.id)]);
  if (letter.timestampMs >= 0) headers.set(originTimestampHeader, [Buffer.from(String(letter.timestampMs))]);
  return { topic, key: draft.key, value: draft.payload, headers: Object.fromEntries(headers) };
}

/** The event's own id, else the one that the sink would have given the record where it stood first. */
function messageIdOf(letter: StoredLetter): string {
  const { messageId, place } = letter;
  if (messageId !== null && messageId.length <= maxMessageIdLength) return messageId;
  return place === null ? `dead-letter/${letter.id}` : recordMessageId(place, letter.timestampMs, letter.payload);
}
