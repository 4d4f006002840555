import type { ClickHouse } from './clickhouse.ts';
import type { Suppressions } from './store-events.ts';

/** How old a copy of the list may be. An erasure waits longer than this before it removes rows. */
export const suppressionRefreshMs = 5_000;

/** What `at` of a row may lag behind the moment at which it can be read. */
const overlapMs = 60_000;

/** The users whose events are dropped: a copy of the table `suppressions`, read on as it grows. */
export function createSuppressions(clickhouse: ClickHouse, clock: () => number = Date.now): Suppressions {
  const receivedBefore = new Map<string, number>();
  let readAt = -Infinity;
  let newest = 0;

  return {
    async refresh(signal) {
      if (clock() - readAt < suppressionRefreshMs) return;
      const rows = await clickhouse.rows(
        'SELECT tenant, user_id, toUnixTimestamp64Milli(received_before), toUnixTimestamp64Milli(at) FROM suppressions WHERE at >= fromUnixTimestamp64Milli({from: Int64})',
        { from: String(Math.max(0, newest - overlapMs)) },
        signal,
      );
      for (const [tenant, userId, before, at] of rows) {
        const user = JSON.stringify([tenant, userId]);
        receivedBefore.set(user, Math.max(receivedBefore.get(user) ?? 0, Number(before)));
        newest = Math.max(newest, Number(at));
      }
      readAt = clock();
    },
    has(event) {
      if (receivedBefore.size === 0) return false;
      return [event.userId, event.anonymousId].some(id => id !== null && event.receivedAtMs < (receivedBefore.get(JSON.stringify([event.tenant, id])) ?? 0));
    },
  };
}
