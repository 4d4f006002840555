import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { Kafka, logLevel, type ITopicConfig, type KafkaMessage } from 'kafkajs';
import { createLog } from '../../src/telemetry.ts';
import { partitionOfKey } from '../../src/topic/partition.ts';
import { createPublisher, type OutgoingRecord, type PublisherOptions } from '../../src/topic/publish.ts';
import { freePorts, startTestStack, type TestStack } from '../helpers/local.ts';
import { createTopic } from '../helpers/create-topic.ts';

const log = createLog('silent');
let stack: TestStack;
let brokers: string[];
let kafka: Kafka;
before(async () => {
  stack = await startTestStack(['kafka']);
  brokers = [stack.kafkaBrokers as string];
  kafka = new Kafka({ clientId: 'test', brokers, logLevel: logLevel.NOTHING });
});
after(() => stack.close());

const publisherOf = (options: Partial<PublisherOptions> = {}) => createPublisher({ brokers, clientId: 'test', log, ...options });
const record = (topic: string, key: string | null, value: string | Buffer, more: Partial<OutgoingRecord> = {}): OutgoingRecord => ({
  topic, key: key === null ? null : Buffer.from(key), value: Buffer.from(value), headers: {}, ...more,
});

async function withAdmin<T>(work: (admin: ReturnType<Kafka['admin']>) => Promise<T>): Promise<T> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    return await work(admin);
  } finally {
    await admin.disconnect();
  }
}

async function newTopic(config: Partial<ITopicConfig> = {}): Promise<string> {
  const topic = config.topic ?? `t-${randomUUID()}`;
  await withAdmin((admin) => createTopic(admin, { numPartitions: 12, ...config, topic }));
  return topic;
}

async function read(topic: string, count: number): Promise<(KafkaMessage & { partition: number })[]> {
  const messages: (KafkaMessage & { partition: number })[] = [];
  const consumer = kafka.consumer({ groupId: randomUUID() });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await new Promise<void>((resolve, reject) => {
    consumer.run({
      eachMessage: async ({ partition, message }) => {
        messages.push({ ...message, partition });
        if (messages.length === count) resolve();
      },
    }).catch(reject);
  });
  await consumer.disconnect();
  return messages;
}

test('another client reads what was published, byte for byte, on the partition that its key has in Kafka', { timeout: 60_000 }, async () => {
  const topic = await newTopic();
  const publisher = publisherOf();
  const records = [
    record(topic, 'user-1', 'plain', { headers: { tenant: 'dev', bytes: Buffer.from([0, 255]), text: 'Grüße €' } }),
    record(topic, 'Ünïcode', Buffer.from([0, 1, 2, 255])),
    record(topic, null, 'no key'),
    record(topic, '', ''),
    record(topic, 'user-2', 'a chosen partition', { partition: 7 }),
    record(topic, 'large', Buffer.alloc(300_000, 'x')),
  ];
  const from = Date.now();
  const results = await publisher.publish(records);
  await publisher.close();
  const messages = await read(topic, records.length);
  records.forEach(({ key, value, headers, partition }, n) => {
    const result = results[n];
    assert.ok(result?.ok);
    if (key !== null) assert.equal(result.partition, partition ?? partitionOfKey(key, 12));
    const message = messages.find((m) => m.partition === result.partition && BigInt(m.offset) === result.offset);
    assert.deepEqual(message?.key, key);
    assert.deepEqual(message?.value, value);
    assert.deepEqual(Object.entries(message?.headers ?? {}), Object.entries(headers).map(([name, text]) => [name, Buffer.from(text as string)]));
    assert.ok(Number(message?.timestamp) >= from && Number(message?.timestamp) <= Date.now());
  });
});

test('results come in the order given, and records of one key keep theirs', { timeout: 60_000 }, async () => {
  const topic = await newTopic();
  const publisher = publisherOf();
  const calls = await Promise.all(Array.from({ length: 50 }, (_, call) => publisher.publish(Array.from({ length: 20 }, (_, n) => record(topic, `user-${n % 5}`, `${call}/${n}`)))));
  await publisher.close();
  const byPlace = new Map((await read(topic, 1000)).map((m) => [`${m.partition}/${m.offset}`, String(m.value)]));
  const last = new Map<string, bigint>();
  calls.forEach((results, call) => results.forEach((result, n) => {
    assert.ok(result.ok);
    assert.equal(byPlace.get(`${result.partition}/${result.offset}`), `${call}/${n}`);
    const key = `user-${n % 5}`;
    assert.ok(result.offset > (last.get(key) ?? -1n));
    last.set(key, result.offset);
  }));
});

test('five hundred records of 4 kB for one user are stored, though one batch of them would be refused', { timeout: 60_000 }, async () => {
  const topic = await newTopic({ configEntries: [{ name: 'max.message.bytes', value: '1048588' }] });
  const publisher = publisherOf();
  const results = await publisher.publish(Array.from({ length: 500 }, () => record(topic, 'one-user', Buffer.alloc(4096, 'x'))));
  await publisher.close();
  assert.ok(results.every((result) => result.ok));
  assert.equal(new Set(results.map((result) => result.ok && `${result.partition}`)).size, 1);
});

