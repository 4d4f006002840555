import { randomUUID } from 'node:crypto';
import { Writable } from 'node:stream';
import { Kafka, logLevel } from 'kafkajs';
import type { Admin } from 'kafkajs';
import { pino } from 'pino';
import type { Log } from '../../src/telemetry.ts';
import { openMetadata } from '../../src/topic/committed-metadata.ts';
import type { KafkaConnection } from '../../src/topic/connection.ts';
import { createPublisher } from '../../src/topic/publish.ts';
import { subscribe } from '../../src/topic/subscribe.ts';
import type { BatchHandler, RecordBatch, SubscribeOptions, Subscription } from '../../src/topic/subscribe.ts';
import { createTopic } from './create-topic.ts';
import { eventually } from './eventually.ts';
import { sharedStack, testLog } from './shared-stack.ts';

/** A topic and a group of a test's own on a real broker. */
export interface TopicScene {
  topic: string;
  groupId: string;
  admin: Admin;
  kafka: Kafka;
  send: (values: string[], partition?: number) => Promise<void>;
  join: (handler: BatchHandler, overrides?: Partial<SubscribeOptions>) => Promise<Subscription>;
  /** What the group has committed, without the envelope. */
  committed: () => Promise<{ partition: number; offset: string; metadata: string; topicId: string | null }[]>;
  /** Deletes the records before an offset. */
  deleteBefore: (partition: number, offset: number) => Promise<void>;
  /** Deletes the topic and makes it again under the same name. */
  remake: (partitions?: number) => Promise<void>;
}

export async function withTopic(partitions: number, work: (scene: TopicScene) => Promise<void>, config: Record<string, string> = {}, connection: KafkaConnection = { brokers: [sharedStack().kafkaBrokers], clientId: 'subscribe-test' }): Promise<void> {
  const topic = `subscribe-${randomUUID()}`;
  const groupId = `group-${topic}`;
  const kafka = new Kafka({ brokers: connection.brokers, clientId: connection.clientId, logLevel: logLevel.NOTHING });
  // Not kafkajs': that one drops records for a partition it does not know yet, without a word.
  const publisher = createPublisher({ ...connection, log: testLog(), metadataRefreshMs: 300 });
  const admin = kafka.admin();
  await admin.connect();
  const create = async (numPartitions: number): Promise<void> => {
    await createTopic(admin, { topic, numPartitions, configEntries: Object.entries(config).map(([name, value]) => ({ name, value })) });
  };
  const joined: Subscription[] = [];
  try {
    await create(partitions);
    await work({
      topic,
      groupId,
      admin,
      kafka,
      async send(values, partition = 0) {
        const results = await publisher.publish(values.map(value => ({ topic, key: null, value: Buffer.from(value), partition, headers: { tenant: 'acme' } })));
        for (const result of results) if (!result.ok) throw result.error;
      },
      async join(handler, overrides = {}) {
        const subscription = await subscribe({
          connection, groupId, topic, handler, sessionTimeoutMs: 6_000, maxWaitMs: 50, minBytes: 1, maxBytesPerPartition: 1_000_000, partitionsConcurrently: 3, closeGraceMs: 1_000,
          log: testLog(), onFatal: error => { throw error; }, ...overrides,
        });
        joined.push(subscription);
        return subscription;
      },
      async committed() {
        // One that is kept looks for the group where it was.
        const fresh = kafka.admin();
        await fresh.connect();
        try {
          const [found] = await fresh.fetchOffsets({ groupId, topics: [topic] });
          return (found?.partitions ?? []).map(({ partition, offset, metadata }) => ({ partition, offset, ...openMetadata(metadata ?? '') }));
        } finally {
          await fresh.disconnect();
        }
      },
      async deleteBefore(partition, offset) {
        // kafkajs looks for the leader in metadata that it has only of topics it was asked about before.
        await admin.fetchTopicOffsets(topic);
        await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(offset) }] });
      },
      async remake(numPartitions = partitions) {
        await admin.deleteTopics({ topics: [topic] });
        await eventually(() => admin.listTopics(), all => !all.includes(topic));
        await create(numPartitions);
      },
    });
  } finally {
    await Promise.all(joined.map(subscription => subscription.close()));
    await admin.deleteTopics({ topics: [topic] }).catch((error: unknown) => testLog().debug({ err: error }, 'the topic is gone already'));
    await Promise.all([publisher.close(), admin.disconnect()]);
  }
}

export const valuesOf = (batch: RecordBatch): string[] => batch.records.map(({ value }) => value?.toString() ?? '');

/** A log that keeps its lines. */
export function keepingLog(): { log: Log; lines: Record<string, unknown>[]; events: (name: string) => Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().split('\n')) if (line !== '') lines.push(JSON.parse(line) as Record<string, unknown>);
      done();
    },
  });
  return { log: pino({ level: 'info', base: null }, stream), lines, events: name => lines.filter(({ event }) => event === name) };
}
