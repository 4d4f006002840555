/**
 * Profiles: how long one takes to read among many, and what they cost an insert.
 *   node --import tsx bench/profiles.ts --clickhouse http://127.0.0.1:8123 [--users 1000000] [--reads 200] [--rounds 25]
 * Reads: each user has an identify with six traits and two more events, every second one also an anonymous id with an event of its own.
 * Inserts: blocks of mixed events, in turns into a database with the views and one without. Makes databases of its own and drops them.
 * The figures of one run are to be compared with one another, not with another machine's.
 */
import { randomUUID } from 'node:crypto';
import { join, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { CanonicalEvent } from '../src/event/canonical.ts';
import { eventId } from '../src/event/identity.ts';
import { eventColumns, eventRow } from '../src/event/row.ts';
import { createClickHouse } from '../src/sink/clickhouse.ts';
import type { ClickHouse } from '../src/sink/clickhouse.ts';
import { migrate, readMigrations } from '../src/sink/migrate.ts';
import { createLog } from '../src/telemetry.ts';

const { values: args } = parseArgs({
  options: {
    clickhouse: { type: 'string', default: 'http://127.0.0.1:8123' },
    users: { type: 'string', default: '1000000' },
    reads: { type: 'string', default: '200' },
    rounds: { type: 'string', default: '25' },
  },
});
const users = Number(args.users);
const usersAtOnce = 50_000;
const deadline = Date.now() + 600_000;

async function database(name: string): Promise<ClickHouse> {
  const connection = { url: args.clickhouse, database: `${name}_${randomUUID().slice(0, 8)}`, timeoutMs: 60_000 };
  await migrate(connection, readMigrations(join(dirname(fileURLToPath(import.meta.url)), '..', 'schemas', 'clickhouse')), createLog('error'));
  const clickhouse = createClickHouse(connection);
  return { ...clickhouse, close: async () => { await clickhouse.command(`DROP DATABASE ${connection.database}`); await clickhouse.close(); } };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

function at(times: readonly number[], share: number): number {
  return [...times].sort((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * share))] ?? NaN;
}

const figures = (times: readonly number[]): Record<string, string> => ({ median: at(times, 0.5).toFixed(1), p90: at(times, 0.9).toFixed(1), p99: at(times, 0.99).toFixed(1) });

async function reads(): Promise<void> {
  const clickhouse = await database('bench_reads');
  try {
    let made = 0;
    const filling = await timed(async () => {
      while (made < users && Date.now() < deadline) {
        // Event 0 identifies, 1 is the user's, 2 the anonymous id's, which every second user has.
        await clickhouse.command(`
          INSERT INTO events (tenant, event_id, type, event, user_id, anonymous_id, timestamp, received_at, trait_values, topic, offset)
          SELECT 't', generateUUIDv4(number), ['identify', 'track', 'track'][k + 1], k > 0 ? 'Viewed' : '', k = 2 AND n % 2 = 0 ? '' : concat('user-', toString(n)), n % 2 = 0 AND k != 1 ? concat('anon-', toString(n)) : '',
            toDateTime64('2026-01-01', 3, 'UTC') + (cityHash64(number) % 10000000), toDateTime64('2026-06-01', 3, 'UTC'),
            k = 0 ? map('email', concat('"u', toString(n), '@example.com"'), 'name', '"Some Name"', 'plan', '"pro"', 'age', toString(n % 90), 'company', '{"id":"c1","size":5}', 'gone', 'null') : map(), 'bench', number
          FROM (SELECT number, intDiv(number, 3) AS n, number % 3 AS k FROM numbers(${made * 3}, ${usersAtOnce * 3}))
          SETTINGS max_insert_block_size = 1000000, max_partitions_per_insert_block = 0`);
        made += usersAtOnce;
      }
    });
    const one = (): Promise<unknown[][]> => clickhouse.rows('SELECT * FROM users WHERE tenant = {tenant: String} AND user_id = {id: String}', { tenant: 't', id: `user-${Math.floor(Math.random() * made)}` });
    for (let warm = 0; warm < 10; warm++) await one();
    const empty: number[] = [];
    const profile: number[] = [];
    for (let read = 0; read < Number(args.reads); read++) {
      empty.push(await timed(() => clickhouse.rows('SELECT 1')));
      profile.push(await timed(async () => {
        const rows = await one();
        if (rows.length !== 1 || Number(rows[0]?.[7]) !== 3) throw new Error(`a profile is wrong: ${JSON.stringify(rows)}`);
      }));
    }
    const [parts] = await clickhouse.rows("SELECT count(), sum(rows) FROM system.parts WHERE active AND database = currentDatabase() AND table = 'profile_facts'");
    console.log(`${made} users, ${made * 3} events, made in ${(filling / 1000).toFixed(0)} s; profile_facts has ${String(parts?.[1])} rows in ${String(parts?.[0])} parts`);
    console.table({ 'SELECT 1, ms': figures(empty), 'one profile, ms': figures(profile) });
  } finally {
    await clickhouse.close();
  }
}

function mixedEvent(number: number): CanonicalEvent {
  const type = (['track', 'track', 'track', 'track', 'track', 'track', 'track', 'page', 'identify', 'group'] as const)[number % 10] ?? 'track';
  const user = Math.floor(Math.random() * 200_000);
  return {
    tenant: 't', dialect: 'segment', messageId: randomUUID(), type, event: type === 'track' ? 'Viewed' : null, userId: type === 'page' ? null : `user-${user}`, anonymousId: `anon-${user}`, previousId: null,
    groupId: type === 'group' ? `group-${user % 500}` : null, email: null, name: null, category: null, timestampMs: Date.now(), sentAtMs: null, receivedAtMs: Date.now(),
    properties: type === 'track' ? '{"product":"p-123","price":29.99,"quantity":2}' : null, traits: type === 'identify' || type === 'group' ? '{"email":"some@example.com","plan":"pro","age":30,"name":"Some Name"}' : null,
    context: '{"ip":"203.0.113.42","locale":"en-US"}', integrations: null, writeKeyId: 'dev', violations: [], raw: '{"type":"track","userId":"user","event":"Viewed","properties":{"product":"p-123","price":29.99,"quantity":2}}',
  };
}

async function inserts(): Promise<void> {
  const withViews = await database('bench_with');
  const without = await database('bench_without');
  try {
    await without.command('DROP TABLE profile_feed_of_events');
    const table: Record<string, Record<string, string>> = {};
    for (const rows of [100, 4_000]) {
      const times: Record<'with' | 'without', number[]> = { with: [], without: [] };
      for (let round = 0; round < Number(args.rounds) && Date.now() < deadline + 60_000; round++) {
        const lines = Array.from({ length: rows }, (_, index) => {
          const event = mixedEvent(index);
          return eventRow(event, { topic: 'bench', partition: 0, offset: BigInt(round * rows + index), eventId: eventId(event.tenant, event.messageId), source: 'http', key: null, contentHash: '0' });
        });
        const block = { table: 'events', columns: eventColumns, lines, token: randomUUID() };
        for (const which of round % 2 === 0 ? (['with', 'without'] as const) : (['without', 'with'] as const)) {
          times[which].push(await timed(() => (which === 'with' ? withViews : without).insert(block)));
        }
      }
      table[`${rows} rows, without, ms`] = figures(times.without);
      table[`${rows} rows, with profiles, ms`] = figures(times.with);
      table[`${rows} rows, ratio`] = { median: (at(times.with, 0.5) / at(times.without, 0.5)).toFixed(2), p90: (at(times.with, 0.9) / at(times.without, 0.9)).toFixed(2) };
    }
    console.table(table);
  } finally {
    await withViews.close();
    await without.close();
  }
}

await inserts();
await reads();
