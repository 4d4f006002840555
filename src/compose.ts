import { buryIn, listen, registerSchema, schemaPath } from './compose-parts.ts';
import type { Deps, Role } from './compose-parts.ts';
import type { Config } from './config.ts';
import { watchConfig } from './config-watch.ts';
import { createLiveContracts } from './contract/contracts.ts';
import type { LiveContracts } from './contract/contracts.ts';
import { createEventAvro } from './contract/event-avro.ts';
import { createEventPublisher, notTaken } from './compose-publish.ts';
import type { AcceptEvents } from './door/accept.ts';
import { createKeyRing } from './door/keys.ts';
import type { KeyRing } from './door/keys.ts';
import { dialects } from './door/dialects/all.ts';
import type { Machine } from './door/machine.ts';
import { createDoor } from './door/server.ts';
import type { Readiness } from './door/server.ts';
import { endpointsOf } from './endpoints.ts';
import type { Endpoints } from './endpoints.ts';
import { MillraceError, asError } from './errors.ts';
import { requireUnlocked } from './local/data-folder.ts';
import { requirePort } from './local/ports.ts';
import { startLocalStack } from './local/stack.ts';
import type { LocalStack } from './local/stack.ts';
import { measureDoor, measureNotices } from './measure.ts';
import { createMetrics } from './metrics.ts';
import type { Exposition } from './metrics.ts';
import { createClickHouse } from './sink/clickhouse.ts';
import { createEventTables } from './sink/event-tables.ts';
import { findEvent } from './sink/find-event.ts';
import { note } from './telemetry.ts';
import type { Log } from './telemetry.ts';
import { deadLetterRecord } from './topic/dead-letter.ts';
import { provisionTopics } from './topic/provision.ts';
import { createPublisher } from './topic/publish.ts';
import type { Publisher } from './topic/publish.ts';

export { endpointsOf };
export type { Deps, Endpoints, Role };
export * from './compose-replay.ts';
export * from './compose-sink.ts';
export * from './compose-tools.ts';
export * from './compose-workers.ts';

/** Dead letters may be as large as a record can get, and then some headers. */
const deadLetterBytes = 8 * 1024 * 1024;

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

