import { join } from 'node:path';
import { createHealthServer } from './door/server.ts';
import { buryIn, createReaders, eventRecord, groupOf, listen, readEvents, registryOf, schemaPath } from './compose-parts.ts';
import type { Deps, Role } from './compose-parts.ts';
import type { Config } from './config.ts';
import { watchConfig } from './config-watch.ts';
import { createLiveContracts } from './contract/contracts.ts';
import type { LiveContracts } from './contract/contracts.ts';
import { createEventAvro } from './contract/event-avro.ts';
import type { Endpoints } from './endpoints.ts';
import { measureNotices, measureSink } from './measure.ts';
import { createMetrics } from './metrics.ts';
import type { Metrics } from './metrics.ts';
import { createClickHouse } from './sink/clickhouse.ts';
import { migrate, readMigrations, setIdRetention } from './sink/migrate.ts';
import { createReconcileTables } from './sink/reconcile-tables.ts';
import { startReconciliation } from './sink/reconcile.ts';
import { createSink } from './sink/run.ts';
import type { StoreCounts } from './sink/store-events.ts';
import { note } from './telemetry.ts';
import type { Log } from './telemetry.ts';
import { subscribeWhenThere } from './topic/await-topic.ts';
import { readDeadLetter } from './topic/dead-letter.ts';
import { watchLag } from './topic/lag.ts';
import { createPublisher } from './topic/publish.ts';
import { subscribe } from './topic/subscribe.ts';
import type { BatchHandler, RecordBatch, SubscribeOptions, SubscribedRecord, Subscription } from './topic/subscribe.ts';

/** How old the lag of a partition without a batch under way may be. */
const lagPollMs = 5_000;

export interface RunningSink extends Role {
  joined(): boolean;
  clickhouseAnswers(): Promise<boolean>;
  counts(): StoreCounts;
  metrics: Metrics;
}

