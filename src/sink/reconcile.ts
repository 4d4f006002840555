import { createHash } from 'node:crypto';
import { asError } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import type { ClickHouse } from './clickhouse.ts';

/*
 * The race that planning and look-up leave: the same message id in two partitions, stored by two sinks in the same moment;
 * or an insert that outlives its sink and lands after the event was stored from another place. Both leave two rows of one id
 * that were stored within minutes of each other. A pass finds and mends them:
 *
 *   1. find      ids that more than one row has, among the rows stored since the last pass (and an overlap before it)
 *   2. choose    the row to stay: one whose record has no outcome, then the lowest stored_at, topic, partition, offset
 *   3. account   an outcome for each of the others: duplicate, or conflict with its content kept
 *   4. remove    them from event_ids, then from events, by place and stored_at
 *   5. correct   outcomes older than a minute whose record is in events after all are removed
 *   6. note      up to when this pass has looked
 *
 * A crash between any two steps leaves work that the next pass does again. One sink at a time makes passes: the one that holds
 * partition 0 of the events topic. Two at once, for a moment, choose alike; what both write down twice is the same row.
 */

export interface ReconcileResult {
  removed: number;
  corrected: number;
  /** The ids that had more than one row. */
  eventIds: string[];
}

export interface ReconcileOptions {
  clickhouse: ClickHouse;
  /**
   * How far before the last pass rows are looked at again: longer than any insert can take from its first byte to its commit,
   * or lie in a network. Milliseconds; default 15 minutes.
   */
  overlapMs?: number;
  /** Default: one minute. */
  correctAfterMs?: number;
  log: Log;
}

interface StoredRow {
  tenant: string;
  event: string;
  /** Times in milliseconds, as decimal text. */
  timestamp: string;
  storedAt: string;
  eventId: string;
  topic: string;
  partition: number;
  offset: bigint;
  contentHash: string;
  hasOutcome: boolean;
}

const defaultOverlapMs = 15 * 60_000;
/** More than one pass takes on; the next goes on where this one ended. */
const maxIds = 5_000;

/** One pass. Throws where ClickHouse can't be had; made again it finishes what was begun. */
export async function reconcile({ clickhouse, log, overlapMs = defaultOverlapMs, correctAfterMs = 60_000 }: ReconcileOptions, signal?: AbortSignal): Promise<ReconcileResult> {
  const rows = (statement: string, params: Record<string, unknown> = {}): Promise<unknown[][]> => clickhouse.rows(statement, params, signal);
  const [times] = await rows('SELECT toUnixTimestamp64Milli(now64(3)), toUnixTimestamp64Milli(max(checked_until)) FROM reconciliations');
  const nowMs = Number(times?.[0]);
  const from = String(Math.max(0, Number(times?.[1]) - overlapMs));
  const since = 'stored_at >= fromUnixTimestamp64Milli({from: Int64})';

  const twice = (await rows(`SELECT event_id FROM events WHERE ${since} GROUP BY event_id HAVING count() > 1 LIMIT ${maxIds}`, { from })).map(([id]) => String(id));
  const removed = twice.length === 0 ? [] : await removeSurplus(clickhouse, twice, signal);
  if (removed.length > 0) log.warn({ events: twice.length, rows: removed.length, places: removed.slice(0, 10).map(placeOf) }, 'events that were stored twice are single again');

  const corrected = await correctOutcomes(clickhouse, from, nowMs - correctAfterMs, signal);
  if (corrected > 0) log.warn({ outcomes: corrected }, 'outcomes of records that are in events after all were removed');

  // A pass that could not take on all says nothing about how far it looked.
  const until = twice.length < maxIds ? nowMs : Number(times?.[1]);
  await clickhouse.command(`INSERT INTO reconciliations (checked_until, removed, corrected) VALUES (fromUnixTimestamp64Milli(${until}), ${removed.length}, ${corrected})`, signal);
  return { removed: removed.length, corrected, eventIds: removed.length > 0 ? twice : [] };
}

