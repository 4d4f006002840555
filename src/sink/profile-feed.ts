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

/** Offsets of a partition, both among them. */
export interface OffsetRange {
  topic: string;
  partition: number;
  first: bigint;
  last: bigint;
}

export interface ProfileFeed {
  /** Rows of `events` that stand there are to be in profiles soon. */
  add: (range: OffsetRange) => void;
  /** The commits that a session of the group begins with, by partition: what profiles lack by them waits from now on. Where somebody else has set the offset, what was stored last below it. */
  takeOver: (topic: string, commits: ReadonlyMap<number, { offset: bigint | null; metadata: string }>) => void;
  /** The first offset of the partition that may not be in profiles yet; null: all that was added is. */
  unfedFrom: (topic: string, partition: number) => bigint | null;
  /** Feeds what waits. Throws ClickHouse's faults; what could not be fed waits on. */
  flush: () => Promise<void>;
  /** Flushes once more; what cannot be fed is left to who takes the partitions over. */
  close: () => Promise<void>;
}

export interface ProfileFeedOptions {
  /** Puts the rows at these offsets into profiles. */
  feed: (ranges: readonly OffsetRange[], signal: AbortSignal) => Promise<void>;
  /** Runs the work some time later; answers how to call that off. Default: a timer of a second. */
  later?: (work: () => void) => () => void;
  log: Log;
}

/** Milliseconds from a stored batch to its profiles. */
const feedAfterMs = 1_000;
/** More than a sink leaves unfed of a partition when it is killed. */
const recentOffsets = 100_000n;
/** What one statement takes on. */
const offsetsAtOnce = 50_000n;

export function createProfileFeed({ feed, later = afterASecond, log }: ProfileFeedOptions): ProfileFeed {
  const stop = new AbortController();
  let waiting = new Map<string, OffsetRange>();
  let underWay: readonly OffsetRange[] = [];
  let flushing: Promise<void> = Promise.resolve();
  let callOff: (() => void) | null = null;
  let failures = 0;

  const add = (range: OffsetRange): void => {
    const key = `${range.topic}/${range.partition}`;
    const before = waiting.get(key);
    waiting.set(key, before === undefined ? range : { ...range, first: before.first < range.first ? before.first : range.first, last: before.last > range.last ? before.last : range.last });
    schedule();
  };

  const flushNow = async (): Promise<void> => {
    underWay = [...waiting.values()].flatMap(cut);
    waiting = new Map();
    try {
      while (underWay.length > 0) {
        const some = atOnce(underWay);
        await feed(some, stop.signal);
        underWay = underWay.slice(some.length);
      }
    } catch (thrown) {
      const left = underWay;
      underWay = [];
      for (const range of left) add(range);
      throw thrown;
    }
  };
  const flush = (): Promise<void> => {
    const result = flushing.then(flushNow);
    flushing = result.catch(() => undefined);
    return result;
  };

  const schedule = (): void => {
    if (callOff !== null || stop.signal.aborted) return;
    callOff = later(() => {
      flush().then(
        () => (failures = 0),
        (thrown: unknown) => {
          if (failures++ === 0) note(log, 'profiles_wait', { error: asError(thrown).message });
        },
      ).finally(() => {
        callOff = null;
        if (waiting.size > 0) schedule();
      }).catch((fault: unknown) => log.error({ err: asError(fault) }, 'feeding profiles failed'));
    });
  };

  return {
    add,
    takeOver(topic, commits) {
      for (const [partition, { offset, metadata }] of commits) {
        if (offset === null) continue;
        const commit = readCommit(offset, metadata);
        const first = commit === null ? offset - (offset < recentOffsets ? offset : recentOffsets) : commit.unfedFrom;
        if (first !== null && first < offset) add({ topic, partition, first, last: offset - 1n });
      }
    },
    unfedFrom(topic, partition) {
      const own = [...underWay.filter(range => range.topic === topic && range.partition === partition), waiting.get(`${topic}/${partition}`)];
      return own.reduce<bigint | null>((least, range) => (range !== undefined && (least === null || range.first < least) ? range.first : least), null);
    },
    flush,
    async close() {
      callOff?.();
      await flush().catch((thrown: unknown) => note(log, 'profiles_wait', { error: asError(thrown).message }));
      stop.abort(new Error('closed'));
    },
  };
}

function afterASecond(work: () => void): () => void {
  const timer = setTimeout(work, feedAfterMs);
  return () => clearTimeout(timer);
}

function cut({ first, last, ...partition }: OffsetRange): OffsetRange[] {
  const pieces: OffsetRange[] = [];
  for (let from = first; from <= last; from += offsetsAtOnce) pieces.push({ ...partition, first: from, last: from + offsetsAtOnce - 1n < last ? from + offsetsAtOnce - 1n : last });
  return pieces;
}

/** The first pieces that are no more than {@link offsetsAtOnce} together; never none. */
function atOnce(pieces: readonly OffsetRange[]): OffsetRange[] {
  let offsets = 0n;
  const count = pieces.findIndex(({ first, last }, index) => (offsets += last - first + 1n) > offsetsAtOnce && index > 0);
  return count === -1 ? [...pieces] : pieces.slice(0, count);
}

/** `events` as `profile_feed` takes them. Rows older than `trait_values` give what the JSON column kept: no nulls. */
export const feedStatement = `
  INSERT INTO profile_feed (tenant, event_id, type, user_id, anonymous_id, previous_id, email, group_id, timestamp, received_at, offset, trait_values)
  SELECT tenant, event_id, type, user_id, anonymous_id, previous_id, email, group_id, timestamp, received_at, offset,
    empty(trait_values) AND type IN ('identify', 'group') ? CAST(JSONExtractKeysAndValuesRaw(toJSONString(traits)), 'Map(String, String)') : trait_values
  FROM events`;

/** What a ClickHouse does of feeding: rows, then what their links lead to. For one process, as {@link createProfileLinks}. */
export function feedFrom(clickhouse: ClickHouse): ProfileFeedOptions['feed'] {
  const links = createProfileLinks(clickhouse);
  return async (ranges, signal) => {
    const places = ranges.map(({ topic, partition, first, last }) => `(topic = ${sqlText(topic)} AND partition = ${partition} AND offset BETWEEN ${first} AND ${last})`).join(' OR ');
    // Before the rows are fed: a link of one that comes in between would be remembered as settled, and passed over when its row is fed.
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
