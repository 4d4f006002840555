import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { digestOf, readConfigFile } from './config-file.ts';
import type { WriteKeyEntry } from './config-file.ts';
import type { ContractEntry } from './contract/contracts.ts';
import type { TopicMapping } from './contract/mapping.ts';
import type { HashedKey } from './door/keys.ts';
import { MillraceError, asError } from './errors.ts';

export interface Config {
  host: string;
  port: number;
  /** Door processes; 1: the door is in the process that is started. */
  workers: number;
  logLevel: string;
  kafka: {
    /** Null: the embedded one. */
    brokers: string[] | null;
    embeddedPort: number;
    /** PEM texts; a part left out is Node's default (its list of authorities, no certificate of our own). */
    ssl: false | { ca?: string; cert?: string; key?: string };
    sasl: { mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'; username: string; password: string } | null;
  };
  registry: { url: string | null; embeddedPort: number; auth: { username: string; password: string } | null };
  clickhouse: { url: string | null; embeddedPort: number; username: string | null; password: string | null; database: string };
  /** Absolute folders. */
  dataDir: string;
  cacheDir: string;
  packageRoot: string;
  javaHome: string | null;
  writeKeys: HashedKey[];
  /** The configuration file, there or not. */
  configPath: string;
  /** It, and the files that it names. */
  configFiles: string[];
  /** Tenant of records that name none; null makes them dead letters. */
  defaultTenant: string | null;
  /** Topics that others write, and how they are read. */
  topics: TopicMapping[];
  /** What events must look like, with the texts of the schemas. */
  contracts: ContractEntry[];
  /** Days that an event id is remembered; null: for good. */
  dedupe: { retentionDays: number | null };
  topic: { events: string; deadLetters: string; partitions: number; retentionMs: number };
  consumerGroup: string;
  /** Milliseconds without a heartbeat until a dead sink's partitions go to others. */
  sessionTimeoutMs: number;
  /** Milliseconds between two looks for events that two sinks stored at once; with what a look takes, they are single again within a minute. */
  reconcileEveryMs: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** What each variable does: `millrace --help` and docs/configuration.md say the same. */
export const variables = {
  HOST: 'address that the door listens on (127.0.0.1)',
  PORT: 'port of the door (8080)',
  KAFKA_BROKERS: 'host:port of brokers, joined by commas; unset: the embedded Kafka',
  KAFKA_SSL: 'true to speak TLS with Kafka (false)',
  KAFKA_SSL_CA: "PEM file of the authorities that signed the brokers' certificates; unset: Node's own list",
  KAFKA_SSL_CERT: 'PEM file of the client certificate (and its chain), where brokers ask for one',
  KAFKA_SSL_KEY: 'PEM file of its private key, not encrypted',
  KAFKA_SASL_MECHANISM: 'plain, scram-sha-256 or scram-sha-512; unset: no SASL',
  KAFKA_SASL_USERNAME: 'SASL user name',
  KAFKA_SASL_PASSWORD: 'SASL password',
  SCHEMA_REGISTRY_URL: 'base of a Confluent-compatible schema registry; unset: the embedded one',
  SCHEMA_REGISTRY_USERNAME: 'Basic user name for the registry',
  SCHEMA_REGISTRY_PASSWORD: 'Basic password for the registry',
  CLICKHOUSE_URL: 'HTTP interface of ClickHouse; unset: the embedded one',
  CLICKHOUSE_USER: 'ClickHouse user (default)',
  CLICKHOUSE_PASSWORD: 'ClickHouse password',
  CLICKHOUSE_DATABASE: 'database of the tables (millrace)',
  MILLRACE_CONFIG: 'the configuration file (millrace.yaml in the working folder, if there)',
  MILLRACE_DATA: "folder of the embedded stack's data (.millrace)",
  MILLRACE_KAFKA_PORT: 'port of the embedded Kafka (9092)',
  MILLRACE_REGISTRY_PORT: 'port of the embedded registry (8081)',
  MILLRACE_CLICKHOUSE_PORT: 'port of the embedded ClickHouse (8123)',
  MILLRACE_CACHE: "folder of the embedded stack's downloads (.millrace/cache beside package.json)",
  MILLRACE_TOPIC_PARTITIONS: 'partitions of the events topic, when it is made (12)',
  MILLRACE_TOPIC_RETENTION_HOURS: 'how long Kafka keeps events, when the topic is made (168)',
  MILLRACE_WORKERS: 'door processes that share the port (1); --workers says the same',
  MILLRACE_LOG_LEVEL: 'trace, debug, info, warn, error, fatal or silent (info; of `up` warn)',
  JAVA_HOME: 'the Java that runs the embedded Kafka and registry; unset: java on PATH',
  NODE_ENV: 'production: the development key is refused',
} as const;

const hour = 3_600_000;

const topicNames = { events: 'millrace.events', deadLetters: 'millrace.dead-letters' };

/**
 * The configuration from the environment and its file. The only reader of variables; everything else is handed what it needs.
 * Throws `config_invalid` with every fault in its message, one a line. `onFile` is told of every file of the configuration, there or not.
 */
export function readConfig(environment: Environment, packageRoot: string, workingFolder: string, role: 'up' | 'door' | 'sink' | 'redrive' | 'replay', onFile?: (path: string) => void): Config {
  const faults: string[] = [];
  /** Commands that run beside `npm start` find its embedded parts by their ports. */
  const beside = role === 'redrive' || role === 'replay';
  const text = (name: keyof typeof variables): string | null => {
    const value = environment[name]?.trim();
    return value === undefined || value === '' ? null : value;
  };
  const integer = (name: keyof typeof variables, fallback: number, low: number, high: number): number => {
    const value = text(name);
    if (value === null) return fallback;
    const number = Number(value);
    if (Number.isInteger(number) && number >= low && number <= high) return number;
    faults.push(`${name}="${value}" is not a whole number from ${low} to ${high}`);
    return fallback;
  };
  const oneOf = <T extends string>(name: keyof typeof variables, allowed: readonly T[]): T | null => {
    const value = text(name);
    if (value === null || (allowed as readonly string[]).includes(value)) return value as T | null;
    faults.push(`${name}="${value}" is none of ${allowed.join(', ')}`);
    return null;
  };
  const url = (name: keyof typeof variables): string | null => {
    const value = text(name);
    if (value === null) return null;
    if (URL.canParse(value) && /^https?:$/.test(new URL(value).protocol)) return value.replace(/\/+$/, '');
    faults.push(`${name}="${value}" is not an http or https URL`);
    return null;
  };
  const credentials = (user: keyof typeof variables, password: keyof typeof variables): { username: string; password: string } | null => {
    const username = text(user);
    return username === null ? null : { username, password: text(password) ?? '' };
  };

  const brokers = text('KAFKA_BROKERS')?.split(',').map(broker => broker.trim()) ?? null;
  for (const broker of brokers ?? []) {
    if (!/^(?:\[[0-9a-fA-F:.]+\]|[^\s:/]+):\d{1,5}$/.test(broker)) faults.push(`KAFKA_BROKERS has "${broker}", which is not host:port`);
  }
  const mechanism = oneOf('KAFKA_SASL_MECHANISM', ['plain', 'scram-sha-256', 'scram-sha-512'] as const);
  const saslUser = credentials('KAFKA_SASL_USERNAME', 'KAFKA_SASL_PASSWORD');
  if (mechanism === null && saslUser !== null && text('KAFKA_SASL_MECHANISM') === null) faults.push('KAFKA_SASL_USERNAME is set, KAFKA_SASL_MECHANISM is not');
  if (mechanism !== null && saslUser === null) faults.push('KAFKA_SASL_MECHANISM is set, KAFKA_SASL_USERNAME is not');
  if (brokers === null && (mechanism !== null || text('KAFKA_SSL') === 'true')) faults.push('KAFKA_SSL or KAFKA_SASL_MECHANISM is set, KAFKA_BROKERS is not: the embedded Kafka has neither');
  const database = text('CLICKHOUSE_DATABASE') ?? 'millrace';
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,62}$/.test(database)) faults.push(`CLICKHOUSE_DATABASE="${database}" is not a plain identifier`);
  const production = text('NODE_ENV') === 'production';
  const pem = (name: keyof typeof variables, kind: RegExp): string | undefined => {
    const path = text(name);
    if (path === null) return undefined;
    try {
      const content = readFileSync(resolve(workingFolder, path), 'utf8');
      if (kind.test(content)) return content;
      faults.push(`${name}="${path}" is not the PEM file that is needed: it has no ${kind.source.replaceAll('.*', '… ')}`);
    } catch (thrown) {
      faults.push(`${name}="${path}" cannot be read: ${asError(thrown).message}`);
    }
    return undefined;
  };
  const [ca, cert, key] = [pem('KAFKA_SSL_CA', /BEGIN .*CERTIFICATE/), pem('KAFKA_SSL_CERT', /BEGIN .*CERTIFICATE/), pem('KAFKA_SSL_KEY', /BEGIN .*PRIVATE KEY/)];
  const sslNames = (['KAFKA_SSL_CA', 'KAFKA_SSL_CERT', 'KAFKA_SSL_KEY'] as const).filter(name => text(name) !== null);
  const ssl = oneOf('KAFKA_SSL', ['true', 'false'] as const) === 'true' && { ...(ca !== undefined && { ca }), ...(cert !== undefined && { cert }), ...(key !== undefined && { key }) };
  if (ssl === false && sslNames.length > 0) faults.push(`${sslNames.join(', ')} ${sslNames.length > 1 ? 'are' : 'is'} set, but KAFKA_SSL is not true`);
  if ((text('KAFKA_SSL_CERT') === null) !== (text('KAFKA_SSL_KEY') === null)) faults.push('of KAFKA_SSL_CERT and KAFKA_SSL_KEY only one is set');
  const logLevel = oneOf('MILLRACE_LOG_LEVEL', ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const) ?? (role === 'up' || beside ? 'warn' : 'info');

