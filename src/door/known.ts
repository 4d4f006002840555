import { contentHash } from '../event/content.ts';
import type { CanonicalEvent } from '../event/canonical.ts';
import { eventId } from '../event/identity.ts';
import { asError } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import type { Accepted } from './accept.ts';
import type { RecentIds } from './recent-ids.ts';

/*
 * Whether an event is known already, for the answers of dialects that say so. Never falsely known: what is not found is published,
 * and the sink keeps it single.
 *
 *   asked of                     finds
 *   -------------------------    -------------------------------------------------------------------
 *   the recent ids               what this machine has published, or is publishing now: a second request waits for the first
 *   ClickHouse                   what is stored, by whichever process, on whatever day; where it can't say in time: nothing
 */

/** Content hashes of the event ids that are stored; "0" where the hash is not known. Ids are UUIDs. */
export type FindStored = (eventIds: readonly string[]) => Promise<ReadonlyMap<string, string>>;

export type Once = { kind: 'published'; result: Accepted } | { kind: 'same' } | { kind: 'other' };

export interface Known {
  /** Publishes an event unless it is known: `same`, or `other` where it is known with another content. */
  once(event: CanonicalEvent, publish: () => Promise<Accepted>): Promise<Once>;
}

export interface KnownOptions {
  recent: RecentIds;
  /** Null: only the recent ones are asked. */
  findStored: FindStored | null;
  /** How long look-ups are gathered into one question. */
  gatherMs?: number;
  log: Log;
}

export function createKnown({ recent, findStored, gatherMs = 3, log }: KnownOptions): Known {
  const lookUp = gather(findStored, gatherMs, log);
  // "0" where the hash is not known.
  const verdict = (before: string, now: string): Once => ({ kind: before === '0' || before === now ? 'same' : 'other' });
  return {
    async once(event, publish) {
      const id = eventId(event.tenant, event.messageId);
      const hash = contentHash(event);
      const claim = await recent.claim(id);
      if (claim.kind === 'known') return verdict(claim.hash, hash);
      let known: string | null = null;
      try {
        const stored = await lookUp(id);
        if (stored !== null) {
          known = stored === '0' ? hash : stored;
          return verdict(stored, hash);
        }
        const result = await publish();
        if (result.ok) known = hash;
        return { kind: 'published', result };
      } finally {
        // What failed is nobody's: whoever waited for it tries it.
        claim.settle(known);
      }
    },
  };
}

/** One question for all ids of a few milliseconds. */
function gather(find: FindStored | null, gatherMs: number, log: Log): (id: string) => Promise<string | null> {
  if (find === null) return () => Promise.resolve(null);
  let waiting: { id: string; resolve: (hash: string | null) => void }[] = [];
  const ask = async (): Promise<void> => {
    const asked = waiting;
    waiting = [];
    let found: ReadonlyMap<string, string> = new Map();
    try {
      found = await find(asked.map(({ id }) => id));
    } catch (thrown) {
      log.debug({ error: asError(thrown).message }, 'ClickHouse does not say which events are known');
    }
    for (const { id, resolve } of asked) resolve(found.get(id) ?? null);
  };
  return id => new Promise(resolve => {
    waiting.push({ id, resolve });
    if (waiting.length === 1) setTimeout(() => void ask(), gatherMs);
  });
}
