import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { Config } from './config.ts';
import { createEventAvro } from './contract/event-avro.ts';
import type { EventAvro } from './contract/event-avro.ts';
import { createForeignReader } from './contract/foreign.ts';
import { createRecordReader } from './contract/read-record.ts';
import type { RecordReader } from './contract/read-record.ts';
import { createRegistry } from './contract/registry.ts';
import type { Registry } from './contract/registry.ts';
import type { Accepted } from './door/accept.ts';
import { createKeyRing, sha256 } from './door/keys.ts';
import { createDoor, createHealthServer } from './door/server.ts';
import type { Readiness } from './door/server.ts';
import { endpointsOf } from './endpoints.ts';
import type { Endpoints } from './endpoints.ts';
import { MillraceError, asError } from './errors.ts';
import type { CanonicalEvent } from './event/canonical.ts';
import { userKey } from './event/canonical.ts';
import { requirePort } from './local/ports.ts';
import { startLocalStack } from './local/stack.ts';
import type { LocalStack } from './local/stack.ts';
import { redriveCommand } from './redrive/command.ts';
import type { Terminal } from './redrive/command.ts';
import type { RedriveOptions } from './redrive/options.ts';
import { createClickHouse } from './sink/clickhouse.ts';
import { migrate, readMigrations } from './sink/migrate.ts';
import { createReconcileTables } from './sink/reconcile-tables.ts';
import { startReconciliation } from './sink/reconcile.ts';
import { createSink } from './sink/run.ts';
import type { StoreCounts } from './sink/store-events.ts';
import { measureDoor, measureSink } from './measure.ts';
import { createMetrics } from './metrics.ts';
import type { Metrics } from './metrics.ts';
import type { Log } from './telemetry.ts';
import { subscribeWhenThere } from './topic/await-topic.ts';
import type { KafkaConnection } from './topic/connection.ts';
import { deadLetterRecord, readDeadLetter } from './topic/dead-letter.ts';
import { watchLag } from './topic/lag.ts';
import { provisionTopics, topicNames } from './topic/provision.ts';
import { createPublisher } from './topic/publish.ts';
import type { OutgoingRecord, Publisher } from './topic/publish.ts';
import { headerList, headerText, subscribe } from './topic/subscribe.ts';
import type { BatchHandler, RecordBatch, SubscribedRecord, Subscription } from './topic/subscribe.ts';

export { endpointsOf };
export type { Endpoints };

export interface Deps {
  log: Log;
  /** Of roles that share a process; default: each its own. */
  metrics?: Metrics;
  /** A part gave up for good: the process should close and end. */
  onFatal: (error: MillraceError) => void;
}

/** Something that runs, and how to end it in order. */
export interface Role {
  close(): Promise<void>;
}

const schemaPath = (config: Config): string => join(config.packageRoot, 'schemas', 'events', 'event.v1.avsc');

/** Dead letters may be as large as a record can get, and then some headers. */
const deadLetterBytes = 8 * 1024 * 1024;

/** How old the lag of a partition without a batch under way may be. */
const lagPollMs = 5_000;

/** Starts the parts that the configuration gives no URL for; null where it gives all. */
export async function startEmbedded(config: Config, deps: Deps, onProgress: (line: string) => void, signal: AbortSignal): Promise<LocalStack | null> {
  const kafka = config.kafka.brokers === null ? { port: config.kafka.embeddedPort } : null;
  const registry = config.registry.url === null ? { port: config.registry.embeddedPort, ...(config.kafka.brokers && { kafkaBrokers: config.kafka.brokers.join(',') }) } : null;
  const clickhouse = config.clickhouse.url === null ? { port: config.clickhouse.embeddedPort } : null;
  if (kafka === null && registry === null && clickhouse === null) return null;
  return startLocalStack({
    dataDir: config.dataDir,
    cacheDir: config.cacheDir,
    packageRoot: config.packageRoot,
    ...(kafka && { kafka }),
    ...(registry && { registry }),
    ...(clickhouse && { clickhouse }),
    ...(config.javaHome !== null && { java: config.javaHome }),
    log: deps.log,
    signal,
    onProgress,
    onFatal: deps.onFatal,
  });
}

/** Fails with `port_taken` before anything slow is started. */
export async function requireDoorPort(config: Config): Promise<void> {
  if (config.port !== 0) await requirePort(config.host, config.port, 'door', 'PORT');
}

/** Makes the topics where they are missing. */
export async function provision(config: Config, endpoints: Endpoints, log: Log): Promise<void> {
  const { events, deadLetters, partitions, retentionMs } = config.topic;
  await provisionTopics(endpoints.kafka, [
    { topic: events, partitions, retentionMs, maxMessageBytes: 1_048_576 },
    { topic: deadLetters, partitions: Math.min(partitions, 3), retentionMs, maxMessageBytes: deadLetterBytes },
  ], log);
}

