/**
 * What a second worker brings: the same load through a door with one worker process and with two, in turns, several rounds.
 *   node --import tsx bench/door.ts [--rounds 3] [--seconds 4] [--path single|batch|intake]
 * Starts a stack of its own in a temporary folder, without a sink. The load comes from this process, on the same cores as Kafka and the doors:
 * on a small machine the ratio says what is left for doors, and CPU an event what a worker costs. Linux only.
 */
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { parseArgs } from 'node:util';
import { endpointsOf, provision } from '../src/compose.ts';
import { startTestStack } from '../test/helpers/local.ts';
import { freshConfigOn, testLog } from '../test/helpers/shared-stack.ts';
import { bundleDoor, spawnDoor } from '../test/helpers/spawn-door.ts';

const { values: args } = parseArgs({ options: { rounds: { type: 'string', default: '3' }, seconds: { type: 'string', default: '4' }, path: { type: 'string', default: 'batch' } } });
const clients = 32;
const clockTicks = 100;
let next = 0;

const properties = { order_id: 'o-1', total: 99.5, currency: 'EUR', items: 3, coupon: 'SPRING', first: true, shipping: 4.9, country: 'DE' };
const track = (): object => ({ type: 'track', event: 'Order Completed', userId: `u${next % 10_000}`, messageId: `bench-${process.pid}-${next++}`, properties });
const shapes: Record<string, { path: string; events: number; body: () => object }> = {
  single: { path: '/api/v1/events', events: 1, body: track },
  batch: { path: '/v1/batch', events: 100, body: () => ({ batch: Array.from({ length: 100 }, track) }) },
  intake: { path: '/v1/events', events: 1, body: () => ({ event_type: 'order.completed', occurred_at: '2025-12-22T10:30:00Z', idempotency_key: `bench-${process.pid}-${next++}`, data: { user_id: 'u', ...properties } }) },
};
const shape = shapes[args.path] ?? shapes['batch'];
if (shape === undefined) throw new RangeError(args.path);

const cpuSeconds = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
  return (Number(stat[11]) + Number(stat[12])) / clockTicks;
};

async function measure(url: string, pids: readonly number[], seconds: number): Promise<{ eventsPerSecond: number; cpuMicros: number; p99Ms: number }> {
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const ends = performance.now() + seconds * 1_000;
  const waits: number[] = [];
  const one = (body: string): Promise<void> => new Promise((resolve, reject) => {
    const sent = request(`${url}${shape?.path ?? ''}`, { method: 'POST', agent, headers: { 'x-api-key': 'dev', 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } }, response => {
      response.resume().on('end', () => (response.statusCode === 200 ? resolve() : reject(new Error(`answered ${response.statusCode}`))));
    });
    sent.on('error', reject);
    sent.end(body);
  });
  const client = async (): Promise<void> => {
    while (performance.now() < ends) {
      const body = JSON.stringify(shape?.body());
      const started = performance.now();
      await one(body);
      waits.push(performance.now() - started);
    }
  };
  const before = pids.map(cpuSeconds);
  const started = performance.now();
  await Promise.all(Array.from({ length: clients }, client));
  const tookSeconds = (performance.now() - started) / 1_000;
  const cpu = pids.reduce((sum, pid, n) => sum + cpuSeconds(pid) - (before[n] ?? 0), 0);
  agent.destroy();
  const events = waits.length * (shape?.events ?? 1);
  return { eventsPerSecond: events / tookSeconds, cpuMicros: (cpu / events) * 1e6, p99Ms: waits.sort((a, b) => a - b)[Math.floor(waits.length * 0.99)] ?? 0 };
}

const stack = await startTestStack(['kafka', 'registry']);
const bundle = await bundleDoor();
try {
  // Without ClickHouse: nothing of this is its time.
  const base = freshConfigOn({ kafkaBrokers: stack.kafkaBrokers ?? '', registryUrl: stack.registryUrl ?? '', clickhouseUrl: 'http://127.0.0.1:9' }, { logLevel: 'error' });
  const config = { ...base, clickhouse: { ...base.clickhouse, url: null } };
  await provision(config, endpointsOf(config, null), testLog());
  const medians = new Map<number, number>();
  const all = new Map<number, number[]>([[1, []], [2, []]]);
  for (let round = 1; round <= Number(args.rounds); round++) {
    for (const workers of [1, 2]) {
      const door = await spawnDoor(bundle.file, { ...config, workers });
      const pids = [door.pid, ...door.workerPids()];
      await measure(door.url, pids, 2);
      const { eventsPerSecond, cpuMicros, p99Ms } = await measure(door.url, pids, Number(args.seconds));
      all.get(workers)?.push(eventsPerSecond);
      console.log(`round ${round}, ${workers} worker${workers > 1 ? 's' : ''}: ${eventsPerSecond.toFixed()} events/s, ${cpuMicros.toFixed(1)} µs CPU an event (primary and workers), p99 ${p99Ms.toFixed()} ms`);
      door.signal('SIGTERM');
      await door.exited;
    }
  }
  for (const [workers, figures] of all) medians.set(workers, figures.sort((a, b) => a - b)[figures.length >> 1] ?? 0);
  console.log(`two workers : one, by the medians: ${((medians.get(2) ?? 0) / (medians.get(1) ?? 1)).toFixed(2)}`);
} finally {
  await bundle.remove();
  await stack.close();
}