async function removeSurplus(clickhouse: ClickHouse, ids: readonly string[], signal?: AbortSignal): Promise<StoredRow[]> {
  const idList = ids.map(id => `'${id}'`).join();
  const found = await clickhouse.rows(
    `SELECT tenant, event, toUnixTimestamp64Milli(timestamp), toUnixTimestamp64Milli(stored_at), event_id, topic, partition, offset, content_hash,
       (topic, partition, offset, event_id) IN (SELECT topic, partition, offset, event_id FROM outcomes WHERE event_id IN (${idList}))
     FROM events WHERE event_id IN (${idList})`,
    {},
    signal,
  );
  const byId = new Map<string, StoredRow[]>();
  for (const [tenant, event, timestamp, storedAt, eventId, topic, partition, offset, contentHash, hasOutcome] of found) {
    const row: StoredRow = {
      tenant: String(tenant), event: String(event), timestamp: String(timestamp), storedAt: String(storedAt), eventId: String(eventId), topic: String(topic), partition: Number(partition),
      offset: BigInt(String(offset)), contentHash: String(contentHash), hasOutcome: Number(hasOutcome) === 1,
    };
    byId.set(row.eventId, [...(byId.get(row.eventId) ?? []), row]);
  }

  const surplus: { loser: StoredRow; winner: StoredRow }[] = [];
  const twins: StoredRow[] = [];
  for (const stored of byId.values()) {
    // Rows that nothing tells apart can only be removed together, so they never stay.
    const single = stored.filter(row => stored.filter(other => rowKey(other) === rowKey(row)).length === 1);
    const [winner] = single.sort(byPreference);
    const [one] = stored;
    if (winner === undefined && one !== undefined && stored.length > 1) twins.push(one);
    else if (winner !== undefined) for (const loser of stored) if (rowKey(loser) !== rowKey(winner)) surplus.push({ loser, winner });
  }
  // The next pass finds the copy, which can be told apart, and removes the twins.
  for (const twin of twins) await copyRow(clickhouse, twin, signal);
  if (surplus.length === 0) return [];

  await account(clickhouse, surplus, signal);
  const losers = surplus.map(({ loser }) => loser);
  // A place that also holds the winner keeps its id.
  const kept = new Set(surplus.map(({ winner }) => placeOf(winner)));
  const gone = losers.filter(loser => !kept.has(placeOf(loser)));
  if (gone.length > 0) {
    await clickhouse.command(`DELETE FROM event_ids WHERE (event_id, topic, partition, offset) IN (${gone.map(row => `(${text(row.eventId)}, ${text(row.topic)}, ${row.partition}, ${row.offset})`).join()})`, signal);
  }
  await clickhouse.command(`DELETE FROM events WHERE ${rowCondition(losers)}`, signal);
  return losers;
}

/** Outcomes for rows that go, except where the record has one, or another row of the same record stays. */
async function account(clickhouse: ClickHouse, surplus: readonly { loser: StoredRow; winner: StoredRow }[], signal?: AbortSignal): Promise<void> {
  const unaccounted = surplus.filter(({ loser, winner }) => !loser.hasOutcome && placeOf(loser) !== placeOf(winner));
  const once = [...new Map(unaccounted.map(pair => [`${placeOf(pair.loser)}/${pair.loser.eventId}`, pair])).values()];
  if (once.length === 0) return;
  const differs = ({ loser, winner }: { loser: StoredRow; winner: StoredRow }): boolean => loser.contentHash !== '0' && winner.contentHash !== '0' && loser.contentHash !== winner.contentHash;
  for (const { loser, winner } of once.filter(differs)) {
    await clickhouse.command(
      `INSERT INTO conflicts (tenant, event_id, message_id, stored_topic, stored_partition, stored_offset, topic, partition, offset, raw)
       SELECT tenant, event_id, message_id, ${text(winner.topic)}, ${winner.partition}, ${winner.offset}, topic, partition, offset, raw FROM events
       WHERE ${rowCondition([loser])} AND (topic, partition, offset, event_id) NOT IN (SELECT topic, partition, offset, event_id FROM conflicts WHERE event_id = ${text(loser.eventId)}) LIMIT 1`,
      signal,
    );
  }
  const lines = once.map(pair => {
    const { loser, winner } = pair;
    return `${JSON.stringify([loser.topic, loser.partition]).slice(0, -1)},${loser.offset},${JSON.stringify([loser.tenant, loser.eventId, differs(pair) ? 'conflict' : 'duplicate', placeOf(winner)]).slice(1)}`;
  });
  const token = `reconcile/${createHash('sha256').update(lines.join()).digest('hex').slice(0, 32)}`;
  await clickhouse.insert({ table: 'outcomes', columns: ['topic', 'partition', 'offset', 'tenant', 'event_id', 'outcome', 'reason'], lines, token }, signal);
}

