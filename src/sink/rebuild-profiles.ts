import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { insertAlways } from './clickhouse.ts';
import type { ClickHouse } from './clickhouse.ts';
import { feedStatement } from './profile-feed.ts';
import { createProfileLinks, profileAddress, profileNode, text } from './profile-links.ts';
import { slicesOf } from './slices.ts';

/** Rows of one statement, so that each ends well within a connection's time. */
const rowsAtOnce = 1_000_000;
/** ClickHouse bounds how large a statement may be. */
const idsAtOnce = 200;
const nodesAtOnce = 2_000;

const tables = ['profile_facts', 'profile_members'] as const;

export interface RebuildOptions {
  clickhouse: ClickHouse;
  log: Log;
  signal?: AbortSignal;
  /**
   * Empties the profiles first, so that what `events` no longer has goes too; until the end readers see parts of profiles.
   * Without it, everything that lacks is added and nothing is taken away. Both are safe while inserts go on, and may be repeated.
   */
  fromScratch?: boolean;
}

/** Makes all profiles from `events`. Throws ClickHouse's faults; run it again then. */
export async function rebuildProfiles({ clickhouse, log, signal, fromScratch = false }: RebuildOptions): Promise<{ events: number }> {
  if (fromScratch) for (const table of tables) await clickhouse.command(`TRUNCATE TABLE ${table}`, signal);
  const months = await clickhouse.rows('SELECT toYYYYMM(received_at) AS month, count() FROM events GROUP BY month ORDER BY month', undefined, signal);
  let events = 0;
  for (const [month, count] of months) {
    const slices = Math.max(1, Math.ceil(Number(count) / rowsAtOnce));
    for (let slice = 0; slice < slices; slice++) {
      await clickhouse.command(`${feedStatement} WHERE toYYYYMM(received_at) = ${Number(month)} AND sipHash64(event_id) % ${slices} = ${slice} ${insertAlways}`, signal);
    }
    events += Number(count);
    note(log, 'profiles_rebuilt', { month, events: Number(count) });
  }
  const links = createProfileLinks(clickhouse);
  for (let after = ''; ; ) {
    // Nodes with two users, and users that are linked on and linked to: all else the views have right.
    const rows = await clickhouse.rows(
      `SELECT DISTINCT node FROM profile_facts WHERE kind = 'link' AND node > ${text(after)} AND (
         node IN (SELECT node FROM profile_facts WHERE kind = 'link' GROUP BY node HAVING uniqExact(substring(latest, 17)) > 1)
         OR node IN (SELECT concat(splitByChar('\\0', node)[1], '\\0u', substring(latest, 17)) FROM profile_facts WHERE kind = 'link'))
       ORDER BY node LIMIT ${nodesAtOnce}`,
      undefined,
      signal,
    );
    const nodes = rows.map(([node]) => String(node));
    if (nodes.length === 0) return { events };
    await links.settleNodes(nodes, signal);
    after = nodes.at(-1) ?? after;
  }
}

export interface RebuildSomeOptions {
  clickhouse: ClickHouse;
  tenant: string;
  /** User ids, anonymous ids, e-mail addresses and group ids. */
  ids: readonly string[];
  signal?: AbortSignal;
}

/**
 * Makes the profiles of these ids anew, after rows of theirs were deleted from `events`. Reads the columns of all of the tenant's events.
 * Safe while inserts go on, and may be repeated; in between, a reader may find these profiles without their past.
 */
export async function rebuildSomeProfiles({ ids, ...options }: RebuildSomeOptions): Promise<void> {
  for (const some of slicesOf(ids, idsAtOnce)) await rebuildFewProfiles({ ...options, ids: some });
}

async function rebuildFewProfiles({ clickhouse, tenant, ids, signal }: RebuildSomeOptions): Promise<void> {
  const links = createProfileLinks(clickhouse);
  const all = [...new Set(ids.flatMap(id => [id, profileAddress(id)]))];
  const nodes = all.flatMap(id => (['u', 'a', 'g'] as const).map(space => profileNode(tenant, space, id)));
  // What several links come to only ever grows: where a link may be gone, it is worked out from nothing.
  const affected = [...(await links.upstream(nodes, signal))];
  const listOf = (values: readonly string[]): string => values.map(text).join();
  const own = `tenant = ${text(tenant)}`;
  await clickhouse.command(`DELETE FROM profile_facts WHERE node IN (${listOf(nodes)}) OR (kind = 'settled' AND node IN (${listOf(affected)}))`, signal);
  await clickhouse.command(`DELETE FROM profile_members WHERE ${own} AND (node IN (${listOf(nodes)}) OR (space = 'group' AND id IN (${listOf(all)})))`, signal);
  const columns = ['user_id', 'anonymous_id', 'previous_id', 'group_id', 'lowerUTF8(trimBoth(email))'];
  await clickhouse.command(`${feedStatement} WHERE ${own} AND (${columns.map(column => `${column} IN (${listOf(all)})`).join(' OR ')}) ${insertAlways}`, signal);
  await links.settleNodes(affected, signal);
}