  const embedded = {
    kafka: integer('MILLRACE_KAFKA_PORT', 9092, 1, 65_535),
    registry: integer('MILLRACE_REGISTRY_PORT', 8081, 1, 65_535),
    clickhouse: integer('MILLRACE_CLICKHOUSE_PORT', 8123, 1, 65_535),
  };

  const configPath = resolve(workingFolder, text('MILLRACE_CONFIG') ?? 'millrace.yaml');
  const configFiles: string[] = [];
  const read = readConfigFile(configPath, packageRoot, Object.values(topicNames), path => {
    configFiles.push(path);
    onFile?.(path);
  });

  const configured = read?.file.writeKeys ?? [];
  const keyEntries: readonly WriteKeyEntry[] = configured.length > 0 || production ? configured : [{ id: 'dev', tenant: 'dev', key: 'dev' }];
  if (production && (role === 'up' || role === 'door')) {
    if (configured.length === 0 && (read?.faults ?? []).length === 0) faults.push('NODE_ENV=production, and no write key is configured: the key "dev" is known to everybody. `npx millrace key new` makes one for writeKeys of millrace.yaml');
    for (const { id, key } of configured) if (key !== undefined) faults.push(`NODE_ENV=production, and the write key ${id} stands in millrace.yaml as plain text: put its SHA-256 there (keySha256)`);
  }