test('records that are asked for one after the other may have the same memory, however many pieces they take', { timeout: 60_000 }, async () => {
  const topic = await newTopic();
  const publisher = publisherOf();
  const shared = { key: Buffer.alloc(4), value: Buffer.alloc(600), number: Buffer.alloc(4) };
  const results = await publisher.publishEach(2_000, (index) => {
    shared.key.write(String(index % 100).padStart(4, '0'));
    shared.value.fill(`${index} `);
    shared.number.writeUInt32BE(index);
    // One that is larger than a piece among them.
    return { topic, key: index % 7 === 0 ? null : shared.key, value: index === 1_000 ? Buffer.alloc(600_000, `${index} `) : shared.value, headers: { number: [shared.number, null, 'é'] } };
  });
  await publisher.close();
  const messages = new Map((await read(topic, 2_000)).map((message) => [`${message.partition}/${message.offset}`, message]));
  results.forEach((result, index) => {
    assert.ok(result.ok);
    const message = messages.get(`${result.partition}/${result.offset}`);
    assert.deepEqual([message?.key?.toString() ?? null, message?.value?.equals(Buffer.alloc(index === 1_000 ? 600_000 : 600, `${index} `))], [index % 7 === 0 ? null : String(index % 100).padStart(4, '0'), true]);
    assert.deepEqual((message?.headers?.['number'] as Buffer[]).map(each => (each === null ? null : each.toString('hex'))), [index.toString(16).padStart(8, '0'), null, 'c3a9']);
  });
});

test('a record of 8 MiB where the topic takes it; one over 32 MiB is refused without asking', { timeout: 60_000 }, async () => {
  const topic = await newTopic({ configEntries: [{ name: 'max.message.bytes', value: String(9 * 1024 * 1024) }] });
  const publisher = publisherOf();
  const [large, tooLarge, small] = await publisher.publish([
    record(topic, 'a', Buffer.alloc(8 * 1024 * 1024)), record(topic, 'a', Buffer.alloc(33 * 1024 * 1024)), record(topic, 'a', 'small'),
  ]);
  await publisher.close();
  assert.ok(large?.ok && small?.ok);
  assert.ok(tooLarge?.ok === false && tooLarge.error.code === 'kafka_refused');
});

test('a partition that is not there is refused, a topic that is not there yet is waited for', { timeout: 60_000 }, async () => {
  const topic = await newTopic({ numPartitions: 2 });
  const later = `t-${randomUUID()}`;
  const publisher = publisherOf();
  const waiting = publisher.publish([record(later, 'a', 'early'), record(topic, 'a', 'x', { partition: 2 }), record(topic, 'a', 'x')]);
  await newTopic({ topic: later });
  const [early, refused, stored] = await waiting;
  await publisher.close();
  assert.ok(early?.ok && stored?.ok);
  assert.ok(refused?.ok === false && refused.error.code === 'kafka_refused');
});

test('added partitions are used after a refresh of the metadata', { timeout: 60_000 }, async () => {
  const topic = await newTopic({ numPartitions: 1 });
  const publisher = publisherOf({ metadataRefreshMs: 200 });
  const partitionsUsed = async (): Promise<number> => {
    const results = await publisher.publish(Array.from({ length: 100 }, (_, n) => record(topic, `user-${n}`, 'x')));
    return new Set(results.map((result) => (result.ok ? result.partition : -1))).size;
  };
  assert.equal(await partitionsUsed(), 1);
  await withAdmin((admin) => admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] }));
  const end = Date.now() + 10_000;
  let used = 1;
  while (used < 4 && Date.now() < end) used = await partitionsUsed();
  assert.equal(used, 4);
  await publisher.close();
});

test('close lets what is in flight finish, and takes nothing more', { timeout: 60_000 }, async () => {
  const topic = await newTopic();
  const publisher = publisherOf({ topics: [topic] });
  const open = publisher.publish([record(topic, 'a', 'last')]);
  const closing = publisher.close();
  assert.equal(publisher.ready(), false);
  const [refused] = await publisher.publish([record(topic, 'a', 'too late')]);
  assert.ok(refused?.ok === false && refused.error.code === 'kafka_unavailable');
  await closing;
  assert.ok((await open)[0]?.ok);
  await publisher.close();
});

test('what comes while too much is in flight fails at once, and memory is free again afterwards', { timeout: 60_000 }, async () => {
  const topic = await newTopic();
  const publisher = publisherOf({ maxInFlightBytes: 50_000 });
  const first = publisher.publish([record(topic, 'a', Buffer.alloc(60_000))]);
  assert.equal(publisher.inFlight().full, true);
  const [second] = await publisher.publish([record(topic, 'a', 'x')]);
  assert.ok(second?.ok === false && second.error.code === 'kafka_unavailable' && second.error.retryable);
  assert.ok((await first)[0]?.ok);
  assert.deepEqual(publisher.inFlight(), { bytes: 0, records: 0, full: false });
  await publisher.close();
});

test('without any broker: not ready, failed when the time is over, and close ends', { timeout: 20_000 }, async () => {
  const [port] = await freePorts(1);
  const publisher = publisherOf({ brokers: [`127.0.0.1:${port}`], topics: ['t'], retryForMs: 500 });
  const from = Date.now();
  const results = await publisher.publish([record('t', 'a', 'x'), record('t', null, 'x')]);
  assert.ok(Date.now() - from >= 500 && Date.now() - from < 3_000);
  assert.ok(results.every((result) => !result.ok && result.error.code === 'kafka_unavailable'));
  assert.equal(publisher.ready(), false);
  await publisher.close();
});

test('ready once the named topics are known; nothing published is nothing to wait for', { timeout: 20_000 }, async () => {
  const topic = await newTopic();
  const publisher = publisherOf({ topics: [topic] });
  assert.equal(publisher.ready(), false);
  assert.deepEqual(await publisher.publish([]), []);
  const end = Date.now() + 10_000;
  while (!publisher.ready() && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(publisher.ready());
  await publisher.close();
});
