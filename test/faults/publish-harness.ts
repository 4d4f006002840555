import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel, type ITopicConfig } from 'kafkajs';
import { createLog } from '../../src/telemetry.ts';
import type { OutgoingRecord, Publisher } from '../../src/topic/publish.ts';
import { startTestStack } from '../helpers/local.ts';
import { createTopic } from '../helpers/create-topic.ts';

export const log = createLog('fatal');

/** A Kafka of this test's own, which it may kill: the stack starts a killed one again. */
export interface OwnKafka {
  brokers: string;
  pid(): number;
  createTopic(config?: Partial<ITopicConfig>): Promise<string>;
  /** The `id` headers of everything on a topic. */
  ids(topic: string): Promise<string[]>;
  close(): Promise<void>;
}

export async function startOwnKafka(): Promise<OwnKafka> {
  const stack = await startTestStack(['kafka']);
  const brokers = stack.kafkaBrokers as string;
  const kafka = new Kafka({ clientId: 'test', brokers: [brokers], logLevel: logLevel.NOTHING, retry: { retries: 20, maxRetryTime: 1000 } });
  return {
    brokers,
    pid() {
      const pid = stack.parts()[0]?.pid;
      assert.ok(pid !== undefined, 'Kafka is running');
      return pid;
    },
    async createTopic(config = {}) {
      const topic = config.topic ?? `t-${randomUUID()}`;
      const admin = kafka.admin();
      await admin.connect();
      await createTopic(admin, { numPartitions: 12, ...config, topic });
      await admin.disconnect();
      return topic;
    },
    async ids(topic) {
      const admin = kafka.admin();
      await admin.connect();
      const ends = new Map((await admin.fetchTopicOffsets(topic)).map(({ partition, high }) => [partition, BigInt(high)]));
      await admin.disconnect();
      const open = new Set([...ends].filter(([, end]) => end > 0n).map(([partition]) => partition));
      const ids: string[] = [];
      const consumer = kafka.consumer({ groupId: randomUUID(), sessionTimeout: 10_000 });
      await consumer.connect();
      await consumer.subscribe({ topic, fromBeginning: true });
      await consumer.run({
        autoCommit: false,
        eachMessage: async ({ partition, message }) => {
          ids.push(String(message.headers?.['id']));
          if (BigInt(message.offset) + 1n >= (ends.get(partition) ?? 0n)) open.delete(partition);
        },
      });
      await until(() => open.size === 0, 30_000, `${topic} is read to its end`);
      await consumer.disconnect();
      return ids;
    },
    close: () => stack.close(),
  };
}

export function record(topic: string, id: string, valueBytes = 400): OutgoingRecord {
  return { topic, key: Buffer.from(`user-${id}`), value: Buffer.alloc(valueBytes, 'v'), headers: { id } };
}

/** What became of the records of a load, by id. */
export interface Outcome {
  acknowledged: Set<string>;
  failed: Map<string, string>;
}

/** Forty publish calls at a time, of one record or twenty, until `stop` is called. */
export function startLoad(publisher: Publisher, topic: string): Outcome & { stop(): Promise<void> } {
  const acknowledged = new Set<string>();
  const failed = new Map<string, string>();
  let running = true;
  const worker = async (n: number): Promise<void> => {
    while (running) {
      const ids = Array.from({ length: n % 4 === 0 ? 20 : 1 }, () => randomUUID());
      const results = await publisher.publish(ids.map((id) => record(topic, id)));
      results.forEach((result, i) => {
        if (result.ok) acknowledged.add(ids[i] as string);
        else failed.set(ids[i] as string, result.error.code);
      });
      // As slow as a client that was told to wait; otherwise a closed door would be asked thousands of times a second.
      await sleep(results.every((result) => result.ok) ? 1 : 50);
    }
  };
  const workers = Promise.all(Array.from({ length: 40 }, (_, n) => worker(n)));
  return {
    acknowledged,
    failed,
    async stop() {
      running = false;
      await workers;
    },
  };
}