/** Fails with `port_taken` before anything slow is started; where it is another millrace of this data folder that has it, with `data_locked`. */
export async function requireDoorPort(config: Config): Promise<void> {
  try {
    await requirePort(config.host, config.port, 'the door', 'PORT');
  } catch (taken) {
    if (config.kafka.brokers === null || config.registry.url === null || config.clickhouse.url === null) await requireUnlocked(config.dataDir);
    throw taken;
  }
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

/** How long a request may wait for ClickHouse to say whether its event is known, in ms; after that it is published. */
const lookUpMs = 1_000;

/** What a door is handed by the process that it is a part of. */
export interface DoorPlace {
  /** More of /readyz. */
  readiness?: () => Promise<Record<string, string>>;
  /** Of the events topic's values; left out: they are registered. */
  schemaId?: number;
  /** What it shares with other doors of this machine; left out: it is the only one. */
  machine?: Machine;
  /** What /metrics shows; left out: its own. */
  exposition?: () => Promise<Exposition>;
  /** Hands over changed configurations; left out: it looks at the file. */
  follow?: (onConfig: (next: Config) => void) => void;
  /** Whether a Kafka that does not answer is a fault. Default true. */
  waitForKafka?: boolean;
}

/** Of what waits for Kafka to acknowledge it: 64 MiB, a part for each worker, in which a large batch has room. */
const inFlightBytesOf = (workers: number): number => Math.max(16, 64 / workers) * 1024 * 1024;

/** The HTTP front door. Throws where the registry, Kafka or the port can't be had. */
export async function startDoor(config: Config, endpoints: Endpoints, deps: Deps, place: DoorPlace = {}): Promise<RunningDoor> {
  const { log, metrics = createMetrics() } = deps;
  const { machine, exposition = metrics.exposition } = place;
  const avro = createEventAvro(schemaPath(config));
  const schemaId = place.schemaId ?? (await registerSchema(config, endpoints));
  const publisher = createPublisher({ ...endpoints.kafka, topics: [config.topic.events, config.topic.deadLetters], maxInFlightBytes: inFlightBytesOf(machine?.workers ?? 1), log });
  const buryAll = buryIn(publisher, config.topic.deadLetters);
  const keys = createKeyRing(config.writeKeys);
  const contracts = createLiveContracts(config.contracts);
  const clickhouse = endpoints.clickhouse.url === '' ? null : createClickHouse(endpoints.clickhouse);
  const storedEvents = clickhouse === null ? null : createEventTables(clickhouse);
  measureNotices(metrics, log);
  const meter = measureDoor(metrics, { log, dialects: dialects.map(({ name }) => name), keys: config.writeKeys.map(({ id }) => id), inFlightBytes: () => publisher.inFlight().bytes });

  const publishEvents = createEventPublisher({ publisher, topic: config.topic.events, encode: event => avro.encodeShared(event, schemaId) });
  const accept: AcceptEvents = (events, traceparent) => {
    const started = performance.now();
    return publishEvents(events, traceparent).finally(() => meter.onProduced(performance.now() - started));
  };
  const readiness = async (): Promise<Readiness> => {
    const ready = publisher.ready();
    return { ready, parts: { kafka: ready ? 'ok' : 'not answering', schema: `id ${schemaId}`, ...(await place.readiness?.()) } };
  };
  const app = createDoor({
    keys,
    accept,
    findStored: storedEvents === null ? null : async ids => new Map([...(await storedEvents.findIds(ids, AbortSignal.timeout(lookUpMs)))].map(([id, places]) => [id, places[0]?.contentHash ?? '0'])),
    findReceipt: clickhouse === null ? null : (tenant, id) => findEvent(clickhouse, tenant, id, AbortSignal.timeout(5 * lookUpMs)),
    contracts,
    async setAside(letters) {
      const results = await publisher.publish(letters.map(letter => deadLetterRecord(config.topic.deadLetters, letter)));
      return results.map(result => (result.ok ? { ok: true } : notTaken(result.error)));
    },
    async bury(letters, dropped) {
      if (dropped > 0) meter.onLetters('dropped', dropped);
      if (letters.length === 0) return;
      try {
        await buryAll(letters);
        meter.onLetters('kept', letters.length);
      } catch (thrown) {
        // The client was told of each of them.
        note(log, 'letters_lost', { letters: letters.length, error: asError(thrown).message });
        meter.onLetters('failed', letters.length);
      }
    },
    overloaded: () => publisher.inFlight().full,
    readiness,
    ...(machine && { machine }),
    metrics: exposition,
    ...meter,
    log,
  });
  const onConfig = (next: Config): void => takeConfig(config, next, keys, contracts, log);
  place.follow?.(onConfig);
  const watching = deps.reload === undefined ? null : watchConfig({ path: config.configPath, files: config.configFiles, read: deps.reload, log, onConfig });
  const close = async (): Promise<void> => {
    watching?.close();
    await app.close();
    await publisher.close();
    await clickhouse?.close();
  };
  try {
    const url = await listen(app, config);
    if (place.waitForKafka !== false) await until(() => publisher.ready(), 15_000, new MillraceError('kafka_unavailable', `Kafka at ${endpoints.kafka.brokers.join(', ')} does not answer`));
    return {
      url,
      publisher,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Keys and contracts are taken at once; the rest is read when a process starts. */
function takeConfig(old: Config, next: Config, keys: KeyRing, contracts: LiveContracts, log: Log): void {
  keys.replace(next.writeKeys);
  contracts.replace(next.contracts);
  note(log, 'config_reloaded', { writeKeys: next.writeKeys.map(({ id }) => id) });
  const later = (['topics', 'defaultTenant', 'dedupe'] as const).filter(name => JSON.stringify(old[name]) !== JSON.stringify(next[name]));
  if (later.length > 0) note(log, 'config_needs_restart', { keys: later });
}

async function until(condition: () => boolean, timeoutMs: number, late: MillraceError): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > deadline) throw late;
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}
