import { makeBed } from './harness/bed.ts';
import type { Bed } from './harness/bed.ts';
import { trackEvent } from './harness/events.ts';
import { figureOf, short, spread, usageOf } from './harness/figures.ts';
import type { Usage } from './harness/figures.ts';
import { load } from './harness/load.ts';
import type { Load } from './harness/load.ts';
import type { Plot } from './harness/plot.ts';
import type { Bench, Check, Table } from './harness/report.ts';

const connections = 32;

const shapes = [
  { name: 'one event a request', path: '/v1/track', batch: 1, least: 0.4, p99Ms: 20 },
  { name: 'batches of 500', path: '/v1/batch', batch: 500, least: 0.15, p99Ms: 300 },
] as const;

interface Served {
  load: Load;
  /** Of all of its processes, and of Kafka, in µs an event. */
  cpu: number;
  kafkaCpu: number;
  rssMb: number;
}

/** Starts a server, warms it up, measures it and stops it. */
async function serve(bed: Bed, start: () => Promise<{ url: string; pids: number[]; stop: () => Promise<unknown> }>, shape: (typeof shapes)[number], seconds: number, name: string): Promise<Served> {
  const { url, pids, stop } = await start();
  try {
    const put = (part: string, forSeconds: number): Promise<Load> => load({ url, path: shape.path, batch: shape.batch, event: trackEvent, connections, seconds: forSeconds, name: `${name}${part}` });
    await put('w', Math.max(2, seconds / 3));
    const kafka = [bed.pidOf('kafka')];
    const [before, kafkaBefore] = [usageOf(pids), usageOf(kafka)];
    const done = await put('m', seconds);
    if (done.failed > 0) throw new Error(`${done.failed} of ${done.requests} requests failed`);
    const [after, kafkaAfter] = [usageOf(pids), usageOf(kafka)];
    const cost = (from: Usage, to: Usage): number => ((to.cpuSeconds - from.cpuSeconds) * 1e6) / done.events;
    return { load: done, cpu: cost(before, after), kafkaCpu: cost(kafkaBefore, kafkaAfter), rssMb: after.rssMb };
  } finally {
    await stop();
  }
}

/** The door against a bare Fastify, in turns: acks=all, validated, with a contract of ten properties. */
export const doorBench: Bench = async ({ rounds, seconds, onProgress, workers }) => {
  const bed = await makeBed(['kafka', 'registry']);
  try {
    const table: Table = {
      title: 'The door, against a bare Fastify that parses and answers', unit: `${connections} connections; medians of ${rounds} rounds in turns (least–most)`,
      columns: ['', 'events/s', 'of the floor', 'p50 ms', 'p99 ms', 'p99.9 ms', 'CPU µs an event', 'Kafka’s CPU µs', 'RSS MB', 'bytes on the topic'], rows: [],
    };
    const checks: Check[] = [];
    const plots: Plot[] = [];
    for (const shape of shapes) {
      const servers = [
        { name: 'bare Fastify, one process', workers: 0 },
        ...workers.map(count => ({ name: count === 1 ? 'millrace' : `millrace --workers ${count}`, workers: count })),
      ];
      const results = new Map<string, Served[]>(servers.map(({ name }) => [name, []]));
      const bytes = new Map<string, number>();
      for (let round = 1; round <= rounds; round++) {
        for (const server of servers) {
          const config = server.workers === 0 ? null : await bed.fresh({ workers: server.workers });
          const served = await serve(bed, async () => {
            const process = config === null ? await bed.floor() : await bed.door(config);
            return { url: process.url, pids: [process.pid, ...process.workerPids()], stop: async () => { process.signal('SIGTERM'); await process.exited; } };
          }, shape, seconds, `${server.workers}r${round}`);
          results.get(server.name)?.push(served);
          if (config !== null && round === 1) bytes.set(server.name, await bed.recordBytes(config.topic.events));
          onProgress(`${shape.name}, round ${round}, ${server.name}: ${short(served.load.eventsPerSecond)} events/s, ${short(served.cpu)} µs CPU an event, p99 ${short(served.load.p99)} ms`);
        }
      }
      const floor = results.get(servers[0]?.name ?? '') ?? [];
      let best = 0;
      for (const { name, workers: count } of servers) {
        const served = results.get(name) ?? [];
        const of = (pick: (one: Served) => number) => figureOf(served.map(pick));
        // Of the same round: what the machine did beside it is the same.
        const ratio = figureOf(served.map(({ load: { eventsPerSecond } }, round) => eventsPerSecond / (floor[round]?.load.eventsPerSecond ?? NaN)));
        if (count > 0) best = Math.max(best, ratio.median);
        table.rows.push([
          `${shape.name}: ${name}`, spread(of(one => one.load.eventsPerSecond)), count === 0 ? '1' : spread(ratio), short(of(one => one.load.p50).median), short(of(one => one.load.p99).median), short(of(one => one.load.p999).median),
          spread(of(one => one.cpu)), count === 0 ? '–' : short(of(one => one.kafkaCpu).median), short(of(one => one.rssMb).median), short(bytes.get(name) ?? NaN),
        ]);
        if (count > 0) checks.push({ what: `${shape.name}, ${name}: p99 ≤ ${shape.p99Ms} ms`, value: of(one => one.load.p99).median, met: of(one => one.load.p99).median <= shape.p99Ms });
        if (count === 1 && shape.batch > 1) checks.push({ what: 'CPU an event in batches ≤ 18 µs, aim at 12', value: of(one => one.cpu).median, met: of(one => one.cpu).median <= 18 });
      }
      plots.push({
        kind: 'bars', file: `door-${shape.batch}`, title: `${shape.name}: events a second`, yLabel: 'events/s',
        groups: servers.map(({ name }) => ({ label: name, bars: [{ label: 'events/s', value: figureOf((results.get(name) ?? []).map(one => one.load.eventsPerSecond)).median }] })),
      });
      checks.push({ what: `${shape.name}: ≥ ${shape.least} of the floor`, value: best, met: best >= shape.least });
    }
    return { name: 'door', tables: [table], plots, checks };
  } finally {
    await bed.close();
  }
};
