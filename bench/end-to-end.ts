import { ask, queryClient } from '../test/helpers/system.ts';
import { makeBed } from './harness/bed.ts';
import { trackEvent } from './harness/events.ts';
import { at, short, usage } from './harness/figures.ts';
import { load } from './harness/load.ts';
import type { Bench } from './harness/report.ts';

const pause = (ms: number): Promise<unknown> => new Promise(resolve => setTimeout(resolve, ms));

/** Door, Kafka, sink and ClickHouse on one machine: how many events come through, and how soon they can be counted at half of that. */
export const endToEndBench: Bench = async ({ seconds, onProgress }) => {
  const bed = await makeBed(['kafka', 'registry', 'clickhouse']);
  try {
    const config = await bed.fresh();
    const sink = await bed.sink(config);
    const door = await bed.door(config);
    const clickhouse = queryClient(config);
    const rows = async (): Promise<number> => Number((await ask<{ n: string }>(clickhouse, 'SELECT count() AS n FROM events'))[0]?.n);
    const until = async (wanted: number): Promise<void> => {
      for (const deadline = performance.now() + 600_000; (await rows()) < wanted; await pause(100)) if (performance.now() > deadline) throw new Error(`${await rows()} of ${wanted} rows`);
    };
    const warm = await load({ url: door.url, path: '/v1/batch', batch: 100, event: trackEvent, connections: 8, seconds: 3, name: 'warm' });
    await until(warm.events);

    // All that the door takes at full speed, until the last of it is a row.
    const began = performance.now();
    const full = await load({ url: door.url, path: '/v1/batch', batch: 500, event: trackEvent, connections: 32, seconds, name: 'full' });
    await until(warm.events + full.events);
    const limit = (full.events * 1_000) / (performance.now() - began);
    onProgress(`the door took ${short(full.eventsPerSecond)} events/s, and ${short(limit)} a second were rows in the end`);

    // Half of that, and a probe now and then.
    const half = limit / 2;
    const seen = new Map<string, { acknowledged: number; visible: number | null }>();
    let going = true;
    const probing = (async () => {
      for (let number = 0; going; number++) {
        const messageId = `probe-${number}`;
        const response = await fetch(`${door.url}/v1/track`, { method: 'POST', headers: { authorization: 'Basic ZGV2Og==', 'content-type': 'application/json' }, body: JSON.stringify({ messageId, userId: `probe-${number}`, event: 'Probe' }) });
        if (response.status !== 200) throw new Error(`a probe was answered with ${response.status}`);
        seen.set(messageId, { acknowledged: performance.now(), visible: null });
        await pause(50);
      }
    })();
    const watching = (async () => {
      while (going || [...seen.values()].some(({ visible }) => visible === null)) {
        const found = await ask<{ message_id: string }>(clickhouse, "SELECT message_id FROM events WHERE tenant = 'dev' AND event = 'Probe'");
        const now = performance.now();
        for (const { message_id: id } of found) {
          const probe = seen.get(id);
          if (probe !== undefined) probe.visible ??= now;
        }
        // Each question costs ClickHouse some milliseconds, too.
        await pause(150);
      }
    })();
    const inserts = async (): Promise<number> => Number((await ask<{ n: string }>(clickhouse, 'SELECT uniqExact(stored_at) AS n FROM events'))[0]?.n);
    const insertsBefore = await inserts();
    const pids = { door: door.pid, sink: sink.pid, Kafka: bed.pidOf('kafka'), ClickHouse: bed.pidOf('clickhouse') };
    const before = Object.values(pids).map(pid => usage(pid).cpuSeconds);
    const paced = await load({ url: door.url, path: '/v1/batch', batch: 50, event: trackEvent, connections: 16, seconds: Math.max(20, 3 * seconds), rate: half, name: 'half' });
    const lasted = (paced.events / paced.eventsPerSecond) * 1_000;
    going = false;
    await Promise.all([probing, watching]);
    const after = Object.values(pids).map(pid => usage(pid));
    const made = (await inserts()) - insertsBefore;
    const waits = [...seen.values()].map(({ acknowledged, visible }) => (visible ?? NaN) - acknowledged);
    const p99 = at(waits, 0.99);
    await clickhouse.close();
    return {
      name: 'end-to-end',
      tables: [
        { title: 'From HTTP to a row', unit: 'batches of 500, 32 connections, then batches of 50 at half of what came through', columns: ['', ''], rows: [
          ['the door took at full speed, events/s', short(full.eventsPerSecond)],
          ['came through to the last row, events/s', short(limit)],
          ['at half: events/s', short(paced.eventsPerSecond)],
          ['at half: from the 2xx to the row, ms, p50', short(at(waits, 0.5))],
          ['… p99', short(p99)],
          ['… p99.9', short(at(waits, 0.999))],
          ['at half: inserts a minute', short((made * 60_000) / lasted)],
        ] },
        { title: 'Who uses the processor, at half', unit: 'µs an event, and memory at its largest', columns: ['', 'CPU µs an event', 'largest MB'], rows: Object.keys(pids).map((name, index) => [name, short((((after[index]?.cpuSeconds ?? 0) - (before[index] ?? 0)) * 1e6) / paced.events), short(after[index]?.peakMb ?? NaN)]) },
      ],
      plots: [],
      checks: [{ what: 'p99 from the 2xx to the row ≤ 2,000 ms at half of the limit', value: p99, met: p99 <= 2_000 }],
    };
  } finally {
    await bed.close();
  }
};
