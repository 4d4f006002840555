import { hash } from 'node:crypto';
import { isRefused, letterJudgement } from '../contract/judged.ts';
import type { CanonicalEvent } from '../event/canonical.ts';
import type { DeadLetter } from '../event/dead-letter.ts';
import { sentPathHeader } from '../event/dead-letter.ts';
import { uuidOf } from '../event/identity.ts';
import type { WriteKey } from './keys.ts';
import type { RateLimiter } from './rate-limit.ts';
import type { EventError } from './reply.ts';

/*
 * What is refused inside a batch, or by a contract, is kept, with its bytes and its reason: SDKs do not read the answer. What is malformed
 * as a whole, or sent alone, is only answered. A broken client must not flood the topic: each key may leave so many a second, and the same
 * refused event is the same letter, however often it comes.
 */
export const lettersOfKey = { eventsPerSecond: 50, burst: 1_000 };

/** An event of a request that was refused: its text as it was sent, and where it could be read, the event. */
export interface RefusedEvent {
  error: Omit<EventError, 'index'>;
  text: string;
  event: CanonicalEvent | null;
}

/** Letters of refused events, as many as the key may leave now. `path` is where they were sent, by that dialect. */
export function lettersOf(key: WriteKey, dialect: string, path: string, refused: readonly RefusedEvent[], atMs: number, limiter: RateLimiter): { letters: DeadLetter[]; dropped: number } {
  const letters: DeadLetter[] = [];
  let dropped = 0;
  for (const each of refused) {
    if (limiter.take(key.id, lettersOfKey, 1).ok) letters.push(letterOf(key, dialect, path, each, atMs));
    else dropped++;
  }
  return { letters, dropped };
}

/** What the headers say makes the text readable again, as it was sent (contract/read-record.ts). */
export function letterOf(key: WriteKey, dialect: string, path: string, { error, text, event }: RefusedEvent, atMs: number): DeadLetter {
  const { code, message, pointer, message_id: messageId } = error;
  const judged = event?.judged;
  const refused = event !== null && isRefused(judged) ? letterJudgement(event, judged) : null;
  // Another version of the contract has other reasons; and what was answered as accepted is an event of its own, though its text is not.
  const reason = refused === null ? code : `${code}/${refused.version}${refused.action === 'reject' ? '' : `/${refused.eventId}`}`;
  return {
    id: uuidOf(`http/${key.tenant}/${key.id}/${reason}/${hash('sha256', text, 'hex')}`),
    attempt: null, tenant: key.tenant, atMs, code, detail: refused !== null || pointer === undefined || pointer === '' ? message : `${message} (${pointer})`, payload: Buffer.from(text), tombstone: false,
    source: 'http', writeKeyId: key.id, messageId: messageId ?? null, place: null,
    origin: {
      key: null, timestampMs: atMs,
      headers: [['tenant', key.tenant], ['dialect', dialect], [sentPathHeader, path], ['write-key-id', key.id]].map(([name, value]) => [name ?? '', Buffer.from(value ?? '')]),
    },
    ...(refused !== null && { judged: refused }),
  };
}