async function copyRow(clickhouse: ClickHouse, row: StoredRow, signal?: AbortSignal): Promise<void> {
  await clickhouse.command(`INSERT INTO events SELECT * REPLACE (now64(3) AS stored_at) FROM (SELECT * FROM events WHERE ${rowCondition([row])} LIMIT 1)`, signal);
}

/** A record that has an outcome and is stored all the same is stored: its row counts, the outcome must not. */
async function correctOutcomes(clickhouse: ClickHouse, from: string, untilMs: number, signal?: AbortSignal): Promise<number> {
  const place = 'topic, partition, offset, event_id';
  const wrong = await clickhouse.rows(
    `SELECT ${place}, toUnixTimestamp64Milli(at) FROM outcomes
     WHERE at BETWEEN fromUnixTimestamp64Milli({from: Int64}) AND fromUnixTimestamp64Milli({until: Int64}) AND outcome IN ('duplicate', 'conflict')
       AND (${place}) IN (SELECT ${place} FROM events WHERE stored_at >= fromUnixTimestamp64Milli({from: Int64}))
     LIMIT ${maxIds}`,
    { from, until: String(Math.max(untilMs, Number(from))) },
    signal,
  );
  if (wrong.length === 0) return 0;
  const places = wrong.map(([topic, partition, offset, id]) => `(${text(String(topic))}, ${Number(partition)}, ${BigInt(String(offset))}, ${text(String(id))})`).join();
  await clickhouse.command(`DELETE FROM conflicts WHERE (${place}) IN (${places})`, signal);
  await clickhouse.command(`DELETE FROM outcomes WHERE (${place}) IN (${places}) AND outcome IN ('duplicate', 'conflict')`, signal);
  return wrong.length;
}

function byPreference(a: StoredRow, b: StoredRow): number {
  return Number(a.hasOutcome) - Number(b.hasOutcome) || Number(a.storedAt) - Number(b.storedAt) || compare(a.topic, b.topic) || a.partition - b.partition || compare(a.offset, b.offset);
}

function compare<T extends string | bigint>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function placeOf(row: StoredRow): string {
  return `${row.topic}/${row.partition}/${row.offset}`;
}

function rowKey(row: StoredRow): string {
  return `${placeOf(row)}/${row.storedAt}`;
}

/** By the table's sorting key first, so that only their granules are read. */
function rowCondition(rows: readonly StoredRow[]): string {
  const tuples = rows.map(({ tenant, event, timestamp, eventId, topic, partition, offset, storedAt }) =>
    `(${text(tenant)}, ${text(event)}, fromUnixTimestamp64Milli(${timestamp}), toUUID(${text(eventId)}), ${text(topic)}, ${partition}, ${offset}, fromUnixTimestamp64Milli(${storedAt}))`);
  return `(tenant, event, timestamp, event_id, topic, partition, offset, stored_at) IN (${tuples.join()})`;
}

function text(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

export interface Reconciliation {
  close(): Promise<void>;
}

/** Makes passes as long as it `leads`, `everyMs` apart. A pass that fails is made again. */
export function startReconciliation(options: ReconcileOptions & { everyMs: number; leads: () => boolean; onPass: (result: ReconcileResult) => void }): Reconciliation {
  const { everyMs, leads, onPass, log } = options;
  const stop = new AbortController();
  let pass: Promise<void> = Promise.resolve();
  let running = false;
  const timer = setInterval(() => {
    if (running || !leads()) return;
    running = true;
    pass = reconcile(options, stop.signal)
      .then(onPass)
      .catch((thrown: unknown) => {
        if (!stop.signal.aborted) log.warn({ error: asError(thrown).message }, 'a pass of the reconciliation failed; the next one makes it again');
      })
      .finally(() => (running = false));
  }, everyMs);
  return {
    async close() {
      clearInterval(timer);
      stop.abort(new Error('closing'));
      await pass;
    },
  };
}
