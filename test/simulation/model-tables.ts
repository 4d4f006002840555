import { placedId } from '../../src/sink/event-tables.ts';
import type { EventTables, StoredPlace } from '../../src/sink/event-tables.ts';
import type { ProfileFeedOptions } from '../../src/sink/profile-feed.ts';
import type { IdPlace, ReconcileTables } from '../../src/sink/reconcile-tables.ts';
import type { ConflictRow, EventRow, ModelClickHouse, OutcomeRow } from './model-clickhouse.ts';
import { topic } from './records.ts';
import type { Process, Scheduler } from './scheduler.ts';

/** The ports of the sink, on the model's tables. */
export function createModelTables(clickhouse: ModelClickHouse, scheduler: Scheduler, from: Process): { events: EventTables; reconciliation: ReconcileTables; feed: ProfileFeedOptions['feed'] } {
  const between = (first: bigint, last: bigint) => ({ offset }: { offset: bigint }): boolean => offset >= first && offset <= last;
  const placed = (rows: readonly { offset: bigint; eventId: string }[]): Set<string> => new Set(rows.map(({ offset, eventId }) => placedId(offset, eventId)));
  const offsets = (rows: readonly { offset: bigint }[]): string => rows.map(({ offset }) => offset).join();

  const events: EventTables = {
    async storedAt({ partition, signal }, candidates) {
      const first = candidates[0]?.offset;
      const last = candidates.at(-1)?.offset;
      if (first === undefined || last === undefined) return new Set();
      return clickhouse.ask({ from, label: `reads events at ${partition}/${first}-${last}`, signal }, () =>
        placed(clickhouse.events.filter(row => row.partition === partition && between(first, last)(row))));
    },
    outcomesAt: ({ partition, signal }, first, last) =>
      clickhouse.ask({ from, label: `reads outcomes at ${partition}/${first}-${last}`, signal }, () => placed(clickhouse.outcomes.filter(row => row.partition === partition && between(first, last)(row)))),
    conflictsAt: ({ partition, signal }, first, last) =>
      clickhouse.ask({ from, label: `reads conflicts at ${partition}/${first}-${last}`, signal }, () => placed(clickhouse.conflicts.filter(row => row.partition === partition && between(first, last)(row)))),
    async findIds(ids, signal) {
      if (ids.length === 0) return new Map();
      const wanted = new Set(ids);
      return clickhouse.ask({ from, label: `looks up ${ids.length} ids`, signal }, () => {
        const found = new Map<string, StoredPlace[]>();
        for (const { eventId, partition, offset, contentHash } of clickhouse.ids) {
          if (!wanted.has(eventId)) continue;
          const places = found.get(eventId) ?? [];
          places.push({ topic, partition, offset, contentHash });
          found.set(eventId, places);
        }
        return found;
      });
    },
    async insertEvents({ partition, signal }, candidates, token) {
      // Refused rows are found by probes, which store nothing; the others go in as one block (sink/insert-mended.ts).
      const refused = new Map(candidates.filter(({ event }) => event.event === 'unstorable').map(row => [row, 'refused']));
      const rows = candidates.filter(row => !refused.has(row));
      if (rows.length > 0) await clickhouse.insertEvents({ from, label: `insert of events ${partition}/${offsets(rows)} under ${token}`, signal }, rows, partition, token);
      return refused;
    },
    insertIds: ({ partition, signal }, rows, token) =>
      clickhouse.insert({ from, label: `insert of ids of ${partition}/${offsets(rows)}`, signal }, clickhouse.ids, () =>
        rows.map(({ eventId, offset, contentHash }) => ({ eventId, partition, offset, contentHash, storedAtMs: scheduler.nowMs() })), token),
    insertOutcomes: ({ partition, signal }, outcomes, token) =>
      clickhouse.insert({ from, label: `insert of outcomes ${partition}/${outcomes.map(({ offset, outcome }) => `${offset} ${outcome}`).join()}`, signal }, clickhouse.outcomes, () =>
        outcomes.map(({ id, offset, outcome, reason }) => ({ eventId: id, partition, offset, outcome, reason, atMs: scheduler.nowMs() })), token),
    insertConflicts: ({ partition, signal }, conflicts, token) =>
      clickhouse.insert({ from, label: `insert of conflicts ${partition}/${offsets(conflicts)}`, signal }, clickhouse.conflicts, () =>
        conflicts.map(({ eventId, offset, event }) => ({ eventId, partition, offset, content: event.properties ?? '', atMs: scheduler.nowMs() })), token),
  };

  const saidIn = (row: OutcomeRow | ConflictRow): string => ('outcome' in row ? row.outcome : row.content);
  const same = (a: { partition: number; offset: bigint; eventId: string }) => (b: { partition: number; offset: bigint; eventId: string }): boolean =>
    a.partition === b.partition && a.offset === b.offset && a.eventId === b.eventId;
  const change = (label: string, run: () => void, what: 'added' | 'removed'): Promise<void> =>
    clickhouse.ask({ from, label: `reconciliation ${label}` }, () => {
      run();
      clickhouse.onChange(what);
    });
  const isOf = (places: readonly IdPlace[]) => (row: { partition: number; offset: bigint; eventId: string }): boolean => places.some(same(row));
  const remove = <R>(table: R[], gone: (row: R) => boolean): void => void table.splice(0, table.length, ...table.filter(row => !gone(row)));
  const judged = (outcome: string): boolean => outcome === 'duplicate' || outcome === 'conflict';

  const reconciliation: ReconcileTables = {
    times: () => clickhouse.ask({ from, label: 'reconciliation begins' }, () => ({ nowMs: scheduler.nowMs(), checkedUntilMs: clickhouse.checkedUntilMs })),
    idsStoredTwice: (sinceMs, wide) =>
      clickhouse.ask({ from, label: 'reconciliation finds' }, () => {
        const counts = new Map<string, number>();
        for (const { eventId, storedAtMs } of clickhouse.events) if (storedAtMs >= sinceMs) counts.set(eventId, (counts.get(eventId) ?? 0) + 1);
        const places = new Map<string, Set<string>>();
        for (const { eventId, partition, offset, storedAtMs } of wide ? clickhouse.ids : []) {
          if (storedAtMs >= sinceMs) places.set(eventId, (places.get(eventId) ?? new Set()).add(`${partition}/${offset}`));
        }
        return [...new Set([...[...counts].filter(([, count]) => count > 1), ...[...places].filter(([, of]) => of.size > 1)].map(([id]) => id))];
      }),
    rowsOf: ids =>
      clickhouse.ask({ from, label: 'reconciliation reads rows' }, () =>
        clickhouse.events.filter(({ eventId }) => ids.includes(eventId)).map(row => ({
          topic, partition: row.partition, offset: row.offset, eventId: row.eventId, tenant: row.tenant, event: '', timestamp: '0', storedAt: String(row.storedAtMs), contentHash: row.contentHash, writeKeyId: '', receivedAt: '', profileIds: [],
          hasOutcome: clickhouse.outcomes.some(same(row)),
        }))),
    copyRow: row =>
      change(`copies ${row.partition}/${row.offset}`, () => {
        const found = clickhouse.events.find(other => same(row)(other) && String(other.storedAtMs) === row.storedAt);
        if (found === undefined) return;
        clickhouse.events.push({ ...found, storedAtMs: scheduler.nowMs() });
        clickhouse.ids.push({ eventId: row.eventId, partition: row.partition, offset: row.offset, contentHash: row.contentHash, storedAtMs: scheduler.nowMs() });
      }, 'added'),
    keepContent: loser =>
      change(`keeps the content of ${loser.partition}/${loser.offset}`, () => {
        const found = clickhouse.events.find(other => same(loser)(other) && String(other.storedAtMs) === loser.storedAt);
        if (found !== undefined && !clickhouse.conflicts.some(same(loser))) clickhouse.conflicts.push({ eventId: loser.eventId, partition: loser.partition, offset: loser.offset, content: found.content, atMs: scheduler.nowMs() });
      }, 'added'),
    insertOutcomes: (outcomes, token) =>
      clickhouse.insert({ from, label: `reconciliation writes outcomes ${outcomes.map(({ partition, offset, outcome }) => `${partition}/${offset} ${outcome}`).join()}` }, clickhouse.outcomes, () =>
        outcomes.map(({ eventId, partition, offset, outcome, reason }) => ({ eventId, partition, offset, outcome, reason, atMs: scheduler.nowMs() })), token),
    removeIds: places => change(`removes ids ${places.map(({ partition, offset }) => `${partition}/${offset}`).join()}`, () => remove(clickhouse.ids, isOf(places)), 'removed'),
    removeRows: rows =>
      change(`removes rows ${rows.map(({ partition, offset, storedAt }) => `${partition}/${offset} of ${storedAt.slice(-6)}`).join()}`, () =>
        remove(clickhouse.events, row => rows.some(gone => same(gone)(row) && gone.storedAt === String(row.storedAtMs))), 'removed'),
    // Made of events: not modelled.
    planRebuild: () => Promise.resolve(),
    rebuildProfiles: () => Promise.resolve(),
    finishRebuilds: () => Promise.resolve(),
    wrongOutcomes: (sinceMs, untilMs) =>
      clickhouse.ask({ from, label: 'reconciliation looks for wrong outcomes' }, () =>
        clickhouse.outcomes
          .filter(row => row.atMs >= sinceMs && row.atMs <= untilMs && judged(row.outcome) && clickhouse.events.some(other => other.storedAtMs >= sinceMs && same(row)(other)))
          .map(({ partition, offset, eventId }) => ({ topic, partition, offset, eventId }))),
    removeConflicts: places => change('removes conflicts', () => remove(clickhouse.conflicts, isOf(places)), 'removed'),
    removeOutcomes: places =>
      change(`removes outcomes ${places.map(({ partition, offset }) => `${partition}/${offset}`).join()}`, () => remove(clickhouse.outcomes, row => judged(row.outcome) && isOf(places)(row)), 'removed'),
    repeatedAccounts: (table, sinceMs) =>
      clickhouse.ask({ from, label: `reconciliation looks for what ${table} has twice` }, () => {
        const said = new Map<string, { place: IdPlace; said: string; at: string[] }>();
        for (const row of clickhouse[table]) {
          if (row.atMs < sinceMs) continue;
          const key = `${row.partition}/${row.offset}/${row.eventId}/${saidIn(row)}`;
          const group = said.get(key) ?? { place: { topic, partition: row.partition, offset: row.offset, eventId: row.eventId }, said: saidIn(row), at: [] };
          group.at.push(String(row.atMs));
          said.set(key, group);
        }
        return [...said.values()].filter(({ at }) => at.length > 1).map(({ at, ...group }) => ({ ...group, at: at.sort((a, b) => Number(a) - Number(b)) }));
      }),
    removeAccounts: (table, rows) =>
      change(`removes from ${table} ${rows.map(({ place }) => `${place.partition}/${place.offset}`).join()}`, () => {
        scheduler.mark('model: what was written down twice is there once');
        const gone = (row: (typeof clickhouse)[typeof table][number]): boolean => rows.some(({ place, said, at }) => same(place)(row) && at === String(row.atMs) && said === saidIn(row));
        if (table === 'outcomes') remove(clickhouse.outcomes, gone);
        else remove(clickhouse.conflicts, gone);
      }, 'removed'),
    copyAccount: (table, { place, said, at }) =>
      change(`copies a row of ${table} of ${place.partition}/${place.offset}`, () => {
        const rows: (typeof clickhouse)[typeof table][number][] = clickhouse[table];
        const found = rows.find(row => same(place)(row) && at === String(row.atMs) && said === saidIn(row));
        if (found !== undefined) rows.push({ ...found, atMs: scheduler.nowMs() });
      }, 'added'),
    note: ({ checkedUntilMs }) => change('notes how far it looked', () => void (clickhouse.checkedUntilMs = Math.max(clickhouse.checkedUntilMs, checkedUntilMs)), 'added'),
  };
  const feed: ProfileFeedOptions['feed'] = ranges =>
    clickhouse.ask({ from, label: `feeds profiles from ${ranges.map(({ partition, first, last }) => `${partition}/${first}-${last}`).join()}` }, () => {
      const found = (row: EventRow): boolean => ranges.some(({ partition, first, last, storedWithinMs = Infinity }) => row.partition === partition && between(first, last)(row) && row.storedAtMs >= scheduler.nowMs() - storedWithinMs);
      for (const row of clickhouse.events) if (found(row)) clickhouse.fed.add(row.eventId);
    });
  return { events, reconciliation, feed };
}
