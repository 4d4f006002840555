import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import type { Jars } from './jars.ts';
import type { Java } from './java.ts';
import { kafkaAnswers, prepareKafka } from './kafka.ts';
import { takeLock } from './lock.ts';
import { freePort } from './ports.ts';
import { prepareRegistry, registryAnswers } from './registry.ts';
import { createSupervised, type ChildSpec } from './supervise.ts';

/** JVM options, by part, that make it start in about half the time. Empty where there is no archive. */
export interface ClassData {
  kafka: readonly string[];
  registry: readonly string[];
}

export interface ClassDataOptions {
  jars: Jars;
  java: Java;
  /** Make what is missing, which takes about half a minute; else only what is there is used. */
  make: boolean;
  host: string;
  /** Marks the processes as ours on their command line. */
  mark: string;
  log: Log;
  signal?: AbortSignal;
  onProgress: (line: string) => void;
  onSpawn: (pid: number) => void;
  onExit: (pid: number) => void;
}

const dumpTimeoutMs = 60_000;

/**
 * Archives of the classes that Kafka and the registry load (JEP 350), one set for each build of Java, beside the jars.
 * They are made, on demand, by one run of both in a scratch folder. They only save time: whatever goes
 * wrong is logged and not tried again, and while another process makes them, this one does without.
 * Throws the signal's reason only.
 */
export async function prepareClassData(options: ClassDataOptions): Promise<ClassData> {
  const { jars, java, log, signal } = options;
  const name = `class-data-${createHash('sha256').update(java.build).digest('hex').slice(0, 12)}`;
  const dir = join(jars.dir, name);
  const made = await readClassData(dir);
  if (made !== undefined) return made;
  if (!options.make) return { kafka: [], registry: [] };
  const lock = await takeLock(join(jars.dir, `${name}.lock`));
  if ('ownerPid' in lock) return { kafka: [], registry: [] };
  try {
    for (const left of await readdir(jars.dir)) {
      if (left.startsWith(`${name}-`)) await rm(join(jars.dir, left), { recursive: true, force: true });
    }
    if ((await readClassData(dir)) === undefined) await makeInto(dir, options);
  } catch (thrown) {
    signal?.throwIfAborted();
    note(log, 'class_data_failed', { err: asError(thrown) });
  } finally {
    await lock.release();
  }
  return (await readClassData(dir)) ?? { kafka: [], registry: [] };
}

/** The archives in a folder; undefined when nobody has tried to make them. */
async function readClassData(dir: string): Promise<ClassData | undefined> {
  let names: string[];
  try {
    names = await readdir(dir);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw thrown;
  }
  // An archive that does not fit (jars moved, say) is passed over by the JVM.
  const use = (part: string): string[] => (names.includes(`${part}.jsa`) ? [`-XX:SharedArchiveFile=${join(dir, `${part}.jsa`)}`, '-Xshare:auto', '-Xlog:cds=off', '-Xlog:cds+dynamic=off'] : []);
  return { kafka: use('kafka'), registry: use('registry') };
}

async function makeInto(dir: string, options: ClassDataOptions): Promise<void> {
  const { onProgress, signal } = options;
  onProgress('preparing Kafka and the registry for quick starts (about half a minute, once)');
  const draft = await mkdtemp(`${dir}-`);
  try {
    await trainBoth(draft, options);
  } catch (thrown) {
    for (const part of ['kafka', 'registry']) await rm(join(draft, `${part}.jsa`), { force: true });
    throw thrown;
  } finally {
    for (const scratch of ['kafka', 'registry', 'logs']) await rm(join(draft, scratch), { recursive: true, force: true });
    if (signal?.aborted) await rm(draft, { recursive: true, force: true });
    else await rename(draft, dir);
  }
}

/** Runs both parts and one registration; each JVM writes its archive when it ends. */
async function trainBoth(draft: string, options: ClassDataOptions): Promise<void> {
  const { jars, java, host, mark, log, signal } = options;
  const kafkaPort = await freePort(host);
  const registryPort = await freePort(host);
  const archive = (part: string): string => `-XX:ArchiveClassesAtExit=${join(draft, `${part}.jsa`)}`;
  const spec = (name: string): Omit<ChildSpec, 'prepare' | 'isReady'> => ({
    name, cwd: draft, lifeline: false, logFile: join(draft, 'logs', `${name}.log`), readyTimeoutMs: 90_000, stopTimeoutMs: dumpTimeoutMs,
  });
  const deps = { log: log.child({}, { level: 'error' }), onSpawn: options.onSpawn, onExit: options.onExit, onFatal: () => undefined };
  const kafka = createSupervised({
    ...spec('kafka'),
    prepare: async () => ({
      command: java.command,
      args: [archive('kafka'), ...(await prepareKafka({ host, port: kafkaPort, dir: join(draft, 'kafka'), mark, java: java.command, classpath: jars.kafkaClasspath, speedUp: [] }))],
    }),
    isReady: async () => await kafkaAnswers(host, kafkaPort),
  }, deps);
  const registry = createSupervised({
    ...spec('registry'),
    prepare: async () => ({
      command: java.command,
      args: [archive('registry'), ...(await prepareRegistry({ host, port: registryPort, kafkaBrokers: `${host}:${kafkaPort}`, dir: join(draft, 'registry'), mark, jar: jars.registryJar, speedUp: [] }))],
    }),
    isReady: async () => await registryAnswers(host, registryPort, log),
  }, deps);
  const stop = (): void => { void Promise.all([registry.stop(), kafka.stop()]); };
  signal?.addEventListener('abort', stop, { once: true });
  try {
    await kafka.start();
    await registry.start();
    const response = await fetch(`http://${host}:${registryPort}/apis/ccompat/v7/subjects/training-value/versions`, {
      method: 'POST', headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
      body: JSON.stringify({ schema: JSON.stringify({ type: 'record', name: 'Training', fields: [{ name: 'id', type: 'string' }] }) }),
    });
    await response.arrayBuffer();
  } finally {
    signal?.removeEventListener('abort', stop);
    await Promise.all([registry.stop(), kafka.stop()]);
  }
}