/** The consumer groups that fill ClickHouse. Applies migrations first. */
export async function startSink(config: Config, endpoints: Endpoints, deps: Deps): Promise<RunningSink> {
  const { log, onFatal, metrics = createMetrics() } = deps;
  await migrate(endpoints.clickhouse, readMigrations(join(config.packageRoot, 'schemas', 'clickhouse')), log);
  const avro = createEventAvro(schemaPath(config));
  const registry = registryOf(endpoints);
  // Known to the registry before the first record of a direct producer needs it.
  await registry.register(`${config.topic.events}-value`, avro.schemaText);
  const clickhouse = createClickHouse(endpoints.clickhouse);
  await setIdRetention(clickhouse, config.dedupe.retentionDays, log);
  const publisher = createPublisher({ ...endpoints.kafka, topics: [config.topic.deadLetters], log });
  const contracts = createLiveContracts(config.contracts);
  const total: StoreCounts = { stored: 0, duplicate: 0, conflict: 0, deadLettered: 0, suppressed: 0, present: 0 };
  const subscriptions: Subscription[] = [];
  const joined = (): boolean => subscriptions.length > 0 && subscriptions.every(subscription => subscription.joined());
  measureNotices(metrics, log);
  const meter = measureSink(metrics, { eventTopics: [config.topic.events, ...config.topics.map(({ name }) => name)], joined });
  const sink = createSink({
    clickhouse,
    log,
    read: readEvents(createReaders(config, avro, registry), contracts),
    rules: () => contracts.current().rules,
    contractsChange: true,
    bury: buryIn(publisher, config.topic.deadLetters),
    onStored(result) {
      for (const name of Object.keys(total) as (keyof StoreCounts)[]) total[name] += result[name];
      meter.onStored(result);
      log.debug(result, 'batch stored');
    },
    onWaiting: meter.onWaiting,
  });

  const shared = {
    connection: endpoints.kafka,
    sessionTimeoutMs: config.sessionTimeoutMs,
    maxWaitMs: 300,
    minBytes: 512 * 1024,
    // A batch is what one fetch brings of a partition: up to 16 MiB of a topic with one partition, a third of that where there are three or more.
    maxBytesPerPartition: 16 * 1024 * 1024,
    maxFetchBytes: 16 * 1024 * 1024,
    closeGraceMs: 5_000,
    log,
    onFatal,
    onGap: meter.onGap,
  };
  const ofEvents = (topic: string): Pick<SubscribeOptions, 'partitionsConcurrently' | 'onSession'> => ({ partitionsConcurrently: 16, onSession: commits => sink.takeOver(topic, commits) });
  const onEvents: BatchHandler = batch => sink.events(withRecords(batch, eventRecord));
  const reconciliation = startReconciliation({
    tables: createReconcileTables(clickhouse),
    everyMs: config.reconcileEveryMs,
    leads: () => subscriptions[0]?.partitions().includes(0) === true,
    onPass(result) {
      meter.onPass(result);
      log.debug(result, 'reconciliation passed');
    },
    log,
  });
  const lag = watchLag({ connection: endpoints.kafka, everyMs: lagPollMs, onLag: meter.onLag, log });
  const measured = (handler: BatchHandler): BatchHandler => batch => meter.during(batch.records, () => handler(lag.watch(batch)));
  const joinGroup = async (groupId: string, topic: string, handler: BatchHandler, more: Pick<SubscribeOptions, 'partitionsConcurrently' | 'onSession'>): Promise<void> => {
    const subscription = await subscribe({ ...shared, ...more, groupId, topic, handler: measured(handler) });
    subscriptions.push(subscription);
    lag.follow(groupId, topic, subscription);
  };
  const watching = deps.reload === undefined ? null : watchConfig({ path: config.configPath, files: config.configFiles, read: deps.reload, log, onConfig: next => takeContracts(contracts, next.contracts, log) });
  const close = async (): Promise<void> => {
    watching?.close();
    await reconciliation.close();
    await lag.close();
    await Promise.all(subscriptions.map(subscription => subscription.close()));
    await sink.close();
    await publisher.close();
    await clickhouse.close();
  };
  try {
    await joinGroup(groupOf(config, config.topic.events), config.topic.events, onEvents, ofEvents(config.topic.events));
    await joinGroup(`${config.consumerGroup}.dead-letters`, config.topic.deadLetters, batch =>
      sink.deadLetters(withRecords(batch, record => ({ ...record, letter: readDeadLetter({ ...record, topic: batch.topic, partition: batch.partition }) }))), { partitionsConcurrently: 1 });
    for (const { name } of config.topics) {
      const groupId = groupOf(config, name);
      const subscription = subscribeWhenThere({ ...shared, groupId, topic: name, handler: measured(onEvents), ...ofEvents(name), pollMs: 5_000 });
      subscriptions.push(subscription);
      lag.follow(groupId, name, subscription);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    joined,
    clickhouseAnswers: () => clickhouse.ping(),
    counts: () => ({ ...total }),
    metrics,
    close,
  };
}

function takeContracts(contracts: LiveContracts, next: Config['contracts'], log: Log): void {
  const before = contracts.current().rules;
  contracts.replace(next);
  if (contracts.current().rules !== before) note(log, 'contracts_reloaded', { contracts: next.length });
}

/** /livez, /readyz and /metrics for a sink that runs without a door. */
export async function startSinkHealth(config: Config, sink: RunningSink, log: Log): Promise<Role & { url: string }> {
  const app = createHealthServer({
    log,
    metrics: sink.metrics.exposition,
    readiness: async () => {
      const joined = sink.joined();
      return { ready: joined, parts: { group: joined ? 'joined' : 'joining', clickhouse: (await sink.clickhouseAnswers()) ? 'ok' : 'not answering' } };
    },
  });
  const url = await listen(app, config);
  return { url, close: () => app.close() };
}

function withRecords<R>(batch: RecordBatch, map: (record: SubscribedRecord) => R): Omit<RecordBatch, 'records'> & { records: R[] } {
  return { ...batch, records: batch.records.map(map) };
}
