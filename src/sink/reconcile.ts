import { asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { remainderToken } from './plan.ts';
import { slicesOf } from './slices.ts';
import type { AccountRow, AccountTable, ReconcileTables, StoredRow, SurplusOutcome } from './reconcile-tables.ts';

/*
 * The race that planning and look-up leave: the same message id in two partitions, stored by two sinks in the same moment;
 * or an insert that outlives its sink and lands after the event was stored from another place. Both leave two rows of one id
 * that were stored within minutes of each other. And what a sink wrote down of a record that was not stored may land once more, after
 * its plan gave way to another's: in `outcomes` or `conflicts` then stands twice what happened once. A pass finds and mends them:
 *
 *   1. find      ids that more than one row has, among the rows stored in the last two minutes; every three minutes, since the
 *                last wide pass and an overlap before it, and then also ids that were noted for two places in that time: a row
 *                may have lacked its id for long
 *   2. choose    the row to stay: one whose record has no outcome, then the lowest stored_at, topic, partition, offset
 *   3. account   an outcome for each of the others: duplicate, or conflict with its content kept
 *   4. remove    them from event_ids, then from events, by place and stored_at; where they said something else, whose profiles are to be
 *                made anew is written down before, and they are afterwards
 *   5. correct   outcomes older than a minute whose record is in events after all are removed
 *   6. once      of rows of outcomes, and of conflicts, that say the same of the same record the first stays
 *   7. note      up to when a wide pass has looked
 *
 * A crash between any two steps leaves work that the next pass does again. One sink at a time makes passes: the one that holds
 * partition 0 of the events topic. Two at once, for a moment, choose alike; what both write down twice is the same row.
 */

export interface ReconcileResult {
  removed: number;
  corrected: number;
  /** Rows of outcomes and conflicts that said what another said. */
  repeated: number;
  /** The ids that had more than one row. */
  eventIds: string[];
}

export interface ReconcileOptions {
  tables: ReconcileTables;
  /**
   * How far before the last pass rows are looked at again: longer than any insert can take from its first byte to its commit,
   * or lie in a network. Milliseconds; default 15 minutes.
   */
  overlapMs?: number;
  /** Default: one minute. */
  correctAfterMs?: number;
  log: Log;
}

/** A row that goes, and the one of the same id that stays. */
export interface Surplus {
  loser: StoredRow;
  winner: StoredRow;
}

const defaultOverlapMs = 15 * 60_000;
/** What a narrow pass looks at: the race of two sinks, which is over within two requests' time. */
const narrowMs = 2 * 60_000;
const wideEveryMs = 3 * 60_000;
/** More than one pass takes on; the next goes on where this one ended. */
const maxIds = 5_000;

/** One pass. Throws where ClickHouse can't be had; made again it finishes what was begun. */
export async function reconcile({ tables, log, overlapMs = defaultOverlapMs, correctAfterMs = 60_000 }: ReconcileOptions, wide = true, signal?: AbortSignal): Promise<ReconcileResult> {
  const { nowMs, checkedUntilMs } = await tables.times(signal);
  await tables.finishRebuilds(signal);
  const sinceMs = wide ? Math.max(0, checkedUntilMs - overlapMs) : nowMs - narrowMs;

  const twice = await tables.idsStoredTwice(sinceMs, wide, maxIds, signal);
  const { removed, copies } = await removeSurplus(tables, twice, signal);
  if (removed.length > 0) note(log, 'doubles_reconciled', { events: twice.length, rows: removed.length, places: removed.slice(0, 10).map(placeOf) });

  const wrong = await tables.wrongOutcomes(sinceMs, Math.max(nowMs - correctAfterMs, sinceMs), maxIds, signal);
  // A record that has an outcome and is stored all the same is stored: its row counts, the outcome must not.
  for (const some of slicesOf(wrong, namedAtOnce)) {
    await tables.removeConflicts(some, signal);
    await tables.removeOutcomes(some, signal);
  }
  if (wrong.length > 0) note(log, 'outcomes_corrected', { outcomes: wrong.length });

  let repeated = 0;
  let isWhole = twice.length < maxIds && !copies;
  for (const table of ['outcomes', 'conflicts'] as const) {
    const found = await leaveFirst(tables, table, sinceMs, signal);
    repeated += found.removed;
    if (!found.isWhole) isWhole = false;
    if (found.removed > 0) note(log, 'repeats_removed', { table, rows: found.removed });
  }

  // A pass that could not take on all, or has left a copy for the next to find, says nothing about how far it looked.
  const seenAll = wide && isWhole;
  if (seenAll || removed.length + wrong.length > 0) await tables.note({ checkedUntilMs: seenAll ? nowMs : checkedUntilMs, removed: removed.length, corrected: wrong.length }, signal);
  return { removed: removed.length, corrected: wrong.length, repeated, eventIds: removed.length > 0 ? twice : [] };
}

/** Of what a table says twice of a record. */
async function leaveFirst(tables: ReconcileTables, table: AccountTable, sinceMs: number, signal?: AbortSignal): Promise<{ isWhole: boolean; removed: number }> {
  const found = await tables.repeatedAccounts(table, sinceMs, maxIds, signal);
  const gone: AccountRow[] = [];
  let removed = 0;
  let copies = 0;
  for (const { place, said, at } of found) {
    // Rows of the same moment can only be removed together, so one that stays is alone in its own; where there is none a copy will be.
    const first = at.find(one => at.indexOf(one) === at.lastIndexOf(one));
    if (first === undefined) {
      await tables.copyAccount(table, { place, said, at: at[0] ?? '' }, signal);
      copies++;
    } else {
      for (const one of new Set(at)) if (one !== first) gone.push({ place, said, at: one });
      removed += at.length - 1;
    }
  }
  for (const some of slicesOf(gone, namedAtOnce)) await tables.removeAccounts(table, some, signal);
  return { isWhole: found.length < maxIds && copies === 0, removed };
}

/** A statement that names so many rows may have some megabytes, of which ClickHouse takes sixteen. */
const namedAtOnce = 1_000;

/** Leaves one row of each of these events; answers the rows that went, and whether copies were made that another pass has to find. */
export async function removeSurplus(tables: ReconcileTables, ids: readonly string[], signal?: AbortSignal): Promise<{ removed: StoredRow[]; copies: boolean }> {
  const removed: StoredRow[] = [];
  let copies = false;
  for (const some of slicesOf(ids, namedAtOnce)) {
    const found = await removeSurplusOf(tables, some, signal);
    removed.push(...found.removed);
    copies ||= found.copies;
  }
  return { removed, copies };
}

async function removeSurplusOf(tables: ReconcileTables, ids: readonly string[], signal?: AbortSignal): Promise<{ removed: StoredRow[]; copies: boolean }> {
  const { surplus, twins } = chooseSurplus(await tables.rowsOf(ids, signal));
  // The next pass finds the copy, which can be told apart, and removes the twins.
  for (const twin of twins) await tables.copyRow(twin, signal);
  const copies = twins.length > 0;
  if (surplus.length === 0) return { removed: [], copies };

  await account(tables, surplus, signal);
  const losers = surplus.map(({ loser }) => loser);
  // A place that also holds the winner keeps its id.
  const kept = new Set(surplus.map(({ winner }) => placeOf(winner)));
  const gone = losers.filter(loser => !kept.has(placeOf(loser)));
  if (gone.length > 0) await tables.removeIds(gone, signal);
  // The same event counts once in a profile however often it is stored; another one of the same id must not count at all.
  const others = surplus.filter(({ loser, winner }) => loser.contentHash !== winner.contentHash).map(({ loser }) => loser);
  if (others.length > 0) await tables.planRebuild(others, signal);
  await tables.removeRows(losers, signal);
  if (others.length > 0) await tables.rebuildProfiles(others, signal);
  return { removed: losers, copies };
}

/** Of rows of the same ids: which are too many, and for which others; and one of each set of rows that nothing tells apart. */
export function chooseSurplus(rows: readonly StoredRow[]): { surplus: Surplus[]; twins: StoredRow[] } {
  const byId = new Map<string, StoredRow[]>();
  for (const row of rows) {
    const others = byId.get(row.eventId);
    if (others === undefined) byId.set(row.eventId, [row]);
    else others.push(row);
  }
  const surplus: Surplus[] = [];
  const twins: StoredRow[] = [];
  for (const stored of byId.values()) {
    // Rows that nothing tells apart can only be removed together, so they never stay.
    const single = stored.filter(row => stored.filter(other => rowKey(other) === rowKey(row)).length === 1);
    const [winner] = single.sort(byPreference);
    const [one] = stored;
    if (winner === undefined && one !== undefined && stored.length > 1) twins.push(one);
    else if (winner !== undefined) for (const loser of stored) if (rowKey(loser) !== rowKey(winner)) surplus.push({ loser, winner });
  }
  return { surplus, twins };
}

/** More inserts than these at once would make too many parts. */
const maxSingleInserts = 100;

/** Outcomes for rows that go, except where the record has one, or another row of the same record stays. */
async function account(tables: ReconcileTables, surplus: readonly Surplus[], signal?: AbortSignal): Promise<void> {
  const unaccounted = surplus.filter(({ loser, winner }) => !loser.hasOutcome && placeOf(loser) !== placeOf(winner));
  const once = [...new Map(unaccounted.map(pair => [`${placeOf(pair.loser)}/${pair.loser.eventId}`, pair])).values()];
  if (once.length === 0) return;
  const differs = ({ loser, winner }: Surplus): boolean => loser.contentHash !== '0' && winner.contentHash !== '0' && loser.contentHash !== winner.contentHash;
  for (const { loser, winner } of once.filter(differs)) await tables.keepContent(loser, winner, signal);
  const outcomes = once.map((pair): SurplusOutcome => {
    const { topic, partition, offset, eventId, tenant, writeKeyId, receivedAt } = pair.loser;
    return { topic, partition, offset, eventId, tenant, writeKeyId, receivedAt, outcome: differs(pair) ? 'conflict' : 'duplicate', reason: placeOf(pair.winner) };
  });
  // Few: each under its own token, since another look at the same rows, at the same time, may have found others beside them.
  const blocks = outcomes.length > maxSingleInserts ? [outcomes] : outcomes.map(outcome => [outcome]);
  for (const block of blocks) {
    const named = block.map(({ topic, partition, offset, eventId, outcome, reason }) => [topic, partition, offset, eventId, outcome, reason].join('/'));
    await tables.insertOutcomes(block, remainderToken('reconcile', named), signal);
  }
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

export interface Reconciliation {
  close(): Promise<void>;
}

/** Makes passes as long as it `leads`, `everyMs` apart, the first a wide one. A pass that fails is made again. */
export function startReconciliation(options: ReconcileOptions & { everyMs: number; leads: () => boolean; onPass: (result: ReconcileResult) => void }): Reconciliation {
  const { everyMs, leads, onPass, log } = options;
  const stop = new AbortController();
  let pass: Promise<void> = Promise.resolve();
  let running = false;
  let wideAt = -Infinity;
  const timer = setInterval(() => {
    if (!leads()) wideAt = -Infinity;
    if (running || !leads()) return;
    running = true;
    const began = performance.now();
    const wide = began - wideAt >= wideEveryMs;
    pass = reconcile(options, wide, stop.signal)
      .then(result => {
        if (wide) wideAt = began;
        onPass(result);
      })
      .catch((thrown: unknown) => {
        if (!stop.signal.aborted) note(log, 'reconciliation_failed', { error: asError(thrown).message });
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
