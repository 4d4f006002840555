import { join } from 'node:path';
import { MillraceError, asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { prepareClassData, type ClassData } from './class-data.ts';
import { prepareClickHouse } from './clickhouse.ts';
import { openDataFolder, type DataFolder } from './data-folder.ts';
import { fetchJars, type Jars } from './jars.ts';
import { findJava, type Java } from './java.ts';
import { kafkaAnswers, prepareKafka } from './kafka.ts';
import { requirePort } from './ports.ts';
import { answersOk, prepareRegistry, registryAnswers } from './registry.ts';
import { createSupervised, type ChildSpec, type PartStatus, type Supervised } from './supervise.ts';

export interface LocalStackOptions {
  /** Everything that must last, and the logs; held by one process at a time. */
  dataDir: string;
  /** The jars; kept between runs and shared by data folders and processes. */
  cacheDir: string;
  /** Where package.json lies. */
  packageRoot: string;
  /** 127.0.0.1 unless given. */
  host?: string;
  /** Which parts to start, and on which port. A part left out is not started. */
  kafka?: { port: number };
  /**
   * `kafkaBrokers` (host:port, joined by commas, without TLS or SASL) is needed if `kafka` is left out. Make the topic `kafkasql-journal`
   * (1 partition, retention.ms=-1) there first: the registry makes it with that Kafka's default retention, after which schemas are lost.
   */
  registry?: { port: number; kafkaBrokers?: string };
  clickhouse?: { port: number };
  /** A java command or a Java home; `java` on PATH unless given. */
  java?: string;
  /** A Maven command; `mvn` on PATH unless given. */
  maven?: string;
  /** Spend half a minute, once for each cache folder, so that later starts take half as long: for who starts many stacks. Default false. */
  makeClassData?: boolean;
  log: Log;
  /** Ends a start that is under way (a download may take minutes): whatever runs is stopped, and the start rejects with the reason. */
  signal?: AbortSignal;
  /** What takes long, for people: one line, often. */
  onProgress: (line: string) => void;
  /** A part kept failing after it had been ready: the owner should close the stack and end the process. */
  onFatal: (error: MillraceError) => void;
}

export interface LocalStack {
  /** host:port */
  kafkaBrokers?: string;
  /** The Confluent-compatible API's base. */
  registryUrl?: string;
  clickhouseUrl?: string;
  parts(): PartStatus[];
  /** Stops the registry, then Kafka and ClickHouse, and frees the folder. Once it is done nothing is left running. May be called again. */
  close(): Promise<void>;
}

const readyTimeoutMs = 90_000;

/**
 * Starts the embedded stack: data folder, left-over children, ports, jars; then Kafka and ClickHouse side by side; then the registry.
 * Rejects, after stopping whatever had started, with data_unwritable, disk_full, data_locked, port_taken, java_missing,
 * maven_missing, download_failed or child_failed.
 */
export async function startLocalStack(options: LocalStackOptions): Promise<LocalStack> {
  const { log, signal, onProgress } = options;
  const folder = await openDataFolder(options.dataDir, log);
  const children: Supervised[] = [];
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => { await (closing ??= stopAll(children, folder)); };
  const interrupt = (): void => { close().catch((thrown: unknown) => { note(log, 'stack_close_failed', { err: asError(thrown) }); }); };
  signal?.addEventListener('abort', interrupt, { once: true });
  try {
    signal?.throwIfAborted();
    const specs = await planParts(options, folder);
    const start = async (name: string): Promise<void> => {
      const spec = specs.get(name);
      // Another part may have failed in between; what starts after close() would never be stopped.
      if (spec === undefined || closing !== undefined) return;
      onProgress(`starting ${name}`);
      const child = createSupervised(spec, {
        log, onSpawn: folder.addChild, onExit: folder.removeChild, onFatal: options.onFatal,
      });
      children.push(child);
      await child.start();
    };
    await Promise.all([start('kafka').then(async () => { await start('registry'); }), start('clickhouse')]);
    signal?.throwIfAborted();
  } catch (thrown) {
    await close();
    signal?.throwIfAborted();
    throw thrown instanceof MillraceError ? thrown : new MillraceError('child_failed', `the embedded stack did not start: ${asError(thrown).message}`, { cause: asError(thrown) });
  } finally {
    signal?.removeEventListener('abort', interrupt);
  }
  const host = options.host ?? '127.0.0.1';
  return {
    ...(options.kafka && { kafkaBrokers: `${host}:${options.kafka.port}` }),
    ...(options.registry && { registryUrl: `http://${host}:${options.registry.port}/apis/ccompat/v7` }),
    ...(options.clickhouse && { clickhouseUrl: `http://${host}:${options.clickhouse.port}` }),
    parts: () => children.map((child) => child.status()),
    close,
  };
}

/** Checks ports, Java and jars, and says how each part is run. */
async function planParts(options: LocalStackOptions, folder: DataFolder): Promise<Map<string, ChildSpec>> {
  const { kafka, registry, clickhouse, log, host = '127.0.0.1' } = options;
  if (kafka) await requirePort(host, kafka.port, 'Kafka', 'MILLRACE_KAFKA_PORT');
  if (registry) await requirePort(host, registry.port, 'the schema registry', 'MILLRACE_REGISTRY_PORT');
  if (clickhouse) await requirePort(host, clickhouse.port, 'ClickHouse', 'MILLRACE_CLICKHOUSE_PORT');
  const specs = new Map<string, ChildSpec>();
  const common = { cwd: folder.dir, readyTimeoutMs };
  const mark = `-Dmillrace.data=${folder.dir}`;
  const logFile = (name: string): string => join(folder.dir, 'logs', `${name}.log`);
  const dir = (name: string): string => join(folder.dir, name);
  if (clickhouse) {
    const settings = { host, port: clickhouse.port, dir: dir('clickhouse') };
    specs.set('clickhouse', {
      ...common, name: 'clickhouse', logFile: logFile('clickhouse'), lifeline: true, stopTimeoutMs: 10_000,
      // Each running query holds a thread of libuv's pool, whose size counts from the process's first moment on.
      prepare: async () => ({ command: 'env', args: ['UV_THREADPOOL_SIZE=64', process.execPath, ...(await prepareClickHouse(settings))] }),
      isReady: async () => await answersOk(`http://${host}:${clickhouse.port}/ping`, log, 1000),
    });
  }
  if (!kafka && !registry) return specs;
  const { java, jars, classData } = await findJvmParts(options, folder, host, mark);
  if (kafka) {
    const settings = { host, port: kafka.port, dir: dir('kafka'), mark, java: java.command, classpath: jars.kafkaClasspath, speedUp: classData.kafka };
    specs.set('kafka', {
      ...common, name: 'kafka', logFile: logFile('kafka'), lifeline: false, stopTimeoutMs: 10_000,
      prepare: async () => ({ command: java.command, args: await prepareKafka(settings) }),
      isReady: async () => await kafkaAnswers(host, kafka.port),
    });
  }
  if (registry) {
    const kafkaBrokers = kafka ? `${host}:${kafka.port}` : registry.kafkaBrokers;
    if (kafkaBrokers === undefined) throw new MillraceError('config_invalid', 'the embedded registry needs a Kafka to keep its schemas in');
    const settings = { host, port: registry.port, kafkaBrokers, dir: dir('registry'), mark, jar: jars.registryJar, speedUp: classData.registry };
    specs.set('registry', {
      ...common, name: 'registry', logFile: logFile('registry'), lifeline: false, stopTimeoutMs: 5000,
      prepare: async () => ({ command: java.command, args: await prepareRegistry(settings) }),
      isReady: async () => await registryAnswers(host, registry.port, log),
    });
  }
  return specs;
}

async function findJvmParts(options: LocalStackOptions, folder: DataFolder, host: string, mark: string): Promise<{ java: Java; jars: Jars; classData: ClassData }> {
  const { cacheDir, packageRoot, maven, signal, log, onProgress } = options;
  const interruptible = signal === undefined ? {} : { signal };
  const java = await findJava(options.java);
  const jars = await fetchJars({ cacheDir, onProgress, pom: join(packageRoot, 'src', 'local', 'pom.xml'), ...(maven === undefined ? {} : { maven }), ...interruptible });
  const classData = await prepareClassData({ jars, java, make: options.makeClassData === true, host, mark, log, onProgress, onSpawn: folder.addChild, onExit: folder.removeChild, ...interruptible });
  return { java, jars, classData };
}

/** The registry first: it writes to Kafka to its last moment. */
async function stopAll(children: readonly Supervised[], folder: DataFolder): Promise<void> {
  const isRegistry = (child: Supervised): boolean => child.status().name === 'registry';
  await Promise.all(children.filter(isRegistry).map(async (child) => { await child.stop(); }));
  await Promise.all(children.filter((child) => !isRegistry(child)).map(async (child) => { await child.stop(); }));
  await folder.close();
}
