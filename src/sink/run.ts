import type { Log } from '../telemetry.ts';
import type { ClickHouse } from './clickhouse.ts';
import { createPartitions } from './partitions.ts';
import type { IncomingBatch, Store } from './partitions.ts';
import { createStoreDeadLetters, findLetters } from './store-dead-letters.ts';
import type { DeadLetterRecord } from './store-dead-letters.ts';
import { createEventTables } from './event-tables.ts';
import { gatherLookUps } from './gather-look-ups.ts';
import { createStoreEvents } from './store-events.ts';
import type { BuryDeadLetters, EventRecord, ReadEvents, StoreResult } from './store-events.ts';
import { createProfileFeed, feedFrom } from './profile-feed.ts';
import type { ProfileFeed } from './profile-feed.ts';
import { createReconcileTables } from './reconcile-tables.ts';
import { removeSurplus } from './reconcile.ts';
import { createSuppressions } from './suppressions.ts';

/** Largest insert. */
export const batchLimits = { maxRows: 50_000, maxBytes: 16 * 1024 * 1024 };

export interface EventStoreOptions {
  clickhouse: ClickHouse;
  read: ReadEvents;
  bury: BuryDeadLetters;
  profiles: ProfileFeed;
  onStored?: (result: StoreResult) => void;
  /** Whether contracts change, from one run to the next too: what was refused stays so. Default: they never do. */
  contractsChange?: boolean;
  log: Log;
}

export interface SinkOptions extends Omit<EventStoreOptions, 'profiles'> {
  /** See partitions.ts. */
  rules?: () => string;
  onWaiting?: (topic: string, partition: number, error: Error | null) => void;
  /** A batch is what one fetch brings, cut to this. Default: batchLimits. */
  maxRows?: number;
  maxBytes?: number;
  retryDelaysMs?: readonly number[];
}

/** What the two consumer groups of a sink do with their batches. */
export interface Sink {
  events: (batch: IncomingBatch<EventRecord>) => Promise<bigint>;
  deadLetters: (batch: IncomingBatch<DeadLetterRecord>) => Promise<bigint>;
  /** To be told of every session of a group of events, before its first batch. */
  takeOver: ProfileFeed['takeOver'];
  /** When no batch comes any more. */
  close: ProfileFeed['close'];
}

/** Profiles of the tables of a ClickHouse. */
export function createProfiles(clickhouse: ClickHouse, log: Log): ProfileFeed {
  return createProfileFeed({ feed: feedFrom(clickhouse), log });
}

/** How events are stored in the tables of a ClickHouse. */
export function createEventStore({ clickhouse, onStored = () => undefined, contractsChange, ...options }: EventStoreOptions): Store<EventRecord> {
  const tables = createEventTables(clickhouse);
  return createStoreEvents({
    ...options,
    tables: { ...tables, findIds: gatherLookUps((ids, signal) => tables.findIds(ids, signal)) },
    suppressions: createSuppressions(clickhouse),
    ...(contractsChange === true && { findLetters: (ids, signal) => findLetters(clickhouse, ids, signal) }),
    makeSingle: async (ids, signal) => void (await removeSurplus(createReconcileTables(clickhouse), ids, signal)),
    onStored,
  });
}

export function createSink(options: SinkOptions): Sink {
  const { clickhouse, log } = options;
  const limits = {
    maxRows: options.maxRows ?? batchLimits.maxRows,
    maxBytes: options.maxBytes ?? batchLimits.maxBytes,
    ...(options.retryDelaysMs && { retryDelaysMs: options.retryDelaysMs }),
    ...(options.onWaiting && { onWaiting: options.onWaiting }),
  };
  const highestStored = async (topic: string, partition: number): Promise<bigint | null> => {
    const place = 'WHERE topic = {topic: String} AND partition = {partition: UInt32}';
    const [row] = await clickhouse.rows(
      `SELECT count(), max(highest) FROM (SELECT max(offset) AS highest FROM events ${place} HAVING count() > 0 UNION ALL SELECT max(offset) FROM outcomes ${place} HAVING count() > 0)`,
      { topic, partition },
    );
    return row === undefined || Number(row[0]) === 0 ? null : BigInt(String(row[1]));
  };
  const profiles = createProfiles(clickhouse, log);
  return {
    events: createPartitions({ ...limits, log, ...(options.rules && { rules: options.rules }), highestStored, unfed: profiles.unfed, store: createEventStore({ ...options, profiles }) }),
    // A letter is looked for by its id before and after every insert; no need to know how far the topic was read.
    deadLetters: createPartitions({ ...limits, log, highestStored: () => Promise.resolve(null), store: createStoreDeadLetters(clickhouse) }),
    takeOver: profiles.takeOver,
    close: profiles.close,
  };
}
