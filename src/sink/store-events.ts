import { isRefused, violationsText } from '../contract/judged.ts';
import type { ReadRecord, TopicRecord } from '../contract/read-record.ts';
import { MillraceError, asError } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';
import { contentHash, scannedContentHash } from '../event/content.ts';
import type { DeadLetter, RecordHeader } from '../event/dead-letter.ts';
import type { CanonicalEvent } from '../event/canonical.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { createClaims } from './claims.ts';
import { placedId, sliceOf } from './event-tables.ts';
import type { Conflict, EventTables, Outcome, StorableEvent, StoredPlace } from './event-tables.ts';
import type { Store, StoreRequest } from './partitions.ts';
import { insertOnce } from './insert-once.ts';
import { remainderToken } from './plan.ts';
import type { ProfileFeed } from './profile-feed.ts';
import { createTurns } from './turns.ts';
import { letterIds, letterOf, recordsByOffset, refusedUnderOthers } from './record-letters.ts';
import type { FindLetters, Unfit } from './record-letters.ts';

/** A record of a topic of events; its place is the batch's topic and partition, and its offset. */
export type EventRecord = Omit<TopicRecord, 'topic' | 'partition'> & { headers: () => RecordHeader[] };

/**
 * The contract's reader (contract/read-record.ts): never throws for a record, throws where the registry can't be had.
 * Events of direct producers are judged by the contracts of that digest, where they are remembered, else by the current ones.
 */
export type ReadEvents = (topic: string, partition: number, records: readonly EventRecord[], rules?: string) => Promise<ReadRecord[]>;

/** Puts letters on the dead-letter topic; resolves when all are acknowledged, else throws. */
export type BuryDeadLetters = (letters: readonly DeadLetter[]) => Promise<void>;

/** Whether an event is to be dropped because its user was erased; `refresh` comes before a batch. */
export interface Suppressions {
  refresh(signal: AbortSignal): Promise<void>;
  has(event: CanonicalEvent): boolean;
}

/** What records came to. */
export interface StoreCounts {
  stored: number;
  duplicate: number;
  conflict: number;
  deadLettered: number;
  suppressed: number;
  /** Rows that a replay found in place. */
  present: number;
}

/** What a batch came to, and how long its parts took. */
export interface StoreResult extends StoreCounts {
  topic: string;
  partition: number;
  replay: boolean;
  /** By code. */
  deadLetterCodes: Record<string, number>;
  lookUpMs: number;
  insertMs: number;
  /** When the oldest stored event of the batch was received, or null; milliseconds since the epoch. */
  oldestReceivedAtMs: number | null;
}

export interface StoreEventsOptions {
  tables: EventTables;
  read: ReadEvents;
  bury: BuryDeadLetters;
  suppressions: Suppressions;
  onStored: (result: StoreResult) => void;
  /** Milliseconds of a clock that only runs forward. */
  now?: () => number;
  /** Lets other work of the process run. */
  breathe?: () => Promise<void>;
  /** Told of every batch that has rows. */
  profiles: Pick<ProfileFeed, 'add'>;
  /** Leaves one row of each of these events, of which two were found (reconcile.ts). */
  makeSingle: (eventIds: readonly string[], signal: AbortSignal) => Promise<void>;
  /** Left out: contracts never change. */
  findLetters?: FindLetters;
  log: Log;
}

/** Some 50 ms of work. */
const recordsAtOnce = 1_000;

/** Far less than the reconciliation looks back. */
const maxLookUpAgeMs = 3 * 60_000;

interface Refusal {
  code: ErrorCode;
  detail: string;
}

/** What became of events that could be read. */
interface Settled {
  outcomes: Outcome[];
  conflicts: Conflict[];
  refused: Map<StorableEvent, Refusal>;
  stored: StorableEvent[];
  present: number;
  lookUpMs: number;
  insertMs: number;
}

