import { contentHash } from '../event/content.ts';
import type { CanonicalEvent } from '../event/canonical.ts';
import { eventId } from '../event/identity.ts';
import type { Place } from '../event/row.ts';
import { asError } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import type { Accepted } from './accept.ts';

/*
 * Whether an event is known already, for the answers of dialects that say so. Never falsely known: what is not found is published,
 * and the sink keeps it single.
 *
 *   asked of                     finds
 *   -------------------------    -------------------------------------------------------------------
 *   the recent ones              what this process has published, or is publishing now: a second request waits for the first
 *   ClickHouse                   what is stored, by whichever process, on whatever day; where it can't say in time: nothing
 */

/** Content hashes of the event ids that are stored; "0" where the hash is not known. Ids are UUIDs. */
export type FindStored = (eventIds: readonly string[]) => Promise<ReadonlyMap<string, string>>;

export type Once = { kind: 'published'; result: Accepted } | { kind: 'same' } | { kind: 'other' };

export interface Known {
  /** Publishes an event unless it is known: `same`, or `other` where it is known with another content. */
  once(event: CanonicalEvent, publish: () => Promise<Accepted>): Promise<Once>;
  /** Where a recent event of a tenant was published, by its UUID; null for all others. */
  recent(tenant: string, eventId: string): { place: Place; receivedAtMs: number } | null;
}

interface Entry {
  hash: string;
  /** Whether it was published or found. */
  settled: Promise<boolean>;
  published: { tenant: string; place: Place; receivedAtMs: number } | null;
}

export interface KnownOptions {
  /** Null: only the recent ones are asked. */
  findStored: FindStored | null;
  /** Ids that are remembered. */
  maxRecent?: number;
  /** How long look-ups are gathered into one question. */
  gatherMs?: number;
  log: Log;
}

export function createKnown({ findStored, maxRecent = 100_000, gatherMs = 3, log }: KnownOptions): Known {
  const recent = new Map<string, Entry>();
  const lookUp = gather(findStored, gatherMs, log);

  const verdict = (before: string, now: string): Once => ({ kind: before === '0' || before === now ? 'same' : 'other' });
  return {
    recent(tenant, id) {
      const found = recent.get(id)?.published ?? null;
      return found?.tenant === tenant ? found : null;
    },
    async once(event, publish) {
      const id = eventId(event.tenant, event.messageId);
      const hash = contentHash(event);
      for (;;) {
        const entry = recent.get(id);
        if (entry === undefined) break;
        if (await entry.settled) return verdict(entry.hash, hash);
        // It failed, and was forgotten; whoever comes first tries again.
      }
      let settle: (ok: boolean) => void = () => undefined;
      const entry: Entry = { hash, settled: new Promise(resolve => (settle = resolve)), published: null };
      recent.set(id, entry);
      // The oldest goes: a Map keeps the order of insertion.
      if (recent.size > maxRecent) recent.delete(recent.keys().next().value ?? '');
      let ok = false;
      try {
        const stored = await lookUp(id);
        if (stored !== null) {
          entry.hash = stored === '0' ? hash : stored;
          ok = true;
          return verdict(stored, hash);
        }
        const result = await publish();
        ok = result.ok;
        if (result.ok && result.place !== undefined) entry.published = { tenant: event.tenant, place: result.place, receivedAtMs: event.receivedAtMs };
        return { kind: 'published', result };
      } finally {
        if (!ok && recent.get(id) === entry) recent.delete(id);
        settle(ok);
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
