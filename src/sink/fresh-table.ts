import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../errors.ts';
import { contentHash } from '../event/content.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { insertAlways, sqlText } from './clickhouse.ts';
import type { ClickHouse } from './clickhouse.ts';
import { createEventTables, placedId } from './event-tables.ts';
import type { StorableEvent } from './event-tables.ts';
import type { StoreRequest } from './partitions.ts';
import { remainderToken } from './plan.ts';
import type { EventRecord, ReadEvents } from './store-events.ts';

/*
 * Rows made anew: a replay into a fresh table, which then takes the place of `events`. Each run has a table of its own,
 * `events_replay_<8 hex digits>`; what a table's comment says tells the next run what a killed one has left.
 *
 *   step                                                           comment of      comment of      killed here,
 *                                                                  events          the other       the next run
 *   -----------------------------------------------------------    ------------    ------------    ------------
 *   make      the other table, like events, empty                                  filling         drops it
 *   fill      for each record of the range that is a row of                        filling         drops it
 *             events: its row, as it would be made today
 *   copy      all other rows of events, and what came meanwhile                    filling         drops it
 *   prune     rows that events has lost meanwhile go               replaced        filling         drops it
 *   exchange  both tables, in one step                             filling         replaced        follows
 *   follow    rows that came between copy and exchange, and of     filling         replaced        follows
 *             inserts that began before the exchange
 *   drop      the old table, or keep it as events_replay
 *
 * A materialised view on `events` follows the name, so until the exchange nothing that is done here feeds `event_ids` or profiles.
 * Outcomes and ids stay as they are: which record of an id is stored does not change.
 */

export const keptName = 'events_replay';
const ownName = /^events_replay_[0-9a-f]{8}$/;
const filling = 'millrace replay: being filled';
const replacedSince = 'millrace replay: replaced, since ';

/** Records of one partition, `to` not among them. */
export interface PlaceRange {
  topic: string;
  partition: number;
  from: bigint;
  to: bigint;
}

export interface FreshTable {
  /** Makes the rows of these records, where `events` has them; resolves with how many. Called again it adds nothing twice. */
  store(request: StoreRequest<EventRecord>): Promise<number>;
  /** From copy to exchange and follow; resolves with the number of rows that were copied. After the exchange the signal is not heard any more. */
  finish(ranges: readonly PlaceRange[], signal: AbortSignal): Promise<number>;
  /** Drops the table of a run that ends before its exchange. */
  discard(): Promise<void>;
}

export interface FreshTableOptions {
  /** Whose timeout is long: a month of rows is copied by one statement. */
  clickhouse: ClickHouse;
  read: ReadEvents;
  /** Keeps the old table, as `events_replay`. */
  keep: boolean;
  /** How long an insert that began before the exchange may still arrive in the old table: longer than a sink's timeout. Default 45,000. */
  followForMs?: number;
  log: Log;
}

/** Before the run's begin: rows get their `stored_at` before they can be seen. */
const overlapMs = 5 * 60_000;
const defaultFollowForMs = 45_000;
const followEveryMs = 3_000;
const place = 'topic, partition, offset, event_id';
/** Half the memory of a set of places. */
const hashOfPlace = `sipHash128(${place})`;
const placesAtOnce = 5_000_000;
/** A catch-up that copied no more than this is followed by the exchange. */
const fewRows = 1_000;

