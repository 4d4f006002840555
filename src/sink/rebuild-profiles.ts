import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { insertAlways } from './clickhouse.ts';
import type { ClickHouse } from './clickhouse.ts';
import { createProfileLinks, profileAddress, profileNode, text } from './profile-links.ts';
import type { NewLink } from './profile-links.ts';
import { slicesOf } from './slices.ts';

/** `events` as `profile_feed` takes them. Rows older than `trait_values` give what the JSON column kept: no nulls. */
const feed = `
  INSERT INTO profile_feed (tenant, event_id, type, user_id, anonymous_id, previous_id, email, group_id, timestamp, received_at, offset, trait_values)
  SELECT tenant, event_id, type, user_id, anonymous_id, previous_id, email, group_id, timestamp, received_at, offset,
    empty(trait_values) AND type IN ('identify', 'group') ? CAST(JSONExtractKeysAndValuesRaw(toJSONString(traits)), 'Map(String, String)') : trait_values
  FROM events`;

/** Rows of one statement, so that each ends well within a connection's time. */
const rowsAtOnce = 1_000_000;
/** ClickHouse bounds how large a statement may be. */
const idsAtOnce = 200;
const nodesAtOnce = 2_000;

const tables = ['profile_facts', 'profile_members'] as const;

export interface PlaceRange {
  topic: string;
  partition: number;
  first: bigint;
  last: bigint;
  /** Times of the events, which let ClickHouse read a slice of the table only. */
  fromMs: number;
  toMs: number;
}

/** Gives profiles what they may lack of stored events: ClickHouse writes `events` first, and may die before its views. */
export async function feedProfiles(clickhouse: ClickHouse, { topic, partition, first, last, fromMs, toMs }: PlaceRange, signal?: AbortSignal): Promise<void> {
  await clickhouse.command(
    `${feed} WHERE timestamp BETWEEN fromUnixTimestamp64Milli(toInt64(${Math.floor(fromMs)})) AND fromUnixTimestamp64Milli(toInt64(${Math.ceil(toMs)}))
       AND topic = ${text(topic)} AND partition = ${partition} AND offset BETWEEN ${first} AND ${last} ${insertAlways}`,
    signal,
  );
}

/** What storing a batch does for profiles beyond the materialised views. */
export interface Profiles {
  /** See {@link feedProfiles}. */
  feed(range: PlaceRange, signal?: AbortSignal): Promise<void>;
  /** Settles what these links, already inserted, lead to; a replay settles those again that this process has settled before. */
  settle(links: readonly NewLink[], replay: boolean, signal?: AbortSignal): Promise<void>;
}

export function createProfiles(clickhouse: ClickHouse): Profiles {
  const profileLinks = createProfileLinks(clickhouse);
  return {
    feed: (range, signal) => feedProfiles(clickhouse, range, signal),
    async settle(links, replay, signal) {
      if (replay) await profileLinks.settleNodes([...new Set(links.map(({ node }) => node))], signal);
      else await profileLinks.settle(links, signal);
    },
  };
}

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
      await clickhouse.command(`${feed} WHERE toYYYYMM(received_at) = ${Number(month)} AND sipHash64(event_id) % ${slices} = ${slice} ${insertAlways}`, signal);
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
  await clickhouse.command(`${feed} WHERE ${own} AND (${columns.map(column => `${column} IN (${listOf(all)})`).join(' OR ')}) ${insertAlways}`, signal);
  await links.settleNodes(affected, signal);
}
