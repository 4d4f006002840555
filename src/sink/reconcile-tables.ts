import { sqlText } from './clickhouse.ts';
import type { ClickHouse } from './clickhouse.ts';
import { insertsEnded } from './inserts-ended.ts';
import { rebuildSomeProfiles } from './rebuild-profiles.ts';
import { rowsIn, uuidsIn } from './sql-lists.ts';

/** Where an id stands: a topic that was made again has several ids at one offset. */
export interface IdPlace {
  topic: string;
  partition: number;
  offset: bigint;
  eventId: string;
}

/** A row of `events`, as far as choosing needs it. */
export interface StoredRow extends IdPlace {
  tenant: string;
  event: string;
  /** Times in milliseconds, as decimal text. */
  timestamp: string;
  storedAt: string;
  contentHash: string;
  hasOutcome: boolean;
  writeKeyId: string;
  /** As ClickHouse writes it. */
  receivedAt: string;
  /** Whose profiles it counts to: user, anonymous, previous and group id, email. */
  profileIds: string[];
}

/** What a row that goes is written down as. */
export interface SurplusOutcome extends IdPlace {
  tenant: string;
  outcome: 'duplicate' | 'conflict';
  reason: string;
  writeKeyId: string;
  receivedAt: string;
}

/** Where rows say how a record ended that was not stored. */
export type AccountTable = 'outcomes' | 'conflicts';

/** A record of which such a table has several rows that say the same. */
export interface RepeatedAccount {
  place: IdPlace;
  /** A hash of what they say, as decimal text. */
  said: string;
  /** When each was written: milliseconds as decimal text, the first first. */
  at: string[];
}

/** One such row, or several that nothing tells apart. */
export interface AccountRow {
  place: IdPlace;
  said: string;
  at: string;
}

/** What the reconciliation needs of ClickHouse's tables. Everything throws `clickhouse_unavailable` or `clickhouse_refused`. */
export interface ReconcileTables {
  /** ClickHouse's clock, and up to when passes have looked; milliseconds. */
  times(signal?: AbortSignal): Promise<{ nowMs: number; checkedUntilMs: number }>;
  /** Ids that more than one row stored since then has; `wide` also those that `event_ids` was given for two places since then. */
  idsStoredTwice(sinceMs: number, wide: boolean, limit: number, signal?: AbortSignal): Promise<string[]>;
  /** All rows of these ids, whenever they were stored. */
  rowsOf(ids: readonly string[], signal?: AbortSignal): Promise<StoredRow[]>;
  /** Adds one more row like this one, stored now. */
  copyRow(row: StoredRow, signal?: AbortSignal): Promise<void>;
  /** Keeps the content of a row that goes, unless `conflicts` has its place already. */
  keepContent(loser: StoredRow, winner: StoredRow, signal?: AbortSignal): Promise<void>;
  insertOutcomes(outcomes: readonly SurplusOutcome[], token: string, signal?: AbortSignal): Promise<void>;
  removeIds(places: readonly IdPlace[], signal?: AbortSignal): Promise<void>;
  /** By place and stored_at. */
  removeRows(rows: readonly StoredRow[], signal?: AbortSignal): Promise<void>;
  /** Before rows are removed: writes down whose profiles are to be made anew. */
  planRebuild(rows: readonly StoredRow[], signal?: AbortSignal): Promise<void>;
  /** After rows were removed: profiles without what only those said. */
  rebuildProfiles(rows: readonly StoredRow[], signal?: AbortSignal): Promise<void>;
  /** Does what was planned so long ago that who planned it must have died. */
  finishRebuilds(signal?: AbortSignal): Promise<void>;
  /** Duplicates and conflicts written down in that time whose record is in `events` all the same. */
  wrongOutcomes(sinceMs: number, untilMs: number, limit: number, signal?: AbortSignal): Promise<IdPlace[]>;
  removeConflicts(places: readonly IdPlace[], signal?: AbortSignal): Promise<void>;
  /** Duplicates and conflicts only. */
  removeOutcomes(places: readonly IdPlace[], signal?: AbortSignal): Promise<void>;
  /** Records that were written down there more than once since then. */
  repeatedAccounts(table: AccountTable, sinceMs: number, limit: number, signal?: AbortSignal): Promise<RepeatedAccount[]>;
  removeAccounts(table: AccountTable, rows: readonly AccountRow[], signal?: AbortSignal): Promise<void>;
  /** Adds one more like this one, written now. */
  copyAccount(table: AccountTable, row: AccountRow, signal?: AbortSignal): Promise<void>;
  note(pass: { checkedUntilMs: number; removed: number; corrected: number }, signal?: AbortSignal): Promise<void>;
}

