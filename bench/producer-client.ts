/**
 * One measurement of bench/producer.ts, in a process of its own: a client's cost without the door around it. One second to warm up,
 * then `--seconds` measured. acks=all, 12 partitions.
 * singles: 128 requests at a time that publish one record each, coalesced. batches: four at a time, 500 records each.
 */
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { Producer, ProduceAcks } from '@platformatic/kafka';
import { Kafka, logLevel } from 'kafkajs';
import { createLog } from '../src/telemetry.ts';
import { partitionOfKey } from '../src/topic/partition.ts';
import { createPublisher, type OutgoingRecord } from '../src/topic/publish.ts';
import type { Client, Figures, Shape } from './producer.ts';

interface Sender {
  /** Resolves when all are acknowledged, throws otherwise. */
  send(records: OutgoingRecord[]): Promise<void>;
  close(): Promise<void>;
}

const { values: args } = parseArgs({
  options: { brokers: { type: 'string', default: '' }, seconds: { type: 'string', default: '2' }, client: { type: 'string' }, shape: { type: 'string' }, topic: { type: 'string' } },
});
const brokers = args.brokers.split(',');
const seconds = Number(args.seconds);
const partitions = 12;
const lingerMs = 1.5;
const maxSendsInFlight = 4;

async function measure(client: Client, shape: Shape, topic: string): Promise<Figures> {
  const sender = await senders[client](topic);
  const [atOnce, size] = shape === 'singles' ? [128, 1] : [4, 500];
  const users = Array.from({ length: 10_000 }, () => Buffer.from(randomUUID()));
  const value = Buffer.alloc(395, 'v');
  let drawn = 0;
  const record = (): OutgoingRecord => ({
    topic,
    key: users[drawn++ % users.length] as Buffer,
    value,
    headers: { tenant: 'dev', dialect: 'segment', 'message-id': `m-${drawn}-0123456789abcdef`, traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' },
  });

  const load = async (ms: number): Promise<{ sent: number; latencies: number[] }> => {
    const end = performance.now() + ms;
    const latencies: number[] = [];
    let sent = 0;
    const worker = async (): Promise<void> => {
      while (performance.now() < end) {
        const from = performance.now();
        await sender.send(Array.from({ length: size }, record));
        latencies.push(performance.now() - from);
        sent += size;
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    return { sent, latencies };
  };

  await load(1_000);
  const cpuFrom = process.cpuUsage();
  const from = performance.now();
  const { sent, latencies } = await load(seconds * 1000);
  const cpu = process.cpuUsage(cpuFrom);
  const elapsedMs = performance.now() - from;
  latencies.sort((a, b) => a - b);
  await sender.close();
  return {
    cpuMicrosPerRecord: (cpu.user + cpu.system) / sent,
    recordsPerSecond: (sent / elapsedMs) * 1000,
    p50Ms: latencies[Math.floor(latencies.length * 0.5)] ?? 0,
    p99Ms: latencies[Math.floor(latencies.length * 0.99)] ?? 0,
  };
}

const senders: Record<Client, (topic: string) => Promise<Sender>> = {
  async kafkajs(topic) {
    const producer = new Kafka({ clientId: 'bench', brokers, logLevel: logLevel.ERROR }).producer({ idempotent: false, maxInFlightRequests: maxSendsInFlight });
    await producer.connect();
    return coalescing(
      async (records) => {
        await producer.sendBatch({
          acks: -1,
          topicMessages: [{ topic, messages: records.map(({ key, value, headers }) => ({ key, value, headers: headers as Record<string, string>, partition: partitionOfKey(key as Buffer, partitions) })) }],
        });
      },
      () => producer.disconnect(),
    );
  },
  async platformatic() {
    const producer = new Producer({ clientId: 'bench', bootstrapBrokers: brokers, strict: false });
    return coalescing(
      async (records) => {
        await producer.send({
          acks: ProduceAcks.ALL,
          messages: records.map(({ topic, key, value, headers }) => ({
            topic, key: key as Buffer, value, partition: partitionOfKey(key as Buffer, partitions),
            headers: new Map(Object.entries(headers).map(([name, text]) => [Buffer.from(name), Buffer.from(text as string)])),
          })),
        });
      },
      () => producer.close(),
    );
  },
  async millrace(topic) {
    const publisher = createPublisher({ brokers, clientId: 'bench', topics: [topic], lingerMs, maxSendsInFlight, log: createLog('warn') });
    return {
      async send(records) {
        for (const result of await publisher.publish(records)) if (!result.ok) throw result.error;
      },
      close: () => publisher.close(),
    };
  },
};

/** What the publisher does by itself, for the clients that don't: one send for what comes within the linger. */
function coalescing(transmit: (records: OutgoingRecord[]) => Promise<void>, close: () => Promise<void>): Sender {
  let waiting: OutgoingRecord[] = [];
  let settled: PromiseWithResolvers | null = null;
  let inFlight = 0;
  let dueMs = 0;
  let timer: NodeJS.Timeout | null = null;
  let immediate: NodeJS.Immediate | null = null;

  const flush = (): void => {
    if (timer !== null) clearTimeout(timer);
    timer = immediate = null;
    if (settled === null || inFlight >= maxSendsInFlight) return;
    const { resolve, reject } = settled;
    const records = waiting;
    waiting = [];
    settled = null;
    inFlight++;
    transmit(records).finally(() => {
      inFlight--;
      if (inFlight === 0 || performance.now() >= dueMs) flush();
    }).then(resolve, reject);
  };

  return {
    close,
    send(records) {
      if (settled === null) {
        settled = withResolvers();
        dueMs = performance.now() + lingerMs;
      }
      for (const record of records) waiting.push(record);
      if (inFlight === 0) immediate ??= setImmediate(flush);
      else timer ??= setTimeout(flush, lingerMs);
      return settled.promise;
    },
  };
}

interface PromiseWithResolvers {
  promise: Promise<void>;
  resolve: () => void;
  reject: (error: unknown) => void;
}

function withResolvers(): PromiseWithResolvers {
  let resolve!: () => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

process.send?.(await measure(args.client as Client, args.shape as Shape, args.topic ?? ''));
process.disconnect?.();
