import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { Config } from './config.ts';
import { createEventAvro } from './contract/event-avro.ts';
import type { EventAvro } from './contract/event-avro.ts';
import type { LiveContracts } from './contract/contracts.ts';
import { createForeignReader } from './contract/foreign.ts';
import { noteJudgement, readJudgement } from './contract/judged.ts';
import { createRecordReader } from './contract/read-record.ts';
import type { ReadSent, RecordReader } from './contract/read-record.ts';
import { createRegistry } from './contract/registry.ts';
import type { Registry } from './contract/registry.ts';
import { dialects } from './door/dialects/all.ts';
import type { Endpoints } from './endpoints.ts';
import { asError } from './errors.ts';
import type { MillraceError } from './errors.ts';
import { listenError } from './local/ports.ts';
import type { Metrics } from './metrics.ts';
import type { BuryDeadLetters, EventRecord, ReadEvents } from './sink/store-events.ts';
import type { Log } from './telemetry.ts';
import { deadLetterRecord } from './topic/dead-letter.ts';
import type { Publisher } from './topic/publish.ts';
import { headerList, headerText } from './topic/record.ts';
import type { SubscribedRecord } from './topic/record.ts';

/* What the roles and tools that compose*.ts puts together have in common. */

export interface Deps {
  log: Log;
  /** Of roles that share a process; default: each its own. */
  metrics?: Metrics;
  /** Reads the configuration anew, where a changed file is to be picked up. */
  reload?: (onFile: (path: string) => void) => Config;
  /** A part gave up for good: the process should close and end. */
  onFatal: (error: MillraceError) => void;
}

/** Something that runs, and how to end it in order. */
export interface Role {
  close(): Promise<void>;
}

export const schemaPath = (config: Config): string => join(config.packageRoot, 'schemas', 'events', 'event.v1.avsc');

export async function listen(app: FastifyInstance, config: Config): Promise<string> {
  try {
    return await app.listen({ host: config.host, port: config.port });
  } catch (thrown) {
    const error = asError(thrown);
    throw listenError('code' in error ? String(error.code) : error.message, config.host, config.port, 'millrace', 'PORT', error);
  }
}

const sentReaders = new Map(dialects.flatMap(({ name, routes }) => routes.flatMap(({ paths, read, type }) => {
  const reader: ReturnType<ReadSent> = (value, text, source) => read(value, text, { ...source, dialect: name, ...(type && { type }) });
  return paths.map(path => [`${name} ${path}`, reader] as const);
})));
const readSent: ReadSent = (dialect, path) => sentReaders.get(`${dialect} ${path}`) ?? null;

/** How each topic is read: those of others by their mapping, all else as the events topic. */
export function createReaders(config: Config, avro: EventAvro, registry: Registry): (topic: string) => RecordReader {
  const own = createRecordReader(avro, registry, config.defaultTenant, readSent);
  const foreign = new Map(config.topics.map(mapping => [mapping.name, createForeignReader(mapping, registry)]));
  return topic => foreign.get(topic) ?? own;
}

/** What the door has judged keeps its judgement; events of direct producers get one here. */
export const readEvents = (readerOf: (topic: string) => RecordReader, contracts: LiveContracts): ReadEvents =>
  async (topic, partition, records, rules) => {
    const { judge } = contracts.of(rules);
    const readings = await readerOf(topic).read(records.map(({ offset, key, value, timestampMs, header }) => ({ topic, partition, offset, key, value, timestampMs, header })));
    readings.forEach((reading, index) => {
      if (!reading.ok) return;
      const { event, isJudged } = reading;
      const judged = isJudged === true ? readJudgement(records[index]?.header ?? (() => null)) : judge(event);
      if (judged === null) return;
      // The door has put its own into the event already.
      if (isJudged === true) event.judged = judged;
      else noteJudgement(event, judged);
    });
    return readings;
  };

/** A group each: a topic that comes, goes or grows makes no other one rebalance. */
export const groupOf = (config: Config, topic: string): string => (topic === config.topic.events ? config.consumerGroup : `${config.consumerGroup}.topic.${topic}`);

export const eventRecord = (record: SubscribedRecord): EventRecord => ({
  offset: record.offset,
  key: record.key,
  value: record.value,
  timestampMs: record.timestampMs,
  header: name => headerText(record.headers, name),
  headers: () => headerList(record.headers),
});

/** Resolves when Kafka has them all. */
export function buryIn(publisher: Publisher, topic: string): BuryDeadLetters {
  return async letters => {
    const results = await publisher.publish(letters.map(letter => deadLetterRecord(topic, letter)));
    for (const result of results) if (!result.ok) throw result.error;
  };
}

/** Registers the schema of the events topic's values, and says its id. */
export function registerSchema(config: Config, endpoints: Endpoints): Promise<number> {
  return registryOf(endpoints).register(`${config.topic.events}-value`, createEventAvro(schemaPath(config)).schemaText);
}

export function registryOf(endpoints: Endpoints): Registry {
  const { url, auth } = endpoints.registry;
  return createRegistry({ url, timeoutMs: 10_000, ...(auth && { auth }) });
}
