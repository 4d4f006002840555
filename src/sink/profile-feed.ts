import { asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { insertAlways, sqlText } from './clickhouse.ts';
import type { ClickHouse } from './clickhouse.ts';
import { createProfileLinks, linksOf } from './profile-links.ts';
import { readCommit } from './plan.ts';

/*
 * Profiles follow `events` by a moment: what feeds them costs ClickHouse as much as a small insert itself, however few its rows.
 *
 *   a batch is stored          its offsets wait here
 *   its partition commits      the commit says from which offset on rows may not be in profiles yet (plan.ts, `unfed`)
 *   a second has passed        one statement feeds what waits, of all partitions; then the links of these rows are settled
 *   the partition commits      the commit says so no more
 *   a partition is taken over  what its commit says waits here
 *
 * Feeding may be repeated: profiles are states that repeats cannot change (docs/adr/0003-profiles.md).
 */

/** Offsets of a partition, both among them; and what is known of their rows, so that ClickHouse need not look for them everywhere. */
export interface OffsetRange {
  topic: string;
  partition: number;
  first: bigint;
  last: bigint;
  /** The least and the greatest `timestamp`, milliseconds since the epoch. */
  times?: { fromMs: number; toMs: number } | undefined;
  /** Stored no longer ago; milliseconds. Goes by how long ago ClickHouse was asked to, so no clock needs to agree with another's. */
  storedWithinMs?: number | undefined;
}

/** What a commit says of profiles: from which offset on rows may not be in them, and since when these may have been stored, by the sink's clock (null: nobody knows). */
export interface Unfed {
  from: bigint;
  sinceMs: number | null;
}

export interface ProfileFeed {
  /** Rows of `events` that stand there are to be in profiles soon. */
  add: (range: OffsetRange) => void;
  /** The commits that a session of the group begins with, by partition: what profiles lack by them waits from now on. Where somebody else has set the offset, what was stored last below it. */
  takeOver: (topic: string, commits: ReadonlyMap<number, { offset: bigint | null; metadata: string }>) => void;
  /** What of the partition may not be in profiles yet; null: all that was added is. */
  unfed: (topic: string, partition: number) => Unfed | null;
  /** Feeds what waits. Throws ClickHouse's faults; what could not be fed waits on. */
  flush: () => Promise<void>;
  /** Flushes once more, for some seconds; what cannot be fed is left to who takes the partitions over. */
  close: () => Promise<void>;
}

export interface ProfileFeedOptions {
  /** Puts the rows at these offsets into profiles. */
  feed: (ranges: readonly OffsetRange[], signal: AbortSignal) => Promise<void>;
  /** Runs the work some time later; answers how to call that off. Default: a timer of a second. */
  later?: (work: () => void) => () => void;
  /** Milliseconds of a clock that only runs forward, and of the time of day. */
  now?: () => number;
  clock?: () => number;
  log: Log;
}

/** Milliseconds from a stored batch to its profiles. */
const feedAfterMs = 1_000;
/** How long closing waits for ClickHouse. */
const closeGraceMs = 5_000;
/** What one statement takes on. */
const offsetsAtOnce = 50_000n;
const rangesAtOnce = 500;
/** More than a sink leaves unfed of a partition when it is killed. */
const recentOffsets = 100_000n;
/** Longer than a request is on its way. */
const onTheWayMs = 5 * 60_000;
/** By how much the clock of the sink that was killed may have been wrong. */
const clockMs = 24 * 60 * 60_000;

/** A moment by both clocks: the one that only runs forward stands still while a machine sleeps. */
interface Moment {
  now: number;
  clock: number;
}

/** A range that waits. `stored`: when its rows were stored at the earliest; null: nobody knows. */
interface Waiting extends Omit<OffsetRange, 'storedWithinMs'> {
  stored: Moment | null;
}

export function createProfileFeed({ feed, later = afterASecond, now = () => performance.now(), clock = Date.now, log }: ProfileFeedOptions): ProfileFeed {
  const stop = new AbortController();
  const takenOver = new Map<string, string>();
  let waiting: Waiting[] = [];
  let underWay: Waiting[] = [];
  let flushing: Promise<void> = Promise.resolve();
  let callOff: (() => void) | null = null;
  let closing = false;
  let failures = 0;

  const wait = (range: Waiting): void => {
    const at = waiting.findIndex(other => touches(other, range));
    const before = waiting[at];
    // Last, also where it is merged: what failed is not to come before the others again.
    if (before !== undefined) waiting.splice(at, 1);
    waiting.push(before === undefined ? range : merged(before, range));
    schedule();
  };
  const add = ({ storedWithinMs, ...range }: OffsetRange): void => wait({ ...range, stored: storedWithinMs === undefined ? null : { now: now() - storedWithinMs, clock: clock() - storedWithinMs } });
  const ageOf = (stored: Moment): number => Math.max(now() - stored.now, clock() - stored.clock);

  /** After a failure one by one, since one may be to blame. */
  const statementOf = (pieces: readonly Waiting[]): Waiting[] => (failures > 0 ? pieces.slice(0, 1) : atOnce(pieces));
  const flushNow = async (): Promise<void> => {
    underWay = waiting.flatMap(cut);
    waiting = [];
    try {
      while (underWay.length > 0) {
        stop.signal.throwIfAborted();
        const some = statementOf(underWay);
        await feed(some.map(({ stored, ...range }) => ({ ...range, ...(stored !== null && { storedWithinMs: ageOf(stored) + onTheWayMs }) })), stop.signal);
        underWay = underWay.slice(some.length);
      }
    } catch (thrown) {
      // What failed comes last the next time: it may be to blame, and others are not to wait for it.
      const failing = statementOf(underWay);
      const left = [...underWay.slice(failing.length), ...failing];
      underWay = [];
      for (const range of left) wait(range);
      throw thrown;
    }
  };
  const flush = (): Promise<void> => {
    const result = flushing.then(flushNow);
    flushing = result.catch(() => undefined);
    return result;
  };
  const failed = (thrown: unknown): void => {
    if (failures++ === 0) note(log, 'profiles_wait', { error: asError(thrown).message });
  };

  const schedule = (): void => {
    if (callOff !== null || closing) return;
    callOff = later(() => {
      void flush().then(() => (failures = 0), failed).then(() => {
        callOff = null;
        if (waiting.length > 0) schedule();
      });
    });
  };

  return {
    add,
    takeOver(topic, commits) {
      for (const key of takenOver.keys()) if (key.startsWith(`${topic}/`) && !commits.has(Number(key.slice(topic.length + 1)))) takenOver.delete(key);
      for (const [partition, { offset, metadata }] of commits) {
        if (offset === null) continue;
        // This process has it in hand already.
        const key = `${topic}/${partition}`;
        const said = `${offset} ${metadata}`;
        if (takenOver.get(key) === said) continue;
        takenOver.set(key, said);
        const commit = readCommit(offset, metadata);
        const unfed = commit === null ? { from: offset - (offset < recentOffsets ? offset : recentOffsets), sinceMs: null } : commit.unfed;
        // The plan's rows too: its records may be gone when they are asked for again.
        const first = unfed?.from ?? commit?.plan?.first ?? offset;
        const last = commit?.plan?.last ?? offset - 1n;
        const sinceMs = unfed?.sinceMs ?? null;
        const ageMs = sinceMs === null ? null : clock() - sinceMs + clockMs;
        if (first <= last) add({ topic, partition, first, last, ...(ageMs !== null && { storedWithinMs: ageMs }) });
      }
    },
    unfed(topic, partition) {
      const own = [...underWay, ...waiting].filter(range => range.topic === topic && range.partition === partition);
      const [first] = own;
      if (first === undefined) return null;
      const stored = own.reduce<Moment | null>((least, range) => earlier(least, range.stored), first.stored);
      return { from: own.reduce((least, range) => (range.first < least ? range.first : least), first.first), sinceMs: stored === null ? null : Math.floor(clock() - ageOf(stored)) };
    },
    flush,
    async close() {
      closing = true;
      callOff?.();
      const patience = setTimeout(() => stop.abort(new Error('closing')), closeGraceMs);
      await flush().catch(failed);
      clearTimeout(patience);
    },
  };
}

function afterASecond(work: () => void): () => void {
  const timer = setTimeout(work, feedAfterMs);
  return () => clearTimeout(timer);
}

/** Null is "nobody knows". */
function earlier(a: Moment | null, b: Moment | null): Moment | null {
  return a === null || b === null ? null : { now: Math.min(a.now, b.now), clock: Math.min(a.clock, b.clock) };
}

function touches(a: Waiting, b: Waiting): boolean {
  return a.topic === b.topic && a.partition === b.partition && a.first <= b.last + 1n && b.first <= a.last + 1n && (a.times === undefined) === (b.times === undefined) && (a.stored === null) === (b.stored === null);
}

function merged(a: Waiting, b: Waiting): Waiting {
  return {
    ...a,
    first: a.first < b.first ? a.first : b.first,
    last: a.last > b.last ? a.last : b.last,
    stored: earlier(a.stored, b.stored),
    ...(a.times !== undefined && b.times !== undefined && { times: { fromMs: Math.min(a.times.fromMs, b.times.fromMs), toMs: Math.max(a.times.toMs, b.times.toMs) } }),
  };
}

function cut({ first, last, ...rest }: Waiting): Waiting[] {
  const pieces: Waiting[] = [];
  for (let from = first; from <= last; from += offsetsAtOnce) pieces.push({ ...rest, first: from, last: from + offsetsAtOnce - 1n < last ? from + offsetsAtOnce - 1n : last });
  return pieces;
}

/** The first pieces that one statement takes on; never none. */
function atOnce(pieces: readonly Waiting[]): Waiting[] {
  let offsets = 0n;
  const count = pieces.findIndex(({ first, last }, index) => index === rangesAtOnce || ((offsets += last - first + 1n) > offsetsAtOnce && index > 0));
  return pieces.slice(0, count === -1 ? pieces.length : count);
}

/** `events` as `profile_feed` takes them. Rows older than `trait_values` give what the JSON column kept: no nulls. */
export const feedStatement = `
  INSERT INTO profile_feed (tenant, event_id, type, user_id, anonymous_id, previous_id, email, group_id, timestamp, received_at, offset, trait_values)
  SELECT tenant, event_id, type, user_id, anonymous_id, previous_id, email, group_id, timestamp, received_at, offset,
    empty(trait_values) AND type IN ('identify', 'group') ? CAST(JSONExtractKeysAndValuesRaw(toJSONString(traits)), 'Map(String, String)') : trait_values
  FROM events`;

function placeCondition({ topic, partition, first, last, times, storedWithinMs }: OffsetRange): string {
  const conditions = [`topic = ${sqlText(topic)}`, `partition = ${partition}`, `offset BETWEEN ${first} AND ${last}`];
  if (times !== undefined) conditions.push(`timestamp BETWEEN fromUnixTimestamp64Milli(toInt64(${Math.floor(times.fromMs)})) AND fromUnixTimestamp64Milli(toInt64(${Math.ceil(times.toMs)}))`);
  if (storedWithinMs !== undefined) conditions.push(`stored_at >= now64(3) - toIntervalMillisecond(${Math.ceil(storedWithinMs)})`);
  return `(${conditions.join(' AND ')})`;
}

/** What a ClickHouse does of feeding: rows, then what their links lead to. */
export function feedFrom(clickhouse: ClickHouse): ProfileFeedOptions['feed'] {
  const links = createProfileLinks(clickhouse);
  return async (ranges, signal) => {
    const places = ranges.map(placeCondition).join(' OR ');
    // Before the rows are fed: of a row that comes in between nothing may be settled yet.
    const rows = await clickhouse.rows(
      `SELECT tenant, type, user_id, anonymous_id, previous_id, email, toUnixTimestamp64Milli(timestamp) FROM events
       WHERE (${places}) AND user_id != '' AND (email != '' OR (type = 'identify' AND anonymous_id != '') OR (type = 'alias' AND previous_id != ''))`,
      undefined,
      signal,
    );
    await clickhouse.command(`${feedStatement} WHERE (${places}) AND (user_id != '' OR anonymous_id != '' OR email != '' OR group_id != '') ${insertAlways}`, signal);
    await links.settle(rows.flatMap(([tenant, type, userId, anonymousId, previousId, email, timestampMs]) =>
      linksOf({ tenant: String(tenant), type: String(type), userId: String(userId), anonymousId: String(anonymousId), previousId: String(previousId), email: String(email), timestampMs: Number(timestampMs) })), signal);
  };
}
