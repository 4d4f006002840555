import type { CanonicalEvent } from '../event/canonical.ts';
import type { PlainTexts } from '../event/content.ts';
import { eventColumns, eventRow, rawText } from '../event/row.ts';
import { clickHouseTime, storedTimeMs } from '../event/time.ts';
import type { ClickHouse } from './clickhouse.ts';
import { insertMended } from './insert-mended.ts';
import { uuidsIn } from './sql-lists.ts';

/** An event that is to be stored, and where its record stands. */
export interface StorableEvent {
  offset: bigint;
  key: Buffer | null;
  event: CanonicalEvent;
  eventId: string;
  source: 'http' | 'kafka';
  /** By the door: its contract does not keep it from being stored any more. */
  isJudged?: boolean;
  /** See event/content.ts. */
  contentHash: string;
  plain?: PlainTexts | undefined;
}

/** What became of a record that is no row of `events`. */
export interface Outcome {
  offset: bigint;
  tenant: string;
  /** The event's, or of a dead letter its own. */
  id: string;
  outcome: 'duplicate' | 'conflict' | 'dead_lettered' | 'suppressed';
  reason: string;
  /** Null where no key is known. */
  writeKeyId: string | null;
  /** Of a record that can't be read its own time. */
  receivedAtMs: number;
}

export interface Conflict {
  offset: bigint;
  event: CanonicalEvent;
  eventId: string;
  stored: StoredPlace;
}

export interface StoredPlace {
  topic: string;
  partition: number;
  offset: bigint;
  /** `0` where it is not known. */
  contentHash: string;
}

/** The partition that a batch is of, and what ends its work. */
export interface BatchPlace {
  topic: string;
  partition: number;
  signal: AbortSignal;
}

/**
 * What storing events needs of ClickHouse's tables. An id at an offset is written `offset/id` (see {@link placedId}): a topic that
 * was made again has several ids at one offset. Everything throws `clickhouse_unavailable` or `clickhouse_refused`.
 *
 * `insert…` add one block under a token; ClickHouse silently drops every block under a token that it has seen, whatever its rows.
 * `events` feeds `event_ids`, and is written first: a crash in between leaves a row without its id.
 */
export interface EventTables {
  /**
   * Which of these events are in `events` at their own places. `times` is `any` for one that may stand there with another time,
   * from a topic that was made again; that reads whole columns.
   */
  storedAt(place: BatchPlace, events: readonly StorableEvent[], times?: 'own' | 'any'): Promise<Set<string>>;
  /** Which ids have an outcome at these offsets. */
  outcomesAt(place: BatchPlace, first: bigint, last: bigint): Promise<Set<string>>;
  conflictsAt(place: BatchPlace, first: bigint, last: bigint): Promise<Set<string>>;
  /** Where each of these ids is stored, as `event_ids` knows. */
  findIds(ids: readonly string[], signal: AbortSignal): Promise<Map<string, StoredPlace[]>>;
  /** Answers the events that ClickHouse can't hold in any form, with its words; the others are stored. */
  insertEvents(place: BatchPlace, events: readonly StorableEvent[], token: string): Promise<Map<StorableEvent, string>>;
  insertIds(place: BatchPlace, events: readonly StorableEvent[], token: string): Promise<void>;
  insertOutcomes(place: BatchPlace, outcomes: readonly Outcome[], token: string): Promise<void>;
  insertConflicts(place: BatchPlace, conflicts: readonly Conflict[], token: string): Promise<void>;
}

const idColumns = ['event_id', 'topic', 'partition', 'offset', 'stored_at', 'content_hash'] as const;
const outcomeColumns = ['topic', 'partition', 'offset', 'tenant', 'event_id', 'outcome', 'reason', 'write_key_id', 'received_at'] as const;
const conflictColumns = ['tenant', 'event_id', 'message_id', 'stored_topic', 'stored_partition', 'stored_offset', 'topic', 'partition', 'offset', 'raw'] as const;

export function placedId(offset: unknown, id: unknown): string {
  return `${String(offset)}/${String(id)}`;
}

/** The offsets and times of a batch's events, of which there is at least one: what lets ClickHouse read a slice of the table only. */
export function sliceOf(events: readonly StorableEvent[]): { first: bigint; last: bigint; fromMs: number; toMs: number } {
  const times = events.map(({ event }) => storedTimeMs(event.timestampMs));
  return {
    first: events[0]?.offset ?? 0n,
    last: events.at(-1)?.offset ?? 0n,
    fromMs: times.reduce((a, b) => Math.min(a, b)),
    toMs: times.reduce((a, b) => Math.max(a, b)),
  };
}

