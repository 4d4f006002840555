import type { ReadRecord, TopicRecord } from '../contract/read-record.ts';
import type { DeadLetter } from '../event/dead-letter.ts';
import { deadLetterId } from '../event/dead-letter.ts';
import type { CanonicalEvent } from '../event/canonical.ts';
import { eventColumns, eventRow } from '../event/row.ts';
import { clickHouseTime, storedTimeMs } from '../event/time.ts';
import type { Log } from '../telemetry.ts';
import { createClaims } from './claims.ts';
import type { ClickHouse } from './clickhouse.ts';
import type { Store, StoreRequest } from './partitions.ts';
import { remainderToken } from './plan.ts';

/** A record of the events topic; its place is the batch's topic and partition, and its offset. */
export type EventRecord = Omit<TopicRecord, 'topic' | 'partition'> & { key: Buffer | null };

/** The contract's reader (contract/read-record.ts): never throws for a record, throws where the registry can't be had. */
export type ReadEvents = (topic: string, partition: number, records: readonly EventRecord[]) => Promise<ReadRecord[]>;

/** Puts letters on the dead-letter topic; resolves when all are acknowledged, else throws. */
export type BuryDeadLetters = (letters: readonly DeadLetter[]) => Promise<void>;

export interface StoreCounts {
  stored: number;
  duplicate: number;
  deadLettered: number;
  /** Rows that a replay found in place. */
  present: number;
}

export interface StoreEventsOptions {
  clickhouse: ClickHouse;
  read: ReadEvents;
  bury: BuryDeadLetters;
  onStored: (counts: StoreCounts) => void;
  log: Log;
}

interface Candidate {
  record: EventRecord;
  event: CanonicalEvent;
  eventId: string;
  source: 'http' | 'kafka';
}

interface Outcome {
  offset: bigint;
  tenant: string;
  /** Of a dead letter, its own id. */
  id: string;
  outcome: 'duplicate' | 'dead_lettered';
  reason: string;
}

interface StoredPlace {
  topic: string;
  partition: number;
  offset: bigint;
}

const outcomeColumns = ['topic', 'partition', 'offset', 'tenant', 'event_id', 'outcome', 'reason'] as const;
const idColumns = ['event_id', 'topic', 'partition', 'offset', 'stored_at'] as const;

/**
 * Stores planned batches of events: every record ends as a row of `events`, a duplicate, or a dead letter, and each that is
 * no row of `events` as a row of `outcomes`.
 *
 * A find in `event_ids` is proof that an event is stored; a miss is not, since `events` is written first. So a replay also
 * reads `events` at its own places, gives `event_ids` what it lacks, and after the insert looks whether all rows are there:
 * ClickHouse drops every row under a token that it has seen, also rows that it has not.
 */
