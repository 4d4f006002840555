import { hash } from 'node:crypto';
import type { DeadLetter } from '../event/dead-letter.ts';
import { uuidOf } from '../event/identity.ts';
import type { WriteKey } from './keys.ts';
import type { RateLimiter } from './rate-limit.ts';
import type { EventError } from './reply.ts';

/*
 * What is refused inside a batch is kept, with its bytes and its reason: SDKs do not read the answer. What is malformed as a whole,
 * or sent alone, is only answered. A broken client must not flood the topic: each key may leave so many a second, and the same
 * refused event is the same letter, however often it comes.
 */
export const lettersOfKey = { eventsPerSecond: 50, burst: 1_000 };

/** Letters of refused events, as many as the key may leave now. `texts` are the batch's events. */
export function lettersOf(key: WriteKey, errors: readonly EventError[], texts: readonly string[], atMs: number, limiter: RateLimiter): { letters: DeadLetter[]; dropped: number } {
  const letters: DeadLetter[] = [];
  let dropped = 0;
  for (const { index, code, message, pointer, message_id: messageId } of errors) {
    if (!limiter.take(key.id, lettersOfKey, 1).ok) {
      dropped++;
      continue;
    }
    const text = texts[index] ?? '';
    letters.push({
      id: uuidOf(`http/${key.tenant}/${key.id}/${code}/${hash('sha256', text, 'hex')}`),
      attempt: null, tenant: key.tenant, atMs, code, detail: pointer === undefined || pointer === '' ? message : `${message} (${pointer})`, payload: Buffer.from(text), tombstone: false,
      source: 'http', writeKeyId: key.id, messageId: messageId ?? null, place: null, origin: null,
    });
  }
  return { letters, dropped };
}
