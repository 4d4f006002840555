import { ask, queryClient } from '../test/helpers/system.ts';
import { makeBed } from './harness/bed.ts';
import { trackEvent } from './harness/events.ts';
import { median, short, usage } from './harness/figures.ts';
import { load } from './harness/load.ts';
import type { Bench } from './harness/report.ts';

/** Memory of door and sink under full load, over minutes: it must not grow. */
export const memoryBench: Bench = async ({ minutes, onProgress }) => {
  const bed = await makeBed(['kafka', 'registry', 'clickhouse']);
  try {
    const config = await bed.fresh();
    const sink = await bed.sink(config);
    const door = await bed.door(config);
    const clickhouse = queryClient(config);
    const samples: { atSeconds: number; door: number; sink: number }[] = [];
    const began = performance.now();
    const sampler = setInterval(() => samples.push({ atSeconds: (performance.now() - began) / 1_000, door: usage(door.pid).rssMb, sink: usage(sink.pid).rssMb }), 1_000);
    let events = 0;
    try {
      // In turns, so that the sink is now behind and now waits.
      for (let turn = 0; performance.now() - began < minutes * 60_000; turn++) {
        const batch = turn % 2 === 0 ? 500 : 1;
        const done = await load({ url: door.url, path: batch === 1 ? '/v1/track' : '/v1/batch', batch, event: trackEvent, connections: 32, seconds: 15, name: `t${turn}x` });
        if (done.failed > done.requests / 100) throw new Error(`${done.failed} of ${done.requests} requests failed`);
        events += done.events;
        const [stored] = await ask<{ n: string }>(clickhouse, 'SELECT count() AS n FROM events');
        onProgress(`${short((performance.now() - began) / 60_000)} min: ${events} events taken, ${stored?.n} rows, door ${short(usage(door.pid).rssMb)} MB, sink ${short(usage(sink.pid).rssMb)} MB`);
      }
    } finally {
      clearInterval(sampler);
    }
    await clickhouse.close();
    const third = Math.floor(samples.length / 3);
    const row = (name: 'door' | 'sink'): string[] => {
      const values = samples.map(sample => sample[name]);
      return [name, short(median(values.slice(0, third))), short(median(values.slice(-third))), short(Math.max(...values))];
    };
    const peak = { door: usage(door.pid).peakMb, sink: usage(sink.pid).peakMb };
    return {
      name: 'memory',
      tables: [{ title: `Memory over ${minutes} minutes of full load`, unit: `MB; ${events.toLocaleString('en-US')} events, batches of 500 and single ones in turns`, columns: ['', 'first third, median', 'last third, median', 'largest'], rows: [row('door'), row('sink')] }],
      plots: [{ kind: 'lines', file: 'memory', title: 'Memory under full load', xLabel: 'seconds', yLabel: 'MB', linear: true, lines: (['door', 'sink'] as const).map(name => ({ label: name, points: samples.filter((_sample, index) => index % Math.ceil(samples.length / 120) === 0).map(sample => ({ x: sample.atSeconds, y: sample[name] })) })) }],
      checks: [{ what: 'door ≤ 300 MB', value: peak.door, met: peak.door <= 300 }, { what: 'sink ≤ 512 MB', value: peak.sink, met: peak.sink <= 512 }],
    };
  } finally {
    await bed.close();
  }
};