const place = 'topic, partition, offset, event_id';

/** Some 100 MB of ClickHouse's memory. */
const defaultIdsInMemory = 2_000_000;

export function createReconcileTables(clickhouse: ClickHouse, maxIdsInMemory = defaultIdsInMemory): ReconcileTables {
  const rebuild = async (ids: readonly (readonly [string, string])[], signal?: AbortSignal): Promise<void> => {
    if (ids.length === 0) return;
    const [row] = await clickhouse.rows('SELECT toUnixTimestamp64Milli(now64(3))');
    // What is being fed may have read rows that are gone now, and would put them back behind the rebuild.
    await insertsEnded(clickhouse, { into: 'profile_feed', patienceMs: 60_000, signal });
    // From here on to its end, though the signal aborts: half of it is a profile without its past.
    for (const tenant of new Set(ids.map(([of]) => of))) {
      await rebuildSomeProfiles({ clickhouse, tenant, ids: ids.filter(([of]) => of === tenant).map(([, id]) => id) });
    }
    await clickhouse.command(`DELETE FROM profile_rebuilds WHERE at <= fromUnixTimestamp64Milli(toInt64(${Number(row?.[0])})) AND (tenant, id) IN ${rowsIn(['text', 'text'], ids)}`);
  };
  return {
    async times(signal) {
      const [row] = await clickhouse.rows('SELECT toUnixTimestamp64Milli(now64(3)), toUnixTimestamp64Milli(max(checked_until)) FROM reconciliations', {}, signal);
      return { nowMs: Number(row?.[0]), checkedUntilMs: Number(row?.[1]) };
    },
    async idsStoredTwice(sinceMs, wide, limit, signal) {
      const ids = new Set<string>();
      const search = async (table: 'events' | 'event_ids', twice: string): Promise<void> => {
        const from = String(sinceMs);
        const stored = `FROM ${table} WHERE stored_at >= fromUnixTimestamp64Milli({from: Int64})`;
        const [count] = await clickhouse.rows(`SELECT count() ${stored}`, { from }, signal);
        // Grouping keeps every id in memory, so many are taken in slices.
        const slices = Math.max(1, Math.ceil(Number(count?.[0]) / maxIdsInMemory));
        for (let slice = 0; slice < slices && ids.size < limit; slice++) {
          const some = slices === 1 ? '' : `AND cityHash64(event_id) % ${slices} = ${slice}`;
          const rows = await clickhouse.rows(`SELECT event_id ${stored} ${some} GROUP BY event_id HAVING ${twice} LIMIT ${limit - ids.size}`, { from }, signal);
          for (const [id] of rows) ids.add(String(id));
        }
      };
      await search('events', 'count() > 1');
      if (wide) await search('event_ids', 'count() > 1 AND uniqExact(topic, partition, offset) > 1');
      return [...ids];
    },
    async rowsOf(ids, signal) {
      const rows = await clickhouse.rows(
        `SELECT tenant, event, toUnixTimestamp64Milli(timestamp), toUnixTimestamp64Milli(stored_at), event_id, topic, partition, offset, content_hash,
           (${place}) IN (SELECT ${place} FROM outcomes WHERE event_id IN ${uuidsIn(ids)}), write_key_id, toString(received_at),
           arrayFilter(id -> id != '', [user_id, anonymous_id, previous_id, group_id, email])
         FROM events WHERE event_id IN ${uuidsIn(ids)}`,
        {},
        signal,
      );
      return rows.map(([tenant, event, timestamp, storedAt, eventId, topic, partition, offset, contentHash, hasOutcome, writeKeyId, receivedAt, profileIds]) => ({
        tenant: String(tenant), event: String(event), timestamp: String(timestamp), storedAt: String(storedAt), eventId: String(eventId), topic: String(topic), partition: Number(partition),
        offset: BigInt(String(offset)), contentHash: String(contentHash), hasOutcome: Number(hasOutcome) === 1,
        writeKeyId: String(writeKeyId), receivedAt: String(receivedAt), profileIds: profileIds as string[],
      }));
    },
    copyRow: (row, signal) =>
      clickhouse.command(`INSERT INTO events SELECT * REPLACE (now64(3) AS stored_at) FROM (SELECT * FROM events WHERE ${rowCondition([row])} LIMIT 1)`, signal),
    async keepContent(loser, winner, signal) {
      const rows = await clickhouse.rows(
        `SELECT tenant, event_id, message_id, topic, partition, offset, raw FROM events
         WHERE ${rowCondition([loser])} AND (${place}) NOT IN (SELECT ${place} FROM conflicts WHERE event_id = ${sqlText(loser.eventId)}) LIMIT 1`,
        {},
        signal,
      );
      const [row] = rows;
      if (row === undefined) return;
      // Under a token, which two passes at once share.
      await clickhouse.insert({
        table: 'conflicts',
        columns: ['stored_topic', 'stored_partition', 'stored_offset', 'tenant', 'event_id', 'message_id', 'topic', 'partition', 'offset', 'raw'],
        lines: [JSON.stringify([winner.topic, winner.partition, String(winner.offset), ...row])],
        token: `reconcile/conflict/${loser.topic}/${loser.partition}/${loser.offset}/${loser.eventId}`,
      }, signal);
    },
    insertOutcomes: (outcomes, token, signal) =>
      clickhouse.insert({
        table: 'outcomes',
        columns: ['topic', 'partition', 'offset', 'tenant', 'event_id', 'outcome', 'reason', 'write_key_id', 'received_at'],
        lines: outcomes.map(({ topic, partition, offset, tenant, eventId, outcome, reason, writeKeyId, receivedAt }) =>
          `${JSON.stringify([topic, partition]).slice(0, -1)},${offset},${JSON.stringify([tenant, eventId, outcome, reason, writeKeyId, receivedAt]).slice(1)}`),
        token,
      }, signal),
    removeIds: (places, signal) => clickhouse.command(`DELETE FROM event_ids WHERE ${placeCondition(places)}`, signal),
    removeRows: (rows, signal) => clickhouse.command(`DELETE FROM events WHERE ${rowCondition(rows)}`, signal),
    async planRebuild(rows, signal) {
      const ids = idsOfProfiles(rows);
      if (ids.length > 0) await clickhouse.command(`INSERT INTO profile_rebuilds (tenant, id) SELECT * FROM ${rowsIn(['text', 'text'], ids)}`, signal);
    },
    rebuildProfiles: (rows, signal) => rebuild(idsOfProfiles(rows), signal),
    async finishRebuilds(signal) {
      const rows = await clickhouse.rows(`SELECT DISTINCT tenant, id FROM profile_rebuilds WHERE at < now64(3) - INTERVAL 30 SECOND LIMIT 1000`, undefined, signal);
      await rebuild(rows.map(([tenant, id]) => [String(tenant), String(id)]), signal);
    },
    async wrongOutcomes(sinceMs, untilMs, limit, signal) {
      const rows = await clickhouse.rows(
        `SELECT ${place} FROM outcomes
         WHERE at BETWEEN fromUnixTimestamp64Milli({from: Int64}) AND fromUnixTimestamp64Milli({until: Int64}) AND outcome IN ('duplicate', 'conflict')
           AND (${place}) IN (SELECT ${place} FROM events WHERE stored_at >= fromUnixTimestamp64Milli({from: Int64}))
         LIMIT ${limit}`,
        { from: String(sinceMs), until: String(untilMs) },
        signal,
      );
      return rows.map(([topic, partition, offset, id]) => ({ topic: String(topic), partition: Number(partition), offset: BigInt(String(offset)), eventId: String(id) }));
    },
    removeConflicts: (places, signal) => clickhouse.command(`DELETE FROM conflicts WHERE ${placeCondition(places)}`, signal),
    removeOutcomes: (places, signal) =>
      clickhouse.command(`DELETE FROM outcomes WHERE ${placeCondition(places)} AND outcome IN ('duplicate', 'conflict')`, signal),
    async repeatedAccounts(table, sinceMs, limit, signal) {
      const found: RepeatedAccount[] = [];
      const from = String(sinceMs);
      const written = `FROM ${table} WHERE at >= fromUnixTimestamp64Milli({from: Int64})`;
      const [count] = await clickhouse.rows(`SELECT count() ${written}`, { from }, signal);
      const slices = Math.max(1, Math.ceil(Number(count?.[0]) / maxIdsInMemory));
      const key = `sipHash64(${place}, ${saidOf[table]})`;
      for (let slice = 0; slice < slices && found.length < limit; slice++) {
        const some = slices === 1 ? '' : `AND cityHash64(event_id) % ${slices} = ${slice}`;
        const rows = await clickhouse.rows(
          `SELECT ${place}, toString(sipHash64(${saidOf[table]})) AS said, arraySort(groupArray(toUnixTimestamp64Milli(at))) ${written} ${some}
             AND ${key} IN (SELECT ${key} AS hash ${written} ${some} GROUP BY hash HAVING count() > 1 LIMIT ${limit - found.length})
           GROUP BY ${place}, said HAVING count() > 1`,
          { from },
          signal,
        );
        for (const [topic, partition, offset, id, said, at] of rows) {
          found.push({ place: { topic: String(topic), partition: Number(partition), offset: BigInt(String(offset)), eventId: String(id) }, said: String(said), at: (at as unknown[]).map(String) });
        }
      }
      return found;
    },
    removeAccounts: (table, rows, signal) => clickhouse.command(`DELETE FROM ${table} WHERE ${accountCondition(table, rows)}`, signal),
    copyAccount: (table, row, signal) =>
      clickhouse.command(`INSERT INTO ${table} SELECT * REPLACE (now64(3) AS at) FROM (SELECT * FROM ${table} WHERE ${accountCondition(table, [row])} LIMIT 1) SETTINGS insert_deduplicate = 0`, signal),
    note: ({ checkedUntilMs, removed, corrected }, signal) =>
      clickhouse.command(`INSERT INTO reconciliations (checked_until, removed, corrected) VALUES (fromUnixTimestamp64Milli(${checkedUntilMs}), ${removed}, ${corrected})`, signal),
  };
}

