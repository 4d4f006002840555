import { fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Kafka, logLevel } from 'kafkajs';
import { createTopic } from '../test/helpers/create-topic.ts';
import { makeBed } from './harness/bed.ts';
import { figureOf, short, spread } from './harness/figures.ts';
import type { Bench } from './harness/report.ts';

const clients = ['kafkajs', 'platformatic', 'millrace'] as const;
const shapes = ['singles', 'batches'] as const;
export type Client = (typeof clients)[number];
export type Shape = (typeof shapes)[number];

export interface Figures {
  cpuMicrosPerRecord: number;
  recordsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
}

const names: Record<Client, string> = { kafkajs: 'kafkajs, sendBatch', platformatic: '@platformatic/kafka, Producer.send', millrace: 'publish.ts' };

/** Which client produces (docs/adr/0001-producer.md): the same load through each, in turns. */
export const producerBench: Bench = async ({ rounds, seconds, onProgress }) => {
  const bed = await makeBed(['kafka']);
  try {
    const brokers = bed.stack.kafkaBrokers ?? '';
    const topic = `bench-producer-${randomUUID()}`;
    const admin = new Kafka({ clientId: 'bench', brokers: brokers.split(','), logLevel: logLevel.ERROR }).admin();
    await admin.connect();
    await createTopic(admin, { topic, numPartitions: 12 });
    await admin.disconnect();
    const rows: string[][] = [];
    for (const shape of shapes) {
      const measured = new Map<Client, Figures[]>(clients.map(client => [client, []]));
      for (let round = 0; round < rounds; round++) {
        // Every round begins with another client, so that none always finds the broker at its freshest.
        for (const client of [...clients.slice(round % clients.length), ...clients.slice(0, round % clients.length)]) {
          const figures = await inChild(['--brokers', brokers, '--seconds', String(Math.min(seconds, 3)), '--client', client, '--shape', shape, '--topic', topic]);
          measured.get(client)?.push(figures);
          onProgress(`${shape}, round ${round + 1}, ${client}: ${short(figures.cpuMicrosPerRecord)} µs CPU a record`);
        }
      }
      for (const [client, all] of measured) {
        const of = (pick: (one: Figures) => number) => figureOf(all.map(pick));
        rows.push([`${shape}: ${names[client]}`, spread(of(one => one.cpuMicrosPerRecord)), spread(of(one => one.recordsPerSecond)), short(of(one => one.p50Ms).median), short(of(one => one.p99Ms).median)]);
      }
    }
    return {
      name: 'producer',
      tables: [{ title: 'Which client produces', unit: `395-byte values, 12 partitions, acks=all; 128 single records at a time, coalesced, or four batches of 500; medians of ${rounds} rounds in turns (least–most)`, columns: ['', 'CPU µs a record', 'records/s', 'p50 ms', 'p99 ms'], rows }],
      plots: [],
      checks: [],
    };
  } finally {
    await bed.close();
  }
};

function inChild(args: readonly string[]): Promise<Figures> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL('./producer-client.ts', import.meta.url)), args, { execArgv: ['--import', 'tsx'] });
    child.once('message', figures => resolve(figures as Figures));
    child.once('error', reject);
    child.once('exit', code => reject(new Error(`${args.join(' ')}: exit ${code}`)));
  });
}
