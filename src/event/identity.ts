import { hash } from 'node:crypto';

/**
 * The id of an event everywhere in millrace: the first 128 bits of SHA-256(tenant ‖ 0x00 ‖ message id), written as a UUID.
 * It needs no state, so that every instance gives the same one.
 */
export function eventId(tenant: string, messageId: string): string {
  return uuidFrom(hash('sha256', `${tenant}\0${messageId}`, 'hex'));
}

/** In UTF-16 units. */
export const maxMessageIdLength = 512;

/** The message id of a record that brought none: it is its own, by where it stands and what it holds. */
export function recordMessageId(place: { topic: string; partition: number; offset: bigint }, timestampMs: number, value: Buffer): string {
  const digest = hash('sha256', value, 'hex').slice(0, 32);
  return `record/${place.topic}/${place.partition}/${place.offset}/${timestampMs}/${digest}`;
}

/** A UUID of any text: the first 128 bits of its SHA-256. */
export function uuidOf(text: string): string {
  return uuidFrom(hash('sha256', text, 'hex'));
}

function uuidFrom(hex: string): string {
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}

/** An event id as people and APIs see it: `evt_` and 32 hex digits. */
export function eventIdText(uuid: string): string {
  return `evt_${uuid.replaceAll('-', '')}`;
}

/** The UUID of an event id as people and APIs write it, `evt_…` or as a UUID; null for all else. */
export function eventIdOfText(text: string): string | null {
  const hex = /^evt_([0-9a-f]{32})$/i.exec(text)?.[1] ?? (/^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i.test(text) ? text.replaceAll('-', '') : null);
  return hex === null ? null : uuidFrom(hex.toLowerCase());
}