/**
 * Stores planned batches of events: every record ends as a row of `events`, or as a row of `outcomes` that says why not.
 *
 *   1. read      each record by its contract: an event, or the reason why it is a dead letter
 *   2. claim     the ids, within this process: of two batches with the same id, one waits for the other
 *   3. look up   the ids; a replay also reads `events` at its own places, and what has an outcome already
 *   4. sort out  in place already | duplicate or conflict | suppressed | refused by its contract | to be stored
 *   5. insert    what is to be stored, as one block under the plan's token, or where a part of it is in place, of its own;
 *                a replay looks afterwards what was dropped
 *   6. bury      dead letters, on their topic
 *   7. write     conflicts, then outcomes
 *
 * A find in `event_ids` is proof that an event is stored; a miss is not, since `events` is written first. So a replay also
 * gives `event_ids` what it lacks. What is stored or has an outcome is not judged again, though its contract has changed.
 * At a replay's own places a find is no proof either: an insert under a token that was used, after its view had failed, gives
 * `event_ids` the ids of rows that `events` drops. There `events` decides; and wherever a batch finds its own ids, which makes it a replay.
 */
export function createStoreEvents({ tables, read, bury, suppressions, profiles, makeSingle, onStored, findLetters, log, ...options }: StoreEventsOptions): Store<EventRecord> {
  const claims = createClaims();
  const turns = createTurns();
  const breathe = options.breathe ?? (() => new Promise<void>(resolve => setImmediate(resolve)));
  const now = options.now ?? (() => performance.now());

  /** Inserts what is not stored yet and says what became of the rest. The ids must be claimed. */
  const settleEvents = async (request: StoreRequest<EventRecord>, events: readonly StorableEvent[], ids: ReadonlySet<string>): Promise<Settled> => {
    const { topic, partition, token, signal } = request;
    const settled: Settled = { outcomes: [], conflicts: [], refused: new Map(), stored: [], present: 0, lookUpMs: 0, insertMs: 0 };
    const began = now();
    const found = await tables.findIds([...ids], signal);
    const isOwn = ({ offset }: StorableEvent, at: StoredPlace): boolean => at.topic === topic && at.partition === partition && at.offset === offset;
    const hasOwn = (event: StorableEvent): boolean => found.get(event.eventId)?.some(at => isOwn(event, at)) === true;
    // Never stored, and found: it was deleted perhaps, and the group set back to have it again.
    const replay = request.replay || events.some(hasOwn);
    // After the ids, so that a row whose id was found can be seen. A record without a time has another one at every reading.
    const inEvents = replay ? await tables.storedAt(request, events, request.records.some(({ timestampMs }) => timestampMs < 0) ? 'any' : 'own') : new Set<string>();
    const unproven = replay ? events.filter(event => hasOwn(event) && !inEvents.has(placedId(event.offset, event.eventId))) : [];
    if (unproven.length > 0) for (const stored of await tables.storedAt(request, unproven, 'any')) inEvents.add(stored);
    const isOpen = (event: StorableEvent): boolean => !isRefused(event.event.judged) && !inEvents.has(placedId(event.offset, event.eventId)) && found.get(event.eventId)?.some(at => !isOwn(event, at)) !== true;
    const refusedBefore = replay ? await refusedUnderOthers(request, events.filter(isOpen), findLetters) : new Set<StorableEvent>();
    settled.lookUpMs = now() - began;

    const first = new Map<string, StorableEvent>();
    const missing: StorableEvent[] = [];
    const inPlace: StorableEvent[] = [];
    const lackingIds: StorableEvent[] = [];
    const doubles: string[] = [];
    for (const candidate of events) {
      const { offset, event, eventId } = candidate;
      const from = { offset, tenant: event.tenant, id: eventId, writeKeyId: event.writeKeyId, receivedAtMs: event.receivedAtMs };
      const own = hasOwn(candidate);
      const before = first.get(eventId);
      const storedElsewhere = found.get(eventId)?.find(at => !isOwn(candidate, at));
      const elsewhere = storedElsewhere ?? (before && { topic, partition, offset: before.offset, contentHash: before.contentHash });
      if (replay ? inEvents.has(placedId(offset, eventId)) : own) {
        inPlace.push(candidate);
        first.set(eventId, candidate);
        if (!own) lackingIds.push(candidate);
        if (replay && storedElsewhere !== undefined) doubles.push(eventId);
      } else if (elsewhere !== undefined) {
        const differs = elsewhere.contentHash !== '0' && elsewhere.contentHash !== candidate.contentHash;
        settled.outcomes.push({ ...from, outcome: differs ? 'conflict' : 'duplicate', reason: `${elsewhere.topic}/${elsewhere.partition}/${elsewhere.offset}` });
        if (differs) settled.conflicts.push({ offset, event, eventId, stored: elsewhere });
      } else if (suppressions.has(event)) {
        settled.outcomes.push({ ...from, outcome: 'suppressed', reason: 'the user was erased' });
      } else if (isRefused(event.judged)) {
        settled.refused.set(candidate, { code: 'contract_violation', detail: violationsText(event.judged.violations) });
      } else if (refusedBefore.has(candidate)) {
        settled.refused.set(candidate, { code: 'contract_violation', detail: 'refused by a contract that has changed since' });
      } else {
        first.set(eventId, candidate);
        missing.push(candidate);
      }
    }

    if (lackingIds.length > 0) {
      note(log, 'ids_added', { topic, partition, ids: lackingIds.length });
      await tables.insertIds(request, lackingIds, remainderToken(`${token}/ids`, lackingIds.map(({ eventId }) => eventId)));
    }
    if (doubles.length > 0) {
      note(log, 'doubles_removed', { topic, partition, ids: doubles.length });
      await makeSingle(doubles, signal);
    }
    if (missing.length > 0) {
      const insertBegan = now();
      // What is stored elsewhere after this look-up is found by the reconciliation, if it is not much later. A process may have stood still here.
      if (insertBegan - began > maxLookUpAgeMs) throw new MillraceError('clickhouse_unavailable', 'too long since the look-up of a batch; looking again');
      const unfit = await insertOnce(missing, { tables, place: request, token, inPlace, replay, log });
      for (const [row, detail] of unfit) settled.refused.set(row, { code: 'row_refused', detail });
      settled.stored = missing.filter(row => !unfit.has(row));
      settled.insertMs = now() - insertBegan;
    }
    settled.present = inPlace.length;
    if (inPlace.length + settled.stored.length > 0) {
      const { first: from, last, fromMs, toMs } = sliceOf(events);
      // Of a replay some rows may have been there for long; and with another time, where a record has none or it was read otherwise then.
      const otherTimes = unproven.length > 0 || request.records.some(({ timestampMs }) => timestampMs < 0);
      profiles.add({ topic, partition, first: from, last, ...(!replay ? { storedWithinMs: now() - began } : otherTimes ? {} : { times: { fromMs, toMs } }) });
    }
    if (missing.length === settled.stored.length) return settled;
    // A duplicate of an event that was refused may be storable itself: judge the rest once more, as a replay.
    const others = events.filter(event => !settled.refused.has(event));
    const rest = await settleEvents({ ...request, replay: true }, others, idsOf(others));
    return { ...rest, refused: new Map([...settled.refused, ...rest.refused]), stored: [...settled.stored, ...rest.stored], present: rest.present - settled.stored.length };
  };

  return async request => {
    const { topic, partition, records, token, replay, signal } = request;
    const firstOffset = records[0]?.offset ?? 0n;
    const lastOffset = records.at(-1)?.offset ?? 0n;
    const settledBefore = replay ? await tables.outcomesAt(request, firstOffset, lastOffset) : new Set<string>();
    await suppressions.refresh(signal);

    const outcomes: Outcome[] = [];
    const letters: DeadLetter[] = [];
    const codes: Record<string, number> = {};
    const buryRecord = (record: EventRecord, reading: Unfit, event: CanonicalEvent | null = null): void => {
      const place = { topic, partition, offset: record.offset };
      const letter = letterOf(place, record, reading, event);
      codes[reading.code] = (codes[reading.code] ?? 0) + 1;
      outcomes.push({ offset: record.offset, tenant: reading.tenant, id: letter.id, outcome: 'dead_lettered', reason: reading.code, writeKeyId: letter.writeKeyId, receivedAtMs: event?.receivedAtMs ?? Math.max(0, record.timestampMs) });
      letters.push(letter);
    };

    const events: StorableEvent[] = [];
    const take = (record: EventRecord, reading: ReadRecord): void => {
      // The id says that it was this very record: a topic made again has other records at the same offsets.
      if (settledBefore.size > 0 && settledBefore.has(placedId(record.offset, letterIds({ topic, partition, offset: record.offset }, record).id))) return;
      if (!reading.ok) {
        buryRecord(record, reading);
        return;
      }
      const { event, eventId, source, isJudged, key, plain } = reading;
      if (settledBefore.has(placedId(record.offset, eventId))) return;
      events.push({ offset: record.offset, key, event, eventId, source, isJudged: isJudged === true, contentHash: plain === undefined ? contentHash(event) : scannedContentHash(event, plain), plain });
    };
    // One batch at a time: read beside each other they would all be read at the same moment, and all be inserted at the same moment.
    await turns(async () => {
      for (let at = 0; at < records.length; at += recordsAtOnce) {
        signal.throwIfAborted();
        // Heartbeats, and other partitions, must not wait for all of a large batch.
        if (at > 0) await breathe();
        const some = records.slice(at, at + recordsAtOnce);
        const readings = await read(topic, partition, some, request.rules);
        some.forEach((record, index) => {
          const reading = readings[index];
          if (reading === undefined) return;
          try {
            take(record, reading);
          } catch (thrown) {
            // Nothing that one record holds may keep the others waiting.
            note(log, 'reading_failed', { topic, partition, offset: String(record.offset), err: asError(thrown) });
            const { tenant, messageId } = reading.ok ? reading.event : reading;
            buryRecord(record, { code: 'unreadable', detail: `a fault of millrace: ${asError(thrown).message}`, tenant, messageId });
          }
        });
      }
    });

    const ids = idsOf(events);
    const release = await claims.take(ids, signal);
    let settled: Settled;
    try {
      settled = await settleEvents(request, events, ids);
    } finally {
      release();
    }
    outcomes.push(...settled.outcomes);
    const recordsAt = settled.refused.size === 0 ? new Map<bigint, EventRecord>() : recordsByOffset(records);
    for (const [refused, { code, detail }] of settled.refused) {
      const record = recordsAt.get(refused.offset);
      if (record !== undefined) buryRecord(record, { code, detail, tenant: refused.event.tenant, messageId: refused.event.messageId }, refused.event);
    }

    if (letters.length > 0) await bury(letters);
    if (settled.conflicts.length > 0) {
      // Also of a batch that is no replay: rows and outcomes may have been deleted, and the group set back, and conflicts kept.
      const listed = await tables.conflictsAt(request, firstOffset, lastOffset);
      const fresh = settled.conflicts.filter(({ offset, eventId }) => !listed.has(placedId(offset, eventId)));
      if (fresh.length > 0) await tables.insertConflicts(request, fresh, remainderToken(`${token}/conflicts`, fresh.map(({ offset }) => String(offset))));
    }
    // Meanwhile a reconciliation may have accounted for one, and taken its row away.
    const accounted = replay && outcomes.length > 0 ? await tables.outcomesAt(request, firstOffset, lastOffset) : new Set<string>();
    const open = outcomes.filter(({ offset, id }) => !accounted.has(placedId(offset, id)));
    if (open.length > 0) await tables.insertOutcomes(request, open, remainderToken(`${token}/outcomes`, open.map(({ offset }) => String(offset))));

    const count = (outcome: Outcome['outcome']): number => outcomes.reduce((sum, each) => sum + (each.outcome === outcome ? 1 : 0), 0);
    onStored({
      topic,
      partition,
      stored: settled.stored.length,
      duplicate: count('duplicate'),
      conflict: count('conflict'),
      deadLettered: letters.length,
      suppressed: count('suppressed'),
      present: settled.present,
      replay,
      deadLetterCodes: codes,
      lookUpMs: settled.lookUpMs,
      insertMs: settled.insertMs,
      oldestReceivedAtMs: settled.stored.reduce<number | null>((oldest, { event }) => Math.min(oldest ?? Infinity, event.receivedAtMs), null),
    });
  };
}

function idsOf(events: readonly StorableEvent[]): Set<string> {
  return new Set(events.map(({ eventId }) => eventId));
}
