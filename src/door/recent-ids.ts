/*
 * Event ids that were published or looked up lately, and the requests that are at it. One process has its own; the workers of a machine
 * share the primary's (compose-workers.ts). What each id is:
 *
 *   state     means                                            goes to
 *   -------   ----------------------------------------------   --------------------------------------------------------------
 *   unknown   nobody has had it lately                         claimed, by claim()
 *   claimed   one request looks it up or publishes it,         known, by settle(hash); by settle(null) it is claimed by the
 *             others wait                                      next one that waits, or unknown
 *   known     it was published or found, with this content     unknown, when so many others came after it
 */

/** `known`: with this content hash. `yours`: it is to be looked up and published, and then settled, whatever came of it. */
export type Claim = { kind: 'known'; hash: string } | { kind: 'yours'; settle: (hash: string | null) => void };

export interface RecentIds {
  /** Waits while another request has claimed the id. */
  claim(eventId: string): Promise<Claim>;
}

export function createRecentIds(maxKnown = 100_000): RecentIds {
  const known = new Map<string, string>();
  const claimed = new Map<string, ((claim: Claim) => void)[]>();

  const grant = (id: string): Claim => {
    let settled = false;
    return {
      kind: 'yours',
      settle(hash) {
        if (settled) return;
        settled = true;
        const waiting = claimed.get(id) ?? [];
        if (hash === null) {
          const next = waiting.shift();
          if (next === undefined) claimed.delete(id);
          else next(grant(id));
          return;
        }
        claimed.delete(id);
        known.set(id, hash);
        // The oldest goes: a Map keeps the order of insertion.
        if (known.size > maxKnown) known.delete(known.keys().next().value ?? '');
        for (const each of waiting) each({ kind: 'known', hash });
      },
    };
  };
  return {
    claim(id) {
      const hash = known.get(id);
      if (hash !== undefined) return Promise.resolve({ kind: 'known', hash });
      const waiting = claimed.get(id);
      if (waiting !== undefined) return new Promise(resolve => waiting.push(resolve));
      claimed.set(id, []);
      return Promise.resolve(grant(id));
    },
  };
}
