import type { Log } from '../telemetry.ts';
import type { ClickHouse } from './clickhouse.ts';
import { createPartitions } from './partitions.ts';
import type { IncomingBatch } from './partitions.ts';
import { createStoreDeadLetters } from './store-dead-letters.ts';
import type { DeadLetterRecord } from './store-dead-letters.ts';
import { createEventTables } from './event-tables.ts';
import { createStoreEvents } from './store-events.ts';
import type { BuryDeadLetters, EventRecord, ReadEvents, StoreResult } from './store-events.ts';
import { createProfiles } from './rebuild-profiles.ts';
import { createReconcileTables } from './reconcile-tables.ts';
import { removeSurplus } from './reconcile.ts';
import { createSuppressions } from './suppressions.ts';

export interface SinkOptions {
  clickhouse: ClickHouse;
  read: ReadEvents;
  bury: BuryDeadLetters;
  onStored?: (result: StoreResult) => void;
  /** See partitions.ts. */
  onWaiting?: (topic: string, partition: number, error: Error | null) => void;
  /** Largest insert; a batch is what one fetch brings, cut to this. */
  maxRows?: number;
  maxBytes?: number;
  retryDelaysMs?: readonly number[];
  log: Log;
}

/** What the two consumer groups of a sink do with their batches. */
export interface Sink {
  events: (batch: IncomingBatch<EventRecord>) => Promise<bigint>;
  deadLetters: (batch: IncomingBatch<DeadLetterRecord>) => Promise<bigint>;
}

export function createSink(options: SinkOptions): Sink {
  const { clickhouse, read, bury, log } = options;
  const limits = {
    maxRows: options.maxRows ?? 50_000,
    maxBytes: options.maxBytes ?? 16 * 1024 * 1024,
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
  return {
    events: createPartitions({
      ...limits,
      log,
      highestStored,
      store: createStoreEvents({
        tables: createEventTables(clickhouse),
        read,
        bury,
        suppressions: createSuppressions(clickhouse),
        profiles: createProfiles(clickhouse),
        async makeSingle(ids, signal) {
          await removeSurplus(createReconcileTables(clickhouse), ids, signal);
        },
        onStored: options.onStored ?? (() => undefined),
        log,
      }),
    }),
    // A letter is looked for by its id before and after every insert; no need to know how far the topic was read.
    deadLetters: createPartitions({ ...limits, log, highestStored: () => Promise.resolve(null), store: createStoreDeadLetters(clickhouse) }),
  };
}
