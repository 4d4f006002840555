export interface Claims {
  /**
   * Resolves when no other batch of this process is storing any of these ids, having claimed them all; call the answer to
   * let them go. Rejects when the signal aborts.
   */
  take(ids: ReadonlySet<string>, signal: AbortSignal): Promise<() => void>;
}

/**
 * Keeps two batches of one process from storing the same id at the same moment: each would find nothing in ClickHouse, and
 * both would insert. All of a batch's ids are claimed in one step or none, so nobody waits while holding what another waits for.
 */
export function createClaims(): Claims {
  const held = new Map<string, Promise<void>>();
  return {
    async take(ids, signal) {
      for (;;) {
        signal.throwIfAborted();
        const others = new Set<Promise<void>>();
        for (const id of ids) {
          const other = held.get(id);
          if (other !== undefined) others.add(other);
        }
        if (others.size === 0) break;
        await allOrAborted(others, signal);
      }
      let done: () => void = () => undefined;
      const mine = new Promise<void>(resolve => (done = resolve));
      for (const id of ids) held.set(id, mine);
      return () => {
        for (const id of ids) held.delete(id);
        done();
      };
    },
  };
}

/** Leaves nothing on the signal, which may live for weeks. */
async function allOrAborted(others: ReadonlySet<Promise<void>>, signal: AbortSignal): Promise<void> {
  let stop: () => void = () => undefined;
  const aborted = new Promise<void>(resolve => (stop = resolve));
  signal.addEventListener('abort', stop, { once: true });
  await Promise.race([Promise.all(others), aborted]);
  signal.removeEventListener('abort', stop);
}
