import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';
import { subscribeWhenThere } from '../../src/topic/await-topic.ts';
import { eventually } from '../helpers/eventually.ts';
import { sharedStack, testLog } from '../helpers/shared-stack.ts';

test('a topic that is missing, comes, is deleted and comes back is read each time; closing while waiting is quick', async () => {
  const connection = { brokers: [sharedStack().kafkaBrokers], clientId: 'await-topic-test' };
  const kafka = new Kafka({ brokers: connection.brokers, logLevel: logLevel.NOTHING });
  const [admin, producer] = [kafka.admin(), kafka.producer({ allowAutoTopicCreation: false, retry: { retries: 1 } })];
  await Promise.all([admin.connect(), producer.connect()]);
  const topic = `awaited-${randomUUID()}`;
  const seen: string[] = [];
  const fatal: Error[] = [];
  const warnings: string[] = [];
  const log = testLog();
  log.warn = (_details: unknown, message?: string) => void warnings.push(message ?? '');
  const options = {
    connection, groupId: topic, topic, sessionTimeoutMs: 6_000, maxWaitMs: 50, minBytes: 1, maxBytesPerPartition: 1_000_000, partitionsConcurrently: 1, closeGraceMs: 1_000, log, pollMs: 100,
    onFatal: (error: Error) => void fatal.push(error),
    handler: async (batch: { records: { value: Buffer | null }[]; endOffset: bigint }) => {
      seen.push(...batch.records.map(({ value }) => String(value)));
      return batch.endOffset;
    },
  };
  const subscription = subscribeWhenThere(options);
  const make = async (value: string): Promise<void> => {
    await eventually(() => admin.createTopics({ topics: [{ topic, numPartitions: 1 }] }).catch(() => false), Boolean);
    await eventually(() => producer.send({ topic, messages: [{ value }] }).then(() => true, () => false), Boolean);
    await eventually(() => seen, values => values.includes(value), 40_000);
  };
  try {
    assert.equal(subscription.joined(), true);
    await eventually(() => warnings.length, count => count === 1);
    await make('first');
    await admin.deleteTopics({ topics: [topic] });
    await eventually(() => warnings, messages => messages.includes('the topic is gone; waiting for it'));
    await make('second');
    assert.deepEqual([fatal, warnings], [[], ['the topic does not exist yet; waiting for it', 'the topic is there now', 'the topic is gone; waiting for it', 'the topic is there now']]);
  } finally {
    await subscription.close();
    await admin.deleteTopics({ topics: [topic] }).catch(() => undefined);
    await Promise.all([admin.disconnect(), producer.disconnect()]);
  }
  const idle = subscribeWhenThere({ ...options, topic: `${topic}-never`, pollMs: 60_000 });
  const started = Date.now();
  await idle.close();
  assert.ok(Date.now() - started < 5_000);
});