  const config: Config = {
    host: text('HOST') ?? '127.0.0.1',
    port: integer('PORT', 8080, 0, 65_535),
    workers: integer('MILLRACE_WORKERS', 1, 1, 256),
    logLevel,
    kafka: {
      brokers: brokers ?? (beside ? [`127.0.0.1:${embedded.kafka}`] : null),
      embeddedPort: embedded.kafka,
      ssl,
      sasl: mechanism !== null && saslUser !== null ? { mechanism, ...saslUser } : null,
    },
    registry: {
      url: url('SCHEMA_REGISTRY_URL') ?? (beside ? `http://127.0.0.1:${embedded.registry}/apis/ccompat/v7` : null),
      embeddedPort: embedded.registry,
      auth: credentials('SCHEMA_REGISTRY_USERNAME', 'SCHEMA_REGISTRY_PASSWORD'),
    },
    clickhouse: {
      url: url('CLICKHOUSE_URL') ?? (beside ? `http://127.0.0.1:${embedded.clickhouse}` : null),
      embeddedPort: embedded.clickhouse,
      username: text('CLICKHOUSE_USER'),
      password: text('CLICKHOUSE_PASSWORD'),
      database,
    },
    dataDir: resolve(workingFolder, text('MILLRACE_DATA') ?? '.millrace'),
    cacheDir: resolve(workingFolder, text('MILLRACE_CACHE') ?? join(packageRoot, '.millrace', 'cache')),
    packageRoot,
    javaHome: text('JAVA_HOME'),
    writeKeys: keyEntries.map(entry => ({
      id: entry.id,
      tenant: entry.tenant,
      keySha256: digestOf(entry),
      allow: entry.allow ?? null,
      rateLimit: entry.rateLimit === undefined ? null : { burst: Math.max(1, Math.ceil(2 * entry.rateLimit.eventsPerSecond)), ...entry.rateLimit },
      origins: entry.origins ?? null,
    })),
    configPath,
    configFiles,
    defaultTenant: read === null ? 'dev' : (read.file.defaultTenant ?? null),
    topics: read?.file.topics ?? [],
    contracts: read?.contracts ?? [],
    dedupe: { retentionDays: read?.file.dedupe?.retentionDays ?? null },
    topic: {
      ...topicNames,
      partitions: integer('MILLRACE_TOPIC_PARTITIONS', 12, 1, 10_000),
      retentionMs: integer('MILLRACE_TOPIC_RETENTION_HOURS', 168, 1, 1_000_000) * hour,
    },
    consumerGroup: 'millrace.sink',
    sessionTimeoutMs: 10_000,
    reconcileEveryMs: 20_000,
  };

  if (read === null && text('MILLRACE_CONFIG') !== null) faults.push(`MILLRACE_CONFIG="${configPath}" is not there`);
  faults.push(...(read?.faults ?? []));

  if (role === 'up' && brokers !== null && text('SCHEMA_REGISTRY_URL') === null && (ssl !== false || mechanism !== null)) {
    faults.push('SCHEMA_REGISTRY_URL is not set: the embedded registry cannot keep its schemas in a Kafka with TLS or SASL');
  }
  // In production each role runs alone, against parts that others run.
  if (role === 'door' || role === 'sink') {
    const needed = role === 'door' ? (['KAFKA_BROKERS', 'SCHEMA_REGISTRY_URL'] as const) : (['KAFKA_BROKERS', 'SCHEMA_REGISTRY_URL', 'CLICKHOUSE_URL'] as const);
    for (const name of needed) if (text(name) === null) faults.push(`${name} is not set: \`millrace ${role}\` runs no embedded stack (\`millrace up\` does)`);
  }
  if (faults.length > 0) {
    throw new MillraceError('config_invalid', faults.join('\n'), { hint: 'See `npx millrace --help` for every variable, and docs/configuration.md for the file.' });
  }
  return config;
}
