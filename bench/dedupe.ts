import { randomUUID } from 'node:crypto';
import { endpointsOf } from '../src/compose.ts';
import { createClickHouse } from '../src/sink/clickhouse.ts';
import { createEventTables } from '../src/sink/event-tables.ts';
import { migrate, readMigrations } from '../src/sink/migrate.ts';
import { packageRoot } from '../test/helpers/local.ts';
import { freshConfigOn, testLog } from '../test/helpers/shared-stack.ts';
import { makeBed } from './harness/bed.ts';
import { figureOf, short, spread, usage } from './harness/figures.ts';
import { mergesEnded } from './harness/merges.ts';
import type { Bench } from './harness/report.ts';

const steps = [100_000, 1_000_000, 10_000_000, 100_000_000];
const lookedUp = [1_000, 10_000, 50_000];

/** Id `number` of the table: 128 bits that look like a SHA-256, as event ids do. */
const idOf = (number: string): string => `reinterpretAsUUID(sipHash128(toUInt64(${number})))`;

/** How the look-up of a batch's ids grows with the ids that are stored. Half of those asked for are stored. */
export const dedupeBench: Bench = async ({ rounds, onProgress }) => {
  const bed = await makeBed(['clickhouse']);
  try {
    const config = freshConfigOn({ kafkaBrokers: 'nowhere:9', registryUrl: 'http://127.0.0.1:9', clickhouseUrl: bed.stack.clickhouseUrl ?? '' });
    const connection = { ...endpointsOf(config, null).clickhouse, timeoutMs: 600_000 };
    await migrate(connection, readMigrations(`${packageRoot}/schemas/clickhouse`), testLog());
    const clickhouse = createClickHouse(connection);
    const tables = createEventTables(clickhouse);
    const pid = bed.pidOf('clickhouse');
    const rows: string[][] = [];
    const lines = lookedUp.map(count => ({ label: `${count.toLocaleString('en-US')} ids`, points: [] as { x: number; y: number }[] }));
    let stored = 0;
    for (const step of steps) {
      while (stored < step) {
        const more = Math.min(step - stored, 10_000_000);
        await clickhouse.command(`INSERT INTO event_ids (event_id, topic, partition, offset, stored_at, content_hash)
          SELECT ${idOf('number')}, 'bench', number % 12, intDiv(number, 12), now64(3), sipHash64(number) FROM numbers(${stored}, ${more}) SETTINGS max_insert_block_size = 1000000, insert_deduplicate = 0`);
        stored += more;
        onProgress(`${stored.toLocaleString('en-US')} ids are stored`);
      }
      await mergesEnded(clickhouse, onProgress);
      const [parts] = await clickhouse.rows("SELECT count() FROM system.parts WHERE active AND database = currentDatabase() AND table = 'event_ids'");
      const row = [stored.toLocaleString('en-US'), String(parts?.[0])];
      for (const [at, count] of lookedUp.entries()) {
        const times: number[] = [];
        const before = usage(pid).cpuSeconds;
        for (let round = 0; round < 3 * rounds; round++) {
          const known = (await clickhouse.rows(`SELECT ${idOf(`rand64() % ${stored}`)} FROM numbers(${count / 2})`)).map(([id]) => String(id));
          const ids = [...known, ...Array.from({ length: count / 2 }, () => randomUUID())].toSorted(() => Math.random() - 0.5);
          const began = performance.now();
          const found = await tables.findIds(ids, AbortSignal.timeout(60_000));
          times.push(performance.now() - began);
          if (found.size < new Set(known).size) throw new Error(`${found.size} of ${known.length} stored ids were found`);
        }
        const cpu = ((usage(pid).cpuSeconds - before) * 1e6) / (3 * rounds * count);
        const figure = figureOf(times);
        row.push(spread(figure), short(cpu));
        lines[at]?.points.push({ x: stored, y: figure.median });
        onProgress(`${stored.toLocaleString('en-US')} ids, ${count} looked up: ${short(figure.median)} ms`);
      }
      rows.push(row);
    }
    await clickhouse.command(`DROP DATABASE ${config.clickhouse.database} SYNC`);
    await clickhouse.close();
    return {
      name: 'dedupe',
      tables: [{ title: 'The look-up of ids before an insert', unit: `ms, medians of ${3 * rounds} (least–most); half of the ids are stored`, columns: ['ids in event_ids', 'parts', ...lookedUp.flatMap(count => [`${count.toLocaleString('en-US')} ids, ms`, 'CPU µs an id'])], rows }],
      plots: [{ kind: 'lines', file: 'dedupe', title: 'Looking up the ids of a batch', xLabel: 'ids that are stored', yLabel: 'ms', lines }],
      checks: [],
    };
  } finally {
    await bed.close();
  }
};
