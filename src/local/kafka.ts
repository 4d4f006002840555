import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { MillraceError, asError } from '../errors.ts';
import { lastMeaningfulLine } from './log-file.ts';
import { freePort, portFault } from './ports.ts';

export interface KafkaSettings {
  host: string;
  port: number;
  /** Kafka's own folder: settings, data, temporary files. */
  dir: string;
  /** A mark on the command line by which the process is known as ours. */
  mark: string;
  java: string;
  classpath: string;
  /** JVM options that only make it start faster. */
  speedUp: readonly string[];
}

const maxMessageBytes = 10 * 1024 * 1024;

/** Makes Kafka's folder ready to run from (formatted once), and returns the arguments for java. Throws `child_failed` when formatting fails. */
export async function prepareKafka(settings: KafkaSettings): Promise<string[]> {
  const { dir } = settings;
  await mkdir(dir, { recursive: true });
  const controllerPort = await chooseControllerPort(settings);
  await writeFile(join(dir, 'log4j2.properties'), log4jProperties);
  await writeFile(join(dir, 'server.properties'), kafkaProperties(settings, controllerPort, 'data'));
  if (!(await exists(join(dir, 'data', 'meta.properties')))) await format(settings, controllerPort);
  await rm(join(dir, 'tmp'), { recursive: true, force: true });
  await mkdir(join(dir, 'tmp'));
  // Kafka is long-lived and under load: unlike the registry it keeps the optimising compiler.
  return ['-Xms256m', '-Xmx512m', ...jvmOptions(settings), ...settings.speedUp, '-cp', settings.classpath, 'kafka.Kafka', join(dir, 'server.properties')];
}

function jvmOptions({ dir, mark }: KafkaSettings): string[] {
  return ['-XX:+UseSerialGC', '-XX:+ExitOnOutOfMemoryError', '-Djava.awt.headless=true', '-Djava.net.preferIPv4Stack=true',
    `-Dlog4j2.configurationFile=${join(dir, 'log4j2.properties')}`, `-Djava.io.tmpdir=${join(dir, 'tmp')}`, mark];
}