export interface RunningDoor extends Role {
  /** Where it listens. */
  url: string;
  publisher: Publisher;
}

/** The HTTP front door. Throws where the registry, Kafka or the port can't be had. */
export async function startDoor(config: Config, endpoints: Endpoints, deps: Deps, extraReadiness: () => Promise<Record<string, string>> = () => Promise.resolve({})): Promise<RunningDoor> {
  const { log, metrics = createMetrics() } = deps;
  const avro = createEventAvro(schemaPath(config));
  const schemaId = await registryOf(endpoints).register(`${config.topic.events}-value`, avro.schemaText);
  const publisher = createPublisher({ ...endpoints.kafka, topics: [config.topic.events], log });
  const meter = measureDoor(metrics, { inFlightBytes: () => publisher.inFlight().bytes });

  const encode = (event: CanonicalEvent, traceparent: string | null): OutgoingRecord => ({
    topic: config.topic.events,
    key: Buffer.from(userKey(event)),
    value: avro.encode(event, schemaId),
    headers: { tenant: event.tenant, dialect: event.dialect, 'message-id': event.messageId, ...(traceparent !== null && { traceparent }) },
  });
  const accept = async (events: readonly CanonicalEvent[], traceparent: string | null): Promise<Accepted[]> => {
    const results = await publisher.publish(events.map(event => encode(event, traceparent)));
    return results.map(result => (result.ok ? { ok: true } : { ok: false, retryable: result.error.retryable, message: result.error.message }));
  };
  const readiness = async (): Promise<Readiness> => {
    const ready = publisher.ready();
    return { ready, parts: { kafka: ready ? 'ok' : 'not answering', schema: `id ${schemaId}`, ...(await extraReadiness()) } };
  };
  const app = createDoor({
    keys: createKeyRing(config.writeKeys.map(({ id, tenant, key }) => ({ id, tenant, allow: null, sha256: sha256(key) }))),
    accept,
    overloaded: () => publisher.inFlight().full,
    readiness,
    metrics: metrics.exposition,
    ...meter,
    log,
  });
  try {
    const url = await listen(app, config);
    await until(() => publisher.ready(), 15_000, new MillraceError('kafka_unavailable', `Kafka at ${endpoints.kafka.brokers.join(', ')} does not answer`));
    return {
      url,
      publisher,
      async close() {
        await app.close();
        await publisher.close();
      },
    };
  } catch (error) {
    await app.close();
    await publisher.close();
    throw error;
  }
}

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
  const readerOf = createReaders(config, avro, registry);
  const clickhouse = createClickHouse(endpoints.clickhouse);
  const publisher = createPublisher({ ...endpoints.kafka, topics: [config.topic.deadLetters], log });
  const total: StoreCounts = { stored: 0, duplicate: 0, conflict: 0, deadLettered: 0, suppressed: 0, present: 0 };
  const subscriptions: Subscription[] = [];
  const joined = (): boolean => subscriptions.length > 0 && subscriptions.every(subscription => subscription.joined());
  const meter = measureSink(metrics, { eventTopics: [config.topic.events, ...config.topics.map(({ name }) => name)], joined });
  const sink = createSink({
    clickhouse,
    log,
    read: (topic, partition, records) => readerOf(topic).read(records.map(record => ({ ...record, topic, partition }))),
    async bury(letters) {
      const results = await publisher.publish(letters.map(letter => deadLetterRecord(config.topic.deadLetters, letter)));
      for (const result of results) if (!result.ok) throw result.error;
    },
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
    maxBytesPerPartition: 2 * 1024 * 1024,
    closeGraceMs: 5_000,
    log,
    onFatal,
  };
  const onEvents: BatchHandler = batch =>
    sink.events(withRecords(batch, record => ({ ...record, header: name => headerText(record.headers, name), headers: () => headerList(record.headers) })));
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
  const joinGroup = async (groupId: string, topic: string, handler: BatchHandler, partitionsConcurrently: number): Promise<void> => {
    const subscription = await subscribe({ ...shared, groupId, topic, handler: measured(handler), partitionsConcurrently });
    subscriptions.push(subscription);
    lag.follow(groupId, topic, subscription);
  };
  const close = async (): Promise<void> => {
    await reconciliation.close();
    await lag.close();
    await Promise.all(subscriptions.map(subscription => subscription.close()));
    await publisher.close();
    await clickhouse.close();
  };
  try {
    await joinGroup(config.consumerGroup, config.topic.events, onEvents, 3);
    await joinGroup(`${config.consumerGroup}.dead-letters`, config.topic.deadLetters, batch =>
      sink.deadLetters(withRecords(batch, record => ({ ...record, letter: readDeadLetter({ ...record, topic: batch.topic, partition: batch.partition }) }))), 1);
    // A group each: a topic that comes, goes or grows makes no other one rebalance.
    for (const { name } of config.topics) {
      const groupId = `${config.consumerGroup}.topic.${name}`;
      const subscription = subscribeWhenThere({ ...shared, groupId, topic: name, handler: measured(onEvents), partitionsConcurrently: 3, pollMs: 5_000 });
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

export { parseRedriveOptions, redriveHelp } from './redrive/options.ts';
export type { RedriveOptions, Terminal };

/** `millrace redrive` on parts that run elsewhere; resolves with the exit code. The tables are the sink's to make. */
export async function redrive(options: RedriveOptions, config: Config, endpoints: Endpoints, { log }: Pick<Deps, 'log'>, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const readerOf = createReaders(config, createEventAvro(schemaPath(config)), registryOf(endpoints));
  const clickhouse = createClickHouse(endpoints.clickhouse);
  const publisher = createPublisher({ ...endpoints.kafka, log });
  try {
    return await redriveCommand(options, {
      rows: (statement, params) => clickhouse.rows(statement, params),
      command: statement => clickhouse.command(statement),
      publish: async records => (await publisher.publish(records)).map(result => (result.ok ? null : result.error)),
      judge: async records => {
        const read = await Promise.all(records.map(({ topic, key, value, headers }) => readerOf(topic).read([{ topic, partition: 0, offset: 0n, key, value, timestampMs: 0, header: name => headers[name]?.at(-1)?.toString() ?? null }])));
        return read.flat().map(found => (found.ok ? null : found));
      },
      eventsTopic: config.topic.events, workingFolder: process.cwd(), nowMs: Date.now, terminal, signal,
    });
  } finally {
    await publisher.close();
    await clickhouse.close();
  }
}

/** What is wrong with the parts that the configuration names by URL, and what may be on purpose, one line each. Asks them and changes nothing. */
export async function askConnections(config: Config, log: Log): Promise<{ faults: string[]; notes: string[] }> {
  const { kafka, registry, clickhouse } = config;
  const endpoints = endpointsOf({ ...config, kafka: { ...kafka, brokers: kafka.brokers ?? [] }, registry: { ...registry, url: registry.url ?? '' } }, null);
  const notes: string[] = [];
  const askKafka = async (): Promise<void> => {
    const there = await topicNames(endpoints.kafka, log);
    for (const { name } of config.topics) if (!there.has(name)) notes.push(`topic ${name} does not exist yet; a sink waits for it`);
  };
  const askClickHouse = async (): Promise<void> => {
    const client = createClickHouse({ ...endpoints.clickhouse, database: 'default' });
    await client.rows('SELECT 1').finally(() => client.close());
  };
  const asked = [kafka.brokers === null ? null : askKafka(), registry.url === null ? null : registryOf(endpoints).ping(), clickhouse.url === null ? null : askClickHouse()];
  const answers = await Promise.allSettled(asked.filter(question => question !== null));
  return { notes, faults: answers.flatMap(answer => (answer.status === 'rejected' ? [asError(answer.reason).message] : [])) };
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

async function listen(app: FastifyInstance, config: Config): Promise<string> {
  try {
    return await app.listen({ host: config.host, port: config.port });
  } catch (thrown) {
    const error = asError(thrown);
    const code = 'code' in error ? error.code : undefined;
    if (code === 'EADDRINUSE') throw new MillraceError('port_taken', `port ${config.port} is taken by another program`, { cause: error, hint: 'Set PORT to a free one.' });
    throw new MillraceError('config_invalid', `cannot listen on ${config.host}:${config.port}: ${error.message}`, { cause: error });
  }
}

/** How each topic is read: those of others by their mapping, all else as the events topic. */
function createReaders(config: Config, avro: EventAvro, registry: Registry): (topic: string) => RecordReader {
  const own = createRecordReader(avro, registry, config.defaultTenant);
  const foreign = new Map(config.topics.map(mapping => [mapping.name, createForeignReader(mapping, registry)]));
  return topic => foreign.get(topic) ?? own;
}

function registryOf(endpoints: Endpoints): Registry {
  const { url, auth } = endpoints.registry;
  return createRegistry({ url, timeoutMs: 10_000, ...(auth && { auth }) });
}

function withRecords<R>(batch: RecordBatch, map: (record: SubscribedRecord) => R): Omit<RecordBatch, 'records'> & { records: R[] } {
  return { ...batch, records: batch.records.map(map) };
}

async function until(condition: () => boolean, timeoutMs: number, late: MillraceError): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > deadline) throw late;
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}