const placeKinds = ['text', 'UInt32', 'UInt64', 'UUID'] as const;

function placeCondition(places: readonly IdPlace[]): string {
  return `(${place}) IN ${rowsIn(placeKinds, places.map(({ topic, partition, offset, eventId }) => [topic, partition, offset, eventId]))}`;
}

/** Tenant and id, each once. */
function idsOfProfiles(rows: readonly StoredRow[]): (readonly [string, string])[] {
  return [...new Map(rows.flatMap(({ tenant, profileIds }) => profileIds.map(id => [`${tenant}\0${id}`, [tenant, id] as const]))).values()];
}

/** What tells two rows of the same record apart. */
const saidOf: Record<AccountTable, string> = { outcomes: 'outcome', conflicts: 'raw' };

function accountCondition(table: AccountTable, rows: readonly AccountRow[]): string {
  return `(${place}, at, sipHash64(${saidOf[table]})) IN ${rowsIn([...placeKinds, 'time', 'UInt64'], rows.map(({ place: { topic, partition, offset, eventId }, said, at }) => [topic, partition, offset, eventId, at, said]))}`;
}

/** By the table's sorting key first, so that only their granules are read. */
function rowCondition(rows: readonly StoredRow[]): string {
  const cells = rows.map(({ tenant, event, timestamp, eventId, topic, partition, offset, storedAt }) => [tenant, event, timestamp, eventId, topic, partition, offset, storedAt]);
  return `(tenant, event, timestamp, event_id, topic, partition, offset, stored_at) IN ${rowsIn(['text', 'text', 'time', 'UUID', 'text', 'UInt32', 'UInt64', 'time'], cells)}`;
}
