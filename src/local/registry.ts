import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { asError } from '../errors.ts';
import type { Log } from '../telemetry.ts';

export interface RegistrySettings {
  host: string;
  port: number;
  kafkaBrokers: string;
  /** The registry's own folder. It holds nothing that must last: schemas are on Kafka's topic kafkasql-journal. */
  dir: string;
  /** A mark on the command line by which the process is known as ours. */
  mark: string;
  jar: string;
  /** JVM options that only make it start faster. */
  speedUp: readonly string[];
}

/** Makes the registry's folder ready, and returns the arguments for java. */
export async function prepareRegistry(settings: RegistrySettings): Promise<string[]> {
  const { host, port, kafkaBrokers, dir, mark, jar, speedUp } = settings;
  const tmp = join(dir, 'tmp');
  await rm(tmp, { recursive: true, force: true });
  await mkdir(tmp, { recursive: true });
  const properties = {
    'java.awt.headless': 'true',
    'java.net.preferIPv4Stack': 'true',
    'java.io.tmpdir': tmp,
    'quarkus.http.host': host,
    'quarkus.http.port': port,
    'quarkus.http.access-log.enabled': 'false',
    'quarkus.log.console.format': '%d{yyyy-MM-dd HH:mm:ss,SSS} %-5p [%c{1}] %s%e%n',
    'apicurio.storage.kind': 'kafkasql',
    'apicurio.kafkasql.bootstrap.servers': kafkaBrokers,
    // The first poll, for a snapshot, waits this long at every start; the default is 5 s.
    'apicurio.kafkasql.consumer.poll.timeout': 200,
    // The journal is kept whole, so snapshots (files outside Kafka) are not needed.
    'apicurio.kafkasql.snapshot.every.seconds': 'off',
    'apicurio.storage.snapshot.location': tmp,
    'apicurio.import.work-dir': tmp,
  };
  return ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-XX:+ExitOnOutOfMemoryError', ...speedUp,
    ...Object.entries(properties).map(([key, value]) => `-D${key}=${value}`), mark, '-jar', jar];
}

/** Whether the registry has read its journal and answers the Confluent API. */
export async function registryAnswers(host: string, port: number, log: Log, timeoutMs = 2000): Promise<boolean> {
  for (const path of ['/health/ready', '/apis/ccompat/v7/subjects']) {
    if (!(await answersOk(`http://${host}:${port}${path}`, log, timeoutMs))) return false;
  }
  return true;
}

/** Whether a GET is answered with 200 in time. */
export async function answersOk(url: string, log: Log, timeoutMs: number): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) });
    await response.arrayBuffer();
    return response.status === 200;
  } catch (thrown) {
    log.trace({ err: asError(thrown), url }, 'no answer yet');
    return false;
  }
}