/** Makes the table. Throws ClickHouse's faults, `replay_kept` where `keep` finds an older kept one. */
export async function createFreshTable({ clickhouse, read, keep, followForMs = defaultFollowForMs, log }: FreshTableOptions): Promise<FreshTable> {
  await finishOthers(clickhouse, log);
  if (keep && (await tablesNow(clickhouse)).has(keptName)) {
    throw new MillraceError('replay_kept', `an earlier replay has kept the table ${keptName}`, { hint: `Drop it or rename it, or leave --keep out.` });
  }
  const name = `events_replay_${randomBytes(4).toString('hex')}`;
  await clickhouse.command(`CREATE TABLE ${name} AS events COMMENT ${sqlText(filling)}`);
  const sinceMs = (await nowMs(clickhouse)) - overlapMs;
  const old = createEventTables(clickhouse);
  const fresh = createEventTables(clickhouse, name);

  const inEvents = async (request: StoreRequest<EventRecord>, events: readonly StorableEvent[]): Promise<Set<string>> => {
    const there = await old.storedAt(request, events);
    const unproven = events.filter(({ offset, eventId }) => !there.has(placedId(offset, eventId)));
    const known = await old.findIds(unproven.map(({ eventId }) => eventId), request.signal);
    const elsewhen = unproven.filter(({ offset, eventId }) => known.get(eventId)?.some(at => at.topic === request.topic && at.partition === request.partition && at.offset === offset) === true);
    // Today's reading may give them another time than their rows have.
    if (elsewhen.length > 0) for (const id of await old.storedAt(request, elsewhen, 'any')) there.add(id);
    return there;
  };

  return {
    async store(request) {
      const { topic, partition, records, token } = request;
      const readings = await read(topic, partition, records);
      const events = records.flatMap((record, index): StorableEvent[] => {
        const reading = readings[index];
        if (reading?.ok !== true) return [];
        return [{ offset: record.offset, key: reading.key, event: reading.event, eventId: reading.eventId, source: reading.source, contentHash: contentHash(reading.event) }];
      });
      const [wanted, made] = [await inEvents(request, events), await fresh.storedAt(request, events)];
      const missing = events.filter(({ offset, eventId }) => wanted.has(placedId(offset, eventId)) && !made.has(placedId(offset, eventId)));
      if (missing.length === 0) return 0;
      const refused = await fresh.insertEvents(request, missing, remainderToken(token, missing.map(({ eventId }) => eventId)));
      return missing.length - refused.size;
    },

    async finish(ranges, signal) {
      const [before] = await clickhouse.rows(`SELECT count() FROM ${name}`, undefined, signal);
      const within = ranges.filter(({ from, to }) => from < to).map(range => `(topic = ${sqlText(range.topic)} AND partition = ${range.partition} AND offset >= ${range.from} AND offset < ${range.to})`);
      const inRange = within.length === 0 ? 'false' : `(${within.join(' OR ')})`;
      const months = await clickhouse.rows('SELECT DISTINCT toYYYYMM(received_at) AS month FROM events ORDER BY month', undefined, signal);
      for (const [month] of months) {
        note(log, 'replay_copying', { table: name, month });
        await clickhouse.command(
          `INSERT INTO ${name} SELECT * FROM events WHERE toYYYYMM(received_at) = ${Number(month)}
             AND (NOT ${inRange} OR ${hashOfPlace} NOT IN (SELECT ${hashOfPlace} FROM ${name} WHERE ${inRange})) ${insertAlways}`,
          signal,
        );
      }
      await copyLate(clickhouse, 'events', name, sinceMs, signal);
      await clickhouse.command(`ALTER TABLE events MODIFY COMMENT ${sqlText(`${replacedSince}${sinceMs}`)}`, signal);
      const prunedMs = await prune(clickhouse, name, 'events', null, signal);
      for (let round = 0; round < 5 && (await copyLate(clickhouse, 'events', name, sinceMs, signal)) > fewRows; round++);
      await requireSameColumns(clickhouse, name);
      const [after] = await clickhouse.rows(`SELECT count() FROM ${name}`, undefined, signal);
      signal.throwIfAborted();

      await clickhouse.command(`EXCHANGE TABLES events AND ${name}`);
      note(log, 'replay_exchanged', { table: name });
      const exchangedMs = await nowMs(clickhouse);
      await copyLate(clickhouse, name, 'events', sinceMs);
      await prune(clickhouse, 'events', name, prunedMs);
      // Only what such inserts may bring: who removes a row now is not to find it again.
      for (const until = performance.now() + followForMs; performance.now() < until; ) {
        await sleep(Math.min(followEveryMs, followForMs));
        await copyLate(clickhouse, name, 'events', exchangedMs - followForMs);
      }
      await clickhouse.command(`ALTER TABLE events MODIFY COMMENT ''`);
      await clickhouse.command(`ALTER TABLE ${name} MODIFY COMMENT ''`);
      await clickhouse.command(keep ? `RENAME TABLE ${name} TO ${keptName}` : `DROP TABLE ${name}`);
      return Number(after?.[0]) - Number(before?.[0]);
    },

    async discard() {
      if ((await tablesNow(clickhouse)).get(name) === filling) await clickhouse.command(`DROP TABLE IF EXISTS ${name}`);
    },
  };
}

