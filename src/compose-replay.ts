import { randomUUID } from 'node:crypto';
import { buryIn, createReaders, eventRecord, groupOf, readEvents, registryOf, schemaPath } from './compose-parts.ts';
import type { Deps } from './compose-parts.ts';
import type { Config } from './config.ts';
import { createLiveContracts } from './contract/contracts.ts';
import { createEventAvro } from './contract/event-avro.ts';
import type { Endpoints } from './endpoints.ts';
import { replayCommand } from './replay/command.ts';
import type { ReplayCounts, ReplayPass, ReplayTerminal } from './replay/command.ts';
import type { ReplayOptions } from './replay/options.ts';
import { createClickHouse } from './sink/clickhouse.ts';
import { createFreshTable, finishOthers } from './sink/fresh-table.ts';
import type { Store } from './sink/partitions.ts';
import { cutBatch, planOf, planToken } from './sink/plan.ts';
import { rebuildProfiles } from './sink/rebuild-profiles.ts';
import { batchLimits, createEventStore, createProfiles } from './sink/run.ts';
import type { EventRecord } from './sink/store-events.ts';
import { createPublisher } from './topic/publish.ts';
import { findRanges, readRanges } from './topic/read-range.ts';
import type { OffsetRange } from './topic/read-range.ts';

export { parseReplayOptions, replayHelp } from './replay/options.ts';
export type { ReplayOptions, ReplayTerminal };

/** A month of rows is copied by one statement. */
const copyTimeoutMs = 6 * 60 * 60_000;

export interface ReplayDeps extends Pick<Deps, 'log'> {
  /** See sink/fresh-table.ts. */
  followForMs?: number;
}

/** `millrace replay` on parts that run elsewhere; resolves with the exit code. The tables are the sink's to make. */
export async function replay(options: ReplayOptions, config: Config, endpoints: Endpoints, { log, followForMs }: ReplayDeps, terminal: ReplayTerminal, signal: AbortSignal): Promise<number> {
  const connection = endpoints.kafka;
  const read = readEvents(createReaders(config, createEventAvro(schemaPath(config)), registryOf(endpoints)), createLiveContracts(config.contracts));
  const clickhouse = createClickHouse(endpoints.clickhouse);
  const patient = createClickHouse({ ...endpoints.clickhouse, timeoutMs: copyTimeoutMs });
  const publisher = createPublisher({ ...connection, topics: [config.topic.deadLetters], log });
  const profiles = createProfiles(clickhouse, log);

  const passOf = (store: Store<EventRecord>, tokenPrefix: string, counts: ReplayCounts): Pick<ReplayPass<OffsetRange>, 'replay' | 'counts'> => ({
    counts: () => ({ ...counts }),
    replay: (ranges, onProgress, ended) =>
      readRanges({
        connection, ranges, onProgress, signal: ended, log,
        subscription: { sessionTimeoutMs: config.sessionTimeoutMs, minBytes: 512 * 1024, maxBytesPerPartition: 2 * 1024 * 1024, partitionsConcurrently: 3 },
        patienceMs: 120_000,
        async handler({ topic, partition, records, session }) {
          let rest: EventRecord[] = records.map(eventRecord);
          while (rest.length > 0) {
            const some = cutBatch(rest, batchLimits.maxRows, batchLimits.maxBytes);
            await store({ topic, partition, records: some, token: `${tokenPrefix}/${planToken(topic, partition, planOf(some))}`, replay: true, signal: session.signal });
            rest = rest.slice(some.length);
          }
          counts.read += records.length;
        },
      }),
  });

  const startPass = async (fresh: boolean, keep: boolean): Promise<ReplayPass<OffsetRange>> => {
    const counts: ReplayCounts = { read: 0, added: 0, present: 0, duplicate: 0, conflict: 0, deadLettered: 0, suppressed: 0 };
    if (fresh) {
      const table = await createFreshTable({ clickhouse: patient, read, keep, log, ...(followForMs !== undefined && { followForMs }) });
      const pass = passOf(async request => void (counts.added += await table.store(request)), 'replay', counts);
      return {
        ...pass,
        discard: () => table.discard(),
        finish(ranges, onProgress, ended) {
          onProgress('copying all other rows, then the tables are exchanged');
          return table.finish(ranges, ended);
        },
      };
    }
    // Rows that are copied after the exchange are fed by nobody else.
    if ((await finishOthers(clickhouse, log)) > 0) await rebuildProfiles({ clickhouse: patient, log, signal });
    const store = createEventStore({
      clickhouse, read, bury: buryIn(publisher, config.topic.deadLetters), profiles, log,
      onStored(result) {
        counts.added += result.stored;
        for (const name of ['present', 'duplicate', 'conflict', 'deadLettered', 'suppressed'] as const) counts[name] += result[name];
      },
    });
    // Its own with every run: ClickHouse drops what comes under a token that it has seen, though the rows were deleted since.
    return { ...passOf(store, `replay/${randomUUID()}`, counts), finish: null, discard: () => Promise.resolve() };
  };

  try {
    const code = await replayCommand(options, {
      topics: [config.topic.events, ...config.topics.map(({ name }) => name)],
      findRanges: (topic, fromMs, toMs) => findRanges(connection, topic, groupOf(config, topic), fromMs, toMs, log),
      startPass,
      rebuildProfiles: (fromScratch, ended) => rebuildProfiles({ clickhouse: patient, log, signal: ended, fromScratch }),
      terminal, now: () => performance.now(), signal,
    });
    await profiles.flush();
    return code;
  } finally {
    await profiles.close();
    await publisher.close();
    await clickhouse.close();
    await patient.close();
  }
}