/** Everything acknowledged is on the topic; returns how many copies there are too many. */
export function requireAll(acknowledged: ReadonlySet<string>, onTopic: readonly string[]): number {
  const there = new Set(onTopic);
  const missing = [...acknowledged].filter((id) => !there.has(id));
  assert.deepEqual(missing, [], `${missing.length} of ${acknowledged.size} acknowledged records are missing`);
  return onTopic.length - there.size;
}

export async function until(condition: () => boolean, timeoutMs: number, what: string): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > end) assert.fail(`not within ${timeoutMs} ms: ${what}`);
    await sleep(20);
  }
}

export interface FaultyProxy {
  brokers: string;
  /** The broker gets the next Produce request; the client sees its connection cut instead of the answer. */
  loseNextAnswer(): void;
  lost(): number;
  /** Produce requests so far, and their bytes. */
  produced(): { requests: number; bytes: number };
  /** From now on the answer for this partition carries an error (0: Kafka's own again), whatever Kafka did. */
  failPartition(partition: number, errorCode: number): void;
  close(): Promise<void>;
}

const produceKey = 0;

/**
 * A way to Kafka with faults of the network and the broker. Kafka's answers name its own port; this one's is written
 * in its place, so that clients stay on this way.
 */
export async function startFaultyProxy(brokers: string): Promise<FaultyProxy> {
  const kafkaPort = Number(brokers.split(':')[1]);
  const sockets = new Set<Socket>();
  const errorCodes = new Map<number, number>();
  let toLose = 0;
  let lost = 0;
  const produced = { requests: 0, bytes: 0 };
  const server = createServer((client) => {
    const upstream = connect(kafkaPort, '127.0.0.1');
    const produceIds = new Set<number>();
    for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
      sockets.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
    }
    frames(client, (frame) => {
      if (frame.readInt16BE(4) === produceKey) {
        produceIds.add(frame.readInt32BE(8));
        produced.requests++;
        produced.bytes += frame.length;
      }
      upstream.write(frame);
    });
    frames(upstream, (frame) => {
      if (!produceIds.delete(frame.readInt32BE(4))) renamePort(frame, kafkaPort, (server.address() as AddressInfo).port);
      else if (toLose > 0) {
        toLose--;
        lost++;
        client.destroy();
        return;
      } else if (errorCodes.size > 0) setErrors(frame, errorCodes);
      client.write(frame);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    brokers: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    loseNextAnswer: () => void toLose++,
    lost: () => lost,
    produced: () => ({ ...produced }),
    failPartition: (partition, errorCode) => void (errorCode === 0 ? errorCodes.delete(partition) : errorCodes.set(partition, errorCode)),
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** In an answer to Produce version 7: size, correlation id, [topic, [partition, error, 24 bytes more]]. */
function setErrors(frame: Buffer, errorCodes: ReadonlyMap<number, number>): void {
  let at = 12;
  for (let topics = frame.readInt32BE(8); topics > 0; topics--) {
    at += 2 + frame.readInt16BE(at);
    const partitions = frame.readInt32BE(at);
    at += 4;
    for (let n = 0; n < partitions; n++, at += 30) {
      const errorCode = errorCodes.get(frame.readInt32BE(at));
      if (errorCode !== undefined) frame.writeInt16BE(errorCode, at + 4);
    }
  }
}

/** Whole Kafka messages, length prefix included. */
function frames(socket: Socket, each: (frame: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (rest.length >= 4 && rest.length >= rest.readInt32BE(0) + 4) {
      const end = rest.readInt32BE(0) + 4;
      each(rest.subarray(0, end));
      rest = rest.subarray(end);
    }
  });
}

function renamePort(frame: Buffer, from: number, to: number): void {
  const host = Buffer.from('127.0.0.1');
  for (let at = frame.indexOf(host); at !== -1; at = frame.indexOf(host, at + 1)) {
    const port = at + host.length;
    if (port + 4 <= frame.length && frame.readInt32BE(port) === from) frame.writeInt32BE(to, port);
  }
}