/** Ends what killed runs have left: drops tables that were being filled, and follows those that were replaced. Resolves with the number of the latter. */
export async function finishOthers(clickhouse: ClickHouse, log: Log): Promise<number> {
  const tables = await tablesNow(clickhouse);
  let followed = 0;
  for (const [name, comment] of tables) {
    if (!ownName.test(name)) continue;
    if (comment.startsWith(replacedSince)) {
      note(log, 'replay_resumed', { table: name });
      await copyLate(clickhouse, name, 'events', Number(comment.slice(replacedSince.length)));
      followed++;
    } else if (comment === filling) note(log, 'replay_table_dropped', { table: name });
    // Without either, all but its end was done.
    await clickhouse.command(`DROP TABLE IF EXISTS ${name}`);
  }
  if (tables.get('events') !== '') await clickhouse.command(`ALTER TABLE events MODIFY COMMENT ''`);
  return followed;
}

/** The comments of `events` and the tables of replays, by name. */
async function tablesNow(clickhouse: ClickHouse): Promise<Map<string, string>> {
  const rows = await clickhouse.rows(`SELECT name, comment FROM system.tables WHERE database = currentDatabase() AND startsWith(name, 'events')`);
  return new Map(rows.map(([name, comment]) => [String(name), String(comment)]));
}

/** Copies what was stored since then and `into` does not have; resolves with the number of rows. */
async function copyLate(clickhouse: ClickHouse, from: string, into: string, sinceMs: number, signal?: AbortSignal): Promise<number> {
  const since = `stored_at >= fromUnixTimestamp64Milli(toInt64(${sinceMs}))`;
  const late = `FROM ${from} WHERE ${since} AND (${place}) NOT IN (SELECT ${place} FROM ${into} WHERE event_id IN (SELECT event_id FROM ${from} WHERE ${since}))`;
  const [row] = await clickhouse.rows(`SELECT count() ${late}`, undefined, signal);
  const count = Number(row?.[0]);
  if (count > 0) await clickhouse.command(`INSERT INTO ${into} SELECT * ${late} ${insertAlways}`, signal);
  return count;
}

/** Deletes rows whose place `reference` does not have, of those stored before a time; resolves with the time at which it began. */
async function prune(clickhouse: ClickHouse, table: string, reference: string, beforeMs: number | null, signal?: AbortSignal): Promise<number> {
  const beganMs = await nowMs(clickhouse);
  const [row] = await clickhouse.rows(`SELECT count() FROM ${reference}`, undefined, signal);
  const slices = Math.max(1, Math.ceil(Number(row?.[0]) / placesAtOnce));
  const before = beforeMs === null ? '' : `AND stored_at < fromUnixTimestamp64Milli(toInt64(${beforeMs}))`;
  for (let slice = 0; slice < slices; slice++) {
    const some = `sipHash64(event_id) % ${slices} = ${slice}`;
    const gone = `${some} ${before} AND ${hashOfPlace} NOT IN (SELECT ${hashOfPlace} FROM ${reference} WHERE ${some})`;
    const [found] = await clickhouse.rows(`SELECT count() FROM ${table} WHERE ${gone}`, undefined, signal);
    if (Number(found?.[0]) > 0) await clickhouse.command(`DELETE FROM ${table} WHERE ${gone}`, signal);
  }
  return beganMs;
}

/** ClickHouse's clock, by which rows get their `stored_at`. */
async function nowMs(clickhouse: ClickHouse): Promise<number> {
  const [row] = await clickhouse.rows('SELECT toUnixTimestamp64Milli(now64(3))');
  return Number(row?.[0]);
}

/** A migration in the middle of a run changes `events` alone. */
async function requireSameColumns(clickhouse: ClickHouse, name: string): Promise<void> {
  const rows = await clickhouse.rows(
    `SELECT arraySort(groupArray((position, name, type, default_expression))) FROM system.columns WHERE database = currentDatabase() AND table IN ('events', ${sqlText(name)}) GROUP BY table`,
  );
  const [first, second] = rows.map(row => JSON.stringify(row));
  if (first !== second) throw new MillraceError('clickhouse_refused', `the columns of events have changed while ${name} was filled`, { hint: 'Run the replay again.' });
}