/** Broker and controller in one process, each topic on this node alone. `data` is the data's folder inside `dir`. */
export function kafkaProperties({ host, port, dir }: KafkaSettings, controllerPort: number, data: string): string {
  const properties: Record<string, string | number | boolean> = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    listeners: `PLAINTEXT://${host}:${port},CONTROLLER://${host}:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://${host}:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'controller.quorum.bootstrap.servers': `${host}:${controllerPort}`,
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'log.dirs': join(dir, data),
    'num.network.threads': 2,
    'num.io.threads': 4,
    'log.cleaner.dedupe.buffer.size': 16 * 1024 * 1024,
    // After a kill -9 the new process is kept out until the old one's session is over; the default is 9 s.
    'broker.session.timeout.ms': 3000,
    'broker.heartbeat.interval.ms': 500,
    'auto.create.topics.enable': false,
    'default.replication.factor': 1,
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 4,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'transaction.state.log.num.partitions': 4,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
    'share.coordinator.state.topic.num.partitions': 1,
    'group.initial.rebalance.delay.ms': 0,
    'group.min.session.timeout.ms': 1000,
    'message.max.bytes': maxMessageBytes,
    'replica.fetch.max.bytes': maxMessageBytes,
    // The registry makes its journal, which must last, without saying how long; topics of ours say it themselves.
    'log.retention.ms': -1,
    // A laptop sleeps and clocks jump: a group's offsets outlive that.
    'offsets.retention.minutes': 60 * 24 * 365,
  };
  return Object.entries(properties).map(([key, value]) => `${key}=${escapeProperty(String(value))}\n`).join('');
}

const log4jProperties = `status = error
rootLogger.level = info
rootLogger.appenderRef.stdout.ref = STDOUT
appender.stdout.type = Console
appender.stdout.name = STDOUT
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d{ISO8601} %-5p %c{1}: %m%n
`;

/** The controller's port of the last run if nobody has it now, else a free one. */
async function chooseControllerPort({ host, port, dir }: KafkaSettings): Promise<number> {
  const path = join(dir, 'controller-port');
  const last = Number(await readFile(path, 'utf8').catch((thrown: unknown) => {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw thrown;
  }));
  if (last > 0 && last !== port && (await portFault(host, last)) === undefined) return last;
  let chosen = await freePort(host);
  while (chosen === port) chosen = await freePort(host);
  await writeFile(path, String(chosen));
  return chosen;
}

/** Formats beside, then renames: a format that was cut short leaves nothing that looks formatted. */
async function format(settings: KafkaSettings, controllerPort: number): Promise<void> {
  const { dir, java, classpath, speedUp } = settings;
  await rm(join(dir, 'formatting'), { recursive: true, force: true });
  const properties = join(dir, 'format.properties');
  await writeFile(properties, kafkaProperties(settings, controllerPort, 'formatting'));
  const args = ['-Xmx256m', '-XX:TieredStopAtLevel=1', ...jvmOptions(settings), ...speedUp, '-cp', classpath,
    'kafka.tools.StorageTool', 'format', '--standalone', '--cluster-id', clusterId(), '--config', properties];
  await mkdir(join(dir, 'tmp'), { recursive: true });
  await new Promise<void>((resolve, reject) => {
    execFile(java, args, { timeout: 60_000 }, (error, stdout, stderr) => {
      if (error === null) resolve();
      else reject(new MillraceError('child_failed', `Kafka's data folder could not be formatted: ${lastMeaningfulLine(`${stdout}\n${stderr}`)}`, { cause: asError(error) }));
    });
  });
  await rm(join(dir, 'data'), { recursive: true, force: true });
  await rename(join(dir, 'formatting'), join(dir, 'data'));
  await rm(properties);
}

/** A UUID in Kafka's text form. One that begins with a dash would be read as an option. */
function clusterId(): string {
  const id = randomBytes(16).toString('base64url');
  return id.startsWith('-') ? clusterId() : id;
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw thrown;
  }
}

/**
 * Whether a Kafka answers here and knows of a live broker: one Metadata request about no topic.
 *
 * Request v5: size int32 | api key int16 = 3 | version int16 = 5 | correlation int32 | client id string | topics int32 = 0 | auto-create int8 = 0
 * Answer v5: size int32 | correlation int32 | throttle int32 | brokers int32 | … (kafka.apache.org/protocol)
 */
export async function kafkaAnswers(host: string, port: number, timeoutMs = 1000): Promise<boolean> {
  const client = 'millrace-probe';
  const request = Buffer.alloc(4 + 2 + 2 + 4 + 2 + client.length + 4 + 1);
  request.writeInt32BE(request.length - 4, 0);
  request.writeInt16BE(3, 4);
  request.writeInt16BE(5, 6);
  request.writeInt32BE(1, 8);
  request.writeInt16BE(client.length, 12);
  request.write(client, 14, 'latin1');
  return await new Promise((resolve) => {
    const socket = connect({ host, port });
    let answer = Buffer.alloc(0);
    const settle = (ready: boolean): void => {
      socket.destroy();
      resolve(ready);
    };
    socket.setTimeout(timeoutMs, () => { settle(false); });
    socket.on('error', () => { settle(false); });
    socket.on('close', () => { settle(false); });
    socket.on('connect', () => socket.write(request));
    socket.on('data', (chunk) => {
      answer = Buffer.concat([answer, chunk]);
      if (answer.length >= 16) settle(answer.readInt32BE(12) > 0);
    });
  });
}

/** Java reads .properties files as Latin-1, and a backslash as an escape: a path may hold anything. */
function escapeProperty(value: string): string {
  return value.replace(/\\/g, '\\\\').replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
