import { setTimeout as sleep } from 'node:timers/promises';
import kafkajs from 'kafkajs';
import type { Admin } from 'kafkajs';
import { MillraceError, asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { createKafka } from './connection.ts';
import type { KafkaConnection } from './connection.ts';
import { fatalKafkaFault } from './kafkajs-faults.ts';

export interface TopicPlan {
  topic: string;
  /** Used when the topic is made; an existing one keeps what it has. */
  partitions: number;
  /** Milliseconds. */
  retentionMs: number;
  /** Largest record batch that the broker takes, in bytes. */
  maxMessageBytes: number;
}

/**
 * Makes the topics that are not there yet, with the broker's default replication. An existing topic is left as it is, with a
 * warning where Kafka may delete its records before their time.
 *
 * Their records bear the time at which Kafka took them (message.timestamp.type, KIP-32): by the producer's own times, retention
 * would delete a record that is dated a month ago within minutes of its acknowledgement, read or not.
 * Throws `kafka_unavailable`, or `kafka_refused` where the broker will not have it.
 */
export async function provisionTopics(connection: KafkaConnection, topics: readonly TopicPlan[], log: Log): Promise<void> {
  await withAdmin(connection, log, async admin => {
    const existing = new Set(await admin.listTopics());
    const missing = topics.filter(({ topic }) => !existing.has(topic));
    await warnOfEarlyDeletion(admin, topics.filter(({ topic }) => existing.has(topic)), log);
    if (missing.length === 0) return;
    await admin.createTopics({
      waitForLeaders: false,
      topics: missing.map(({ topic, partitions, retentionMs, maxMessageBytes }) => ({
        topic,
        numPartitions: partitions,
        replicationFactor: -1,
        configEntries: [
          { name: 'retention.ms', value: String(retentionMs) },
          { name: 'message.timestamp.type', value: 'LogAppendTime' },
          { name: 'max.message.bytes', value: String(maxMessageBytes) },
        ],
      })),
    });
    await untilLed(admin, missing);
    for (const { topic, partitions } of missing) note(log, 'topic_made', { topic, partitions });
  });
}

async function warnOfEarlyDeletion(admin: Admin, topics: readonly TopicPlan[], log: Log): Promise<void> {
  if (topics.length === 0) return;
  try {
    const { resources } = await admin.describeConfigs({
      resources: topics.map(({ topic }) => ({ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configNames: ['retention.ms', 'message.timestamp.type'] })),
      includeSynonyms: false,
    });
    for (const { resourceName: topic, configEntries } of resources) {
      const entries = new Map(configEntries.map(({ configName, configValue }) => [configName, configValue]));
      const retentionMs = Number(entries.get('retention.ms') ?? -1);
      if (retentionMs < 0 || entries.get('message.timestamp.type') !== 'CreateTime') continue;
      note(log, 'topic_deletes_early', { topic, retentionMs });
    }
  } catch (thrown) {
    note(log, 'retention_unknown', { error: asError(thrown).message });
  }
}

/** kafkajs' own wait for the leaders fails where a broker does not know the topic yet. */
async function untilLed(admin: Admin, topics: readonly TopicPlan[]): Promise<void> {
  const deadline = Date.now() + 15_000;
  for (;;) {
    try {
      const found = await admin.fetchTopicMetadata({ topics: topics.map(({ topic }) => topic) });
      if (found.topics.every(({ partitions }) => partitions.length > 0 && partitions.every(({ leader }) => leader >= 0))) return;
      if (Date.now() > deadline) throw new Error('topics were made, and have no leaders yet');
    } catch (thrown) {
      if (Date.now() > deadline) throw thrown;
    }
    await sleep(100);
  }
}

/** All topics that there are. Throws `kafka_unavailable` or `kafka_refused`. */
export async function topicNames(connection: KafkaConnection, log: Log): Promise<Set<string>> {
  return withAdmin(connection, log, async admin => new Set(await admin.listTopics()));
}

/** One admin connection for the length of `work`; its faults become `kafka_unavailable` or `kafka_refused`. */
export async function withAdmin<T>(connection: KafkaConnection, log: Log, work: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = createKafka(connection, log).admin({ retry: { retries: 5 } });
  try {
    await admin.connect();
    return await work(admin);
  } catch (thrown) {
    const error = asError(thrown);
    throw new MillraceError(fatalKafkaFault(error) ? 'kafka_refused' : 'kafka_unavailable', `Kafka at ${connection.brokers.join(', ')}: ${error.message}`, { cause: error });
  } finally {
    await admin.disconnect();
  }
}