/** `eventsTable` stands for `events`: another table of the same columns that takes the rows, and is asked for them. */
export function createEventTables(clickhouse: ClickHouse, eventsTable = 'events'): EventTables {
  const placedIds = (rows: readonly unknown[][]): Set<string> => new Set(rows.map(([offset, id]) => placedId(offset, id)));
  const idsAt = async (table: 'outcomes' | 'conflicts', { topic, partition, signal }: BatchPlace, first: bigint, last: bigint): Promise<Set<string>> =>
    placedIds(await clickhouse.rows(
      `SELECT offset, event_id FROM ${table} WHERE topic = {topic: String} AND partition = {partition: UInt32} AND offset BETWEEN {first: UInt64} AND {last: UInt64}`,
      { topic, partition, first: String(first), last: String(last) },
      signal,
    ));

  return {
    async storedAt({ topic, partition, signal }, events, within = 'own') {
      if (events.length === 0) return new Set();
      const { first, last, fromMs, toMs } = sliceOf(events);
      return placedIds(await clickhouse.rows(
        `SELECT offset, event_id FROM ${eventsTable}
         WHERE ${within === 'own' ? 'timestamp BETWEEN fromUnixTimestamp64Milli({from: Int64}) AND fromUnixTimestamp64Milli({to: Int64}) AND' : ''}
           topic = {topic: String} AND partition = {partition: UInt32} AND offset BETWEEN {first: UInt64} AND {last: UInt64}`,
        {
          from: String(fromMs),
          to: String(toMs),
          topic,
          partition,
          first: String(first),
          last: String(last),
        },
        signal,
      ));
    },
    outcomesAt: (place, first, last) => idsAt('outcomes', place, first, last),
    conflictsAt: (place, first, last) => idsAt('conflicts', place, first, last),
    async findIds(ids, signal) {
      const found = new Map<string, StoredPlace[]>();
      if (ids.length === 0) return found;
      const rows = await clickhouse.rows(`SELECT event_id, topic, partition, offset, content_hash FROM event_ids WHERE event_id IN ${uuidsIn(ids)}`, undefined, signal);
      for (const [id, topic, partition, offset, contentHash] of rows) {
        const places = found.get(String(id)) ?? [];
        places.push({ topic: String(topic), partition: Number(partition), offset: BigInt(String(offset)), contentHash: String(contentHash) });
        found.set(String(id), places);
      }
      return found;
    },
    insertEvents: ({ topic, partition, signal }, events, token) =>
      insertMended(clickhouse, {
        table: eventsTable,
        columns: eventColumns,
        rows: events,
        line: ({ event, offset, key, eventId, source, contentHash, plain }, bare) => eventRow(event, { topic, partition, offset, key, eventId, source, contentHash, plain }, bare),
        token,
        signal,
      }),
    insertIds: ({ topic, partition, signal }, events, token) =>
      clickhouse.insert({
        table: 'event_ids',
        columns: idColumns,
        lines: events.map(({ eventId, offset, contentHash }) => `["${eventId}",${JSON.stringify(topic)},${partition},${offset},"${clickHouseTime(Date.now())}",${contentHash}]`),
        token,
      }, signal),
    insertOutcomes: ({ topic, partition, signal }, outcomes, token) =>
      clickhouse.insert({
        table: 'outcomes',
        columns: outcomeColumns,
        lines: outcomes.map(({ offset, tenant, id, outcome, reason, writeKeyId, receivedAtMs }) =>
          `${open([topic, partition])},${offset},${JSON.stringify([tenant, id, outcome, reason, writeKeyId ?? '', clickHouseTime(receivedAtMs)]).slice(1)}`),
        token,
      }, signal),
    insertConflicts: ({ topic, partition, signal }, conflicts, token) =>
      clickhouse.insert({
        table: 'conflicts',
        columns: conflictColumns,
        lines: conflicts.map(({ offset, event, eventId, stored }) =>
          `${open([event.tenant, eventId, event.messageId, stored.topic, stored.partition])},${stored.offset},${inner([topic, partition])},${offset},${JSON.stringify([rawText(event)]).slice(1)}`),
        token,
      }, signal),
  };
}

/** A JSON array's text without its closing bracket, or without both. 64-bit integers stand between such parts, since JSON.stringify has none. */
function open(cells: readonly unknown[]): string {
  return JSON.stringify(cells).slice(0, -1);
}

function inner(cells: readonly unknown[]): string {
  return JSON.stringify(cells).slice(1, -1);
}
