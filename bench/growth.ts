import { randomUUID } from 'node:crypto';
import { endpointsOf } from '../src/compose.ts';
import type { Config } from '../src/config.ts';
import { createClickHouse } from '../src/sink/clickhouse.ts';
import { migrate, readMigrations } from '../src/sink/migrate.ts';
import { packageRoot } from '../test/helpers/local.ts';
import { testLog } from '../test/helpers/shared-stack.ts';
import { makeBed } from './harness/bed.ts';
import type { Bed, FreshOptions } from './harness/bed.ts';
import { tenContract } from './harness/contract.ts';
import { trackEvent } from './harness/events.ts';
import { short } from './harness/figures.ts';
import { mergesEnded } from './harness/merges.ts';
import type { Bench } from './harness/report.ts';
import { drain, dropDatabase, fillEvents, makeEvent, startMillrace } from './sink.ts';

interface Variation {
  axis: string;
  value: number;
  options?: FreshOptions;
  text?: string;
  users?: number;
  /** Rows that are in `events` before. */
  before?: number;
}

const wide = (count: number): string => trackEvent.replace('"properties":{', `"properties":{${Array.from({ length: count - 10 }, (_none, at) => `"property_${at}":${at % 2 === 0 ? at : `"value ${at}"`},`).join('')}`);

const variations: readonly Variation[] = [
  ...[1, 6, 64].map(value => ({ axis: 'partitions', value, options: { partitions: value } })),
  ...[1_000, 1_000_000].map(value => ({ axis: 'users', value, users: value })),
  ...[1_000, 100_000, 10_000_000].map(value => ({ axis: 'rows in events already', value, before: value })),
  ...[10, 500].map(value => ({ axis: 'properties of an event', value, text: wide(value), options: { contracts: [] } })),
  ...[1, 50].map(value => ({ axis: 'contracts', value, options: { contracts: Array.from({ length: value }, (_none, at) => ({ ...tenContract[0], tenant: at === 0 ? 'dev' : `t${at}` })) as Config['contracts'] } })),
];

/** Rows as the sink would have stored them, made by ClickHouse itself. */
async function fillTable(config: Config, rows: number, onProgress: (line: string) => void): Promise<void> {
  const { clickhouse: connection } = endpointsOf(config, null);
  await migrate(connection, readMigrations(`${packageRoot}/schemas/clickhouse`), testLog());
  const clickhouse = createClickHouse({ ...connection, timeoutMs: 600_000 });
  for (let made = 0; made < rows; made += 1_000_000) {
    await clickhouse.command(`
      INSERT INTO events (tenant, event_id, message_id, dialect, source, type, event, user_key, user_id, timestamp, received_at, properties, context, topic, partition, offset, raw)
      SELECT 'dev', generateUUIDv4(number), concat('before-', toString(number)), 'segment', 'http', 'track', concat('Event ', toString(number % 50)), concat('user-', toString(number % 100000)), concat('user-', toString(number % 100000)),
        now64(3) - number % 8640000, now64(3), concat('{"order_id":"ord_', toString(number), '","total":', toString(number % 1000), ',"currency":"EUR","items":3}')::JSON(max_dynamic_paths = 16), '{"library":{"name":"analytics-node"}}'::JSON(max_dynamic_paths = 16),
        'before', number % 12, intDiv(number, 12), concat('{"messageId":"before-', toString(number), '","type":"track"}')
      FROM numbers(${made}, ${Math.min(1_000_000, rows - made)}) SETTINGS max_insert_block_size = 100000, insert_deduplicate = 0, max_threads = 1`);
  }
  await mergesEnded(clickhouse, onProgress);
  await clickhouse.close();
}

async function measure(bed: Bed, { options, text = trackEvent, users, before }: Variation, events: number, onProgress: (line: string) => void): Promise<{ sinkCpu: number; clickhouseCpu: number; rowsPerSecond: number; peakMb: number }> {
  const config = await bed.fresh(options);
  const total = Math.ceil(text.length > 2_000 ? events / 10 : events);
  await fillEvents(config, total, index => makeEvent(index, users === undefined ? text : text.replace('user-~', `user-${(index * 7_919) % users}`)));
  if (before !== undefined) await fillTable(config, before, onProgress);
  const drained = await drain(bed, config, total, () => startMillrace(bed, config), onProgress, before ?? 0);
  await dropDatabase(config);
  return { sinkCpu: drained.sinkCpu, clickhouseCpu: drained.clickhouseCpu, rowsPerSecond: drained.rowsPerSecond, peakMb: drained.sinkPeakMb };
}

/** How the cost of a row grows with one thing at a time. */
export const growthBench: Bench = async ({ events, onProgress }) => {
  const bed = await makeBed(['kafka', 'registry', 'clickhouse']);
  try {
    const rows: string[][] = [];
    const lines = new Map<string, { label: string; points: { x: number; y: number }[] }>();
    // Nobody's first figure should be that of a cold ClickHouse.
    await measure(bed, { axis: randomUUID(), value: 0 }, Math.min(events, 20_000), onProgress);
    for (const variation of variations) {
      const { axis, value } = variation;
      const measured = await measure(bed, variation, Math.min(events, 60_000), onProgress);
      rows.push([axis, value.toLocaleString('en-US'), short(measured.rowsPerSecond), short(measured.sinkCpu), short(measured.clickhouseCpu), short(measured.peakMb)]);
      const line = lines.get(axis) ?? { label: axis, points: [] };
      line.points.push({ x: value, y: measured.sinkCpu + measured.clickhouseCpu });
      lines.set(axis, line);
      onProgress(`${axis} ${value}: ${short(measured.rowsPerSecond)} rows/s, sink ${short(measured.sinkCpu)}, ClickHouse ${short(measured.clickhouseCpu)} µs a row`);
    }
    return {
      name: 'growth',
      tables: [{ title: 'How the cost of a row grows', unit: 'one thing at a time; from Kafka to the row', columns: ['what', 'how many', 'rows/s', 'sink’s CPU µs a row', 'ClickHouse’s CPU µs a row', 'sink, largest MB'], rows }],
      plots: [{ kind: 'lines', file: 'growth', title: 'CPU of sink and ClickHouse a row', xLabel: 'how many', yLabel: 'µs a row', lines: [...lines.values()] }],
      checks: [],
    };
  } finally {
    await bed.close();
  }
};
