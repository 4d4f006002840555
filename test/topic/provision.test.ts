import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';
import type { Admin, Producer } from 'kafkajs';
import { pino } from 'pino';
import { provisionTopics } from '../../src/topic/provision.ts';
import { createTopic } from '../helpers/create-topic.ts';
import { sharedStack, testLog } from '../helpers/shared-stack.ts';

const connection = { clientId: 'millrace-test', brokers: [sharedStack().kafkaBrokers] };
const kafka = new Kafka({ ...connection, logLevel: logLevel.NOTHING });
const plan = (topic: string) => ({ topic, partitions: 1, retentionMs: 3_600_000, maxMessageBytes: 1_000_000 });
const name = (): string => `provision-${randomUUID()}`;
let admin: Admin;
let producer: Producer;
before(async () => {
  admin = kafka.admin();
  producer = kafka.producer();
  await Promise.all([admin.connect(), producer.connect()]);
});
after(async () => {
  await Promise.all([admin.disconnect(), producer.disconnect()]);
});

test('a record that its producer dated long ago bears the time at which Kafka took it, by which it is kept', async () => {
  const topic = name();
  await provisionTopics(connection, [plan(topic)], testLog());
  const sinceMs = Date.now() - 60_000;
  await producer.send({ topic, messages: [{ value: 'old', timestamp: String(Date.UTC(2020, 0, 1)) }] });
  // By timestamp: the first record that is no older; where there is none, the end.
  assert.deepEqual(await admin.fetchTopicOffsetsByTimestamp(topic, sinceMs), [{ partition: 0, offset: '0' }]);
});

test('a topic that was there and keeps records by their producers’ times is named, and left as it is', async () => {
  const [dated, kept, appended] = [name(), name(), name()];
  await createTopic(admin, { topic: dated, numPartitions: 1, configEntries: [{ name: 'retention.ms', value: '1000000' }] });
  await createTopic(admin, { topic: kept, numPartitions: 1, configEntries: [{ name: 'retention.ms', value: '-1' }] });
  await provisionTopics(connection, [plan(appended)], testLog());
  const warned: { topic: string; event: string }[] = [];
  const log = pino({ level: 'warn' }, { write: line => void warned.push(JSON.parse(line) as { topic: string; event: string }) });
  await provisionTopics(connection, [plan(dated), plan(kept), plan(appended)], log);
  assert.deepEqual(warned.map(({ event, topic }) => [event, topic]), [['topic_deletes_early', dated]]);
});