export function createStoreEvents({ clickhouse, read, bury, onStored, log }: StoreEventsOptions): Store<EventRecord> {
  const claims = createClaims();

  /** Which ids `events` has at the places of these candidates. Their times let ClickHouse read a slice of the table only. */
  const idsInEvents = async ({ topic, partition, signal }: StoreRequest<EventRecord>, candidates: readonly Candidate[]): Promise<Set<string>> => {
    if (candidates.length === 0) return new Set();
    const times = candidates.map(({ event }) => storedTimeMs(event.timestampMs));
    const rows = await clickhouse.rows(
      `SELECT offset, event_id FROM events
       WHERE timestamp BETWEEN fromUnixTimestamp64Milli({from: Int64}) AND fromUnixTimestamp64Milli({to: Int64})
         AND topic = {topic: String} AND partition = {partition: UInt32} AND offset BETWEEN {first: UInt64} AND {last: UInt64}`,
      {
        from: String(times.reduce((a, b) => Math.min(a, b))),
        to: String(times.reduce((a, b) => Math.max(a, b))),
        topic,
        partition,
        first: String(candidates[0]?.record.offset),
        last: String(candidates.at(-1)?.record.offset),
      },
      signal,
    );
    return placedIds(rows);
  };

  const settledOutcomes = async ({ topic, partition, signal }: StoreRequest<EventRecord>, first: bigint, last: bigint): Promise<Set<string>> => {
    const rows = await clickhouse.rows(
      `SELECT offset, event_id FROM outcomes WHERE topic = {topic: String} AND partition = {partition: UInt32} AND offset BETWEEN {first: UInt64} AND {last: UInt64}`,
      { topic, partition, first: String(first), last: String(last) },
      signal,
    );
    return placedIds(rows);
  };

  /** Where each of these ids is stored; ids are UUIDs of our own making, so they may stand in the text. */
  const findIds = async (ids: readonly string[], signal: AbortSignal): Promise<Map<string, StoredPlace[]>> => {
    const found = new Map<string, StoredPlace[]>();
    if (ids.length === 0) return found;
    const rows = await clickhouse.rows(`SELECT event_id, topic, partition, offset FROM event_ids WHERE event_id IN (${ids.map(id => `'${id}'`).join()})`, undefined, signal);
    for (const [id, topic, partition, offset] of rows) {
      const places = found.get(String(id)) ?? [];
      places.push({ topic: String(topic), partition: Number(partition), offset: BigInt(String(offset)) });
      found.set(String(id), places);
    }
    return found;
  };

  const insertEvents = async (request: StoreRequest<EventRecord>, candidates: readonly Candidate[], token: string): Promise<void> => {
    const { topic, partition, signal } = request;
    const lines = candidates.map(({ record, event, eventId, source }) => eventRow(event, { topic, partition, offset: record.offset, eventId, source, key: record.key }));
    await clickhouse.insert({ table: 'events', columns: eventColumns, lines, token }, signal);
  };

  /** Inserts what is not stored yet; says which candidates are duplicates. Their ids must be claimed. */
  const storeCandidates = async (request: StoreRequest<EventRecord>, candidates: readonly Candidate[]): Promise<{ duplicates: Outcome[]; rows: number; present: number }> => {
    const { topic, partition, token, replay, signal } = request;
    const inEvents = replay ? await idsInEvents(request, candidates) : new Set<string>();
    const found = await findIds([...new Set(candidates.map(({ eventId }) => eventId))], signal);
    const seen = new Set<string>();
    const missing: Candidate[] = [];
    const duplicates: Outcome[] = [];
    const lackingIds: Candidate[] = [];
    let present = 0;
    for (const candidate of candidates) {
      const { eventId, record, event } = candidate;
      const places = found.get(eventId);
      const own = places?.some(at => at.topic === topic && at.partition === partition && at.offset === record.offset) === true;
      if (own || inEvents.has(placedId(record.offset, eventId))) {
        present++;
        seen.add(eventId);
        if (!own) lackingIds.push(candidate);
      } else if (places !== undefined || seen.has(eventId)) {
        const at = places?.[0];
        duplicates.push({ offset: record.offset, tenant: event.tenant, id: eventId, outcome: 'duplicate', reason: at === undefined ? 'in the same batch' : `${at.topic}/${at.partition}/${at.offset}` });
      } else {
        seen.add(eventId);
        missing.push(candidate);
      }
    }

    if (lackingIds.length > 0) {
      log.info({ topic, partition, ids: lackingIds.length }, 'events were stored without their ids; adding those');
      await clickhouse.insert({
        table: 'event_ids',
        columns: idColumns,
        lines: lackingIds.map(({ eventId, record }) => `["${eventId}",${JSON.stringify(topic)},${partition},${record.offset},"${clickHouseTime(Date.now())}"]`),
        token: remainderToken(`${token}/ids`, lackingIds.map(({ eventId }) => eventId)),
      }, signal);
    }

    if (missing.length > 0) {
      await insertEvents(request, missing, token);
      if (replay) {
        const after = await idsInEvents(request, missing);
        const still = missing.filter(({ record, eventId }) => !after.has(placedId(record.offset, eventId)));
        if (still.length > 0) {
          log.info({ topic, partition, rows: still.length }, 'rows were dropped under a token that was used; inserting them under their own');
          await insertEvents(request, still, remainderToken(token, still.map(({ eventId }) => eventId)));
        }
      }
    }
    return { duplicates, rows: missing.length, present };
  };

  return async request => {
    const { topic, partition, records, token, replay, signal } = request;
    const first = records[0]?.offset ?? 0n;
    const last = records.at(-1)?.offset ?? 0n;

    // What an earlier try settled is not judged again.
    const outcomesBefore = replay ? await settledOutcomes(request, first, last) : new Set<string>();

    const readings = await read(topic, partition, records);
    const candidates: Candidate[] = [];
    const outcomes: Outcome[] = [];
    const letters: DeadLetter[] = [];
    records.forEach((record, index) => {
      const reading = readings[index];
      if (reading === undefined) return;
      const place = { topic, partition, offset: record.offset };
      const letterId = deadLetterId(place, record.timestampMs);
      // The id says that it was this very record: a topic made again has other records at the same offsets.
      if (outcomesBefore.has(placedId(record.offset, letterId)) || (reading.ok && outcomesBefore.has(placedId(record.offset, reading.eventId)))) return;
      if (reading.ok) {
        candidates.push({ record, event: reading.event, eventId: reading.eventId, source: reading.source });
        return;
      }
      letters.push({
        id: letterId,
        tenant: reading.tenant,
        atMs: Math.max(0, record.timestampMs),
        code: reading.code,
        detail: reading.detail,
        payload: record.value ?? Buffer.alloc(0),
        source: record.header('dialect') === null ? 'kafka' : 'http',
        writeKeyId: null,
        messageId: reading.messageId,
        place,
      });
      outcomes.push({ offset: record.offset, tenant: reading.tenant, id: letterId, outcome: 'dead_lettered', reason: reading.code });
    });

    const release = await claims.take(new Set(candidates.map(({ eventId }) => eventId)), signal);
    let stored: { duplicates: Outcome[]; rows: number; present: number };
    try {
      stored = await storeCandidates(request, candidates);
    } finally {
      release();
    }
    outcomes.push(...stored.duplicates);

    if (letters.length > 0) await bury(letters);
    if (outcomes.length > 0) {
      await clickhouse.insert({
        table: 'outcomes',
        columns: outcomeColumns,
        lines: outcomes.map(({ offset, tenant, id, outcome, reason }) => `${JSON.stringify([topic, partition]).slice(0, -1)},${offset},${JSON.stringify([tenant, id, outcome, reason]).slice(1)}`),
        token: remainderToken(`${token}/outcomes`, outcomes.map(({ offset }) => String(offset))),
      }, signal);
    }
    onStored({ stored: stored.rows, duplicate: stored.duplicates.length, deadLettered: letters.length, present: stored.present });
  };
}

/** An id at an offset of the batch's partition. A topic that was made again has several ids at one offset. */
function placedId(offset: unknown, id: unknown): string {
  return `${String(offset)}/${String(id)}`;
}

function placedIds(rows: readonly unknown[][]): Set<string> {
  return new Set(rows.map(([offset, id]) => placedId(offset, id)));
}
