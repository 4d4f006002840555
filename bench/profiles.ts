import { randomUUID } from 'node:crypto';
import { endpointsOf } from '../src/compose.ts';
import type { CanonicalEvent } from '../src/event/canonical.ts';
import { eventId } from '../src/event/identity.ts';
import { eventColumns, eventRow } from '../src/event/row.ts';
import { createClickHouse } from '../src/sink/clickhouse.ts';
import type { ClickHouse } from '../src/sink/clickhouse.ts';
import { migrate, readMigrations } from '../src/sink/migrate.ts';
import { createProfiles } from '../src/sink/run.ts';
import { packageRoot } from '../test/helpers/local.ts';
import { freshConfigOn, testLog } from '../test/helpers/shared-stack.ts';
import { makeBed } from './harness/bed.ts';
import type { Bed } from './harness/bed.ts';
import { figureOf, median, short, spread } from './harness/figures.ts';
import type { Bench, Check, Table } from './harness/report.ts';

const usersAtOnce = 50_000;
const reads = 200;

async function database(bed: Bed): Promise<ClickHouse> {
  const config = freshConfigOn({ kafkaBrokers: 'nowhere:9', registryUrl: 'http://127.0.0.1:9', clickhouseUrl: bed.stack.clickhouseUrl ?? '' });
  const connection = { ...endpointsOf(config, null).clickhouse, timeoutMs: 120_000 };
  await migrate(connection, readMigrations(`${packageRoot}/schemas/clickhouse`), testLog());
  const clickhouse = createClickHouse(connection);
  return { ...clickhouse, close: async () => { await clickhouse.command(`DROP DATABASE ${connection.database} SYNC`); await clickhouse.close(); } };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

/** Each user has an identify with six traits and two more events, every second one also an anonymous id with an event of its own. */
async function readProfiles(bed: Bed, users: number, onProgress: (line: string) => void): Promise<{ table: Table; check: Check }> {
  const clickhouse = await database(bed);
  const profiles = createProfiles(clickhouse, testLog());
  try {
    for (let made = 0; made < users; made += usersAtOnce) {
      // Event 0 identifies, 1 is the user's, 2 the anonymous id's, which every second user has.
      await clickhouse.command(`
        INSERT INTO events (tenant, event_id, type, event, user_id, anonymous_id, timestamp, received_at, trait_values, topic, offset)
        SELECT 't', generateUUIDv4(number), ['identify', 'track', 'track'][k + 1], k > 0 ? 'Viewed' : '', k = 2 AND n % 2 = 0 ? '' : concat('user-', toString(n)), n % 2 = 0 AND k != 1 ? concat('anon-', toString(n)) : '',
          toDateTime64('2026-01-01', 3, 'UTC') + (cityHash64(number) % 10000000), toDateTime64('2026-06-01', 3, 'UTC'),
          k = 0 ? map('email', concat('"u', toString(n), '@example.com"'), 'name', '"Some Name"', 'plan', '"pro"', 'age', toString(n % 90), 'company', '{"id":"c1","size":5}', 'gone', 'null') : map(), 'bench', number
        FROM (SELECT number, intDiv(number, 3) AS n, number % 3 AS k FROM numbers(${made * 3}, ${Math.min(usersAtOnce, users - made) * 3}))
        SETTINGS max_insert_block_size = 1000000, max_partitions_per_insert_block = 0, insert_deduplicate = 0`);
      profiles.add({ topic: 'bench', partition: 0, first: BigInt(made * 3), last: BigInt(Math.min(made + usersAtOnce, users) * 3 - 1) });
      await profiles.flush();
      if (made % 250_000 === 0) onProgress(`${made} of ${users} users`);
    }
    const one = (): Promise<unknown[][]> => clickhouse.rows('SELECT * FROM users WHERE tenant = {tenant: String} AND user_id = {id: String}', { tenant: 't', id: `user-${Math.floor(Math.random() * users)}` });
    for (let warm = 0; warm < 10; warm++) await one();
    const empty: number[] = [];
    const profile: number[] = [];
    for (let read = 0; read < reads; read++) {
      empty.push(await timed(() => clickhouse.rows('SELECT 1')));
      profile.push(await timed(async () => {
        const rows = await one();
        if (rows.length !== 1 || Number(rows[0]?.[7]) !== 3) throw new Error(`a profile is wrong: ${JSON.stringify(rows)}`);
      }));
    }
    const [parts] = await clickhouse.rows("SELECT count(), sum(rows) FROM system.parts WHERE active AND database = currentDatabase() AND table = 'profile_facts'");
    return {
      table: {
        title: `One profile of ${users.toLocaleString('en-US')} users`, unit: `ms, medians of ${reads} (least–most); ${String(parts?.[1])} facts in ${String(parts?.[0])} parts`, columns: ['', 'ms'],
        rows: [['SELECT 1', spread(figureOf(empty))], ['one profile', spread(figureOf(profile))]],
      },
      check: { what: `one profile ≤ 50 ms at ${users.toLocaleString('en-US')} users`, value: median(profile), met: median(profile) <= 50 },
    };
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

/** Blocks of mixed events, in turns into a database with profiles and one without: one block, and ten whose profiles are fed together. */
async function insertBlocks(bed: Bed, rounds: number): Promise<Table> {
  const clickhouse = await database(bed);
  try {
    const profiles = createProfiles(clickhouse, testLog());
    const rows: string[][] = [];
    let offset = 0;
    for (const [size, blocks] of [[100, 1], [100, 10], [4_000, 1], [20_000, 1]] as const) {
      const inserts: number[] = [];
      const feeds: number[] = [];
      for (let round = 0; round < 5 * rounds; round++) {
        const first = offset;
        const made = Array.from({ length: blocks }, () => ({
          table: 'events', columns: eventColumns, token: randomUUID(),
          lines: Array.from({ length: size }, (_none, index) => {
            const event = mixedEvent(index);
            return eventRow(event, { topic: 'bench', partition: 0, offset: BigInt(offset++), eventId: eventId(event.tenant, event.messageId), source: 'http', key: null, contentHash: '0' });
          }),
        }));
        inserts.push(await timed(async () => { for (const block of made) await clickhouse.insert(block); }));
        profiles.add({ topic: 'bench', partition: 0, first: BigInt(first), last: BigInt(offset - 1) });
        feeds.push(await timed(() => profiles.flush()));
      }
      rows.push([`${blocks} × ${size.toLocaleString('en-US')}`, spread(figureOf(inserts)), spread(figureOf(feeds)), short(median(feeds) / median(inserts))]);
    }
    await profiles.close();
    return { title: 'What profiles cost beside the inserts', unit: 'ms, medians (least–most); a sink feeds profiles once a second, for all inserts of it together', columns: ['inserts × rows', 'the inserts', 'feeding profiles', 'ratio'], rows };
  } finally {
    await clickhouse.close();
  }
}

export const profilesBench: Bench = async ({ rounds, users, onProgress }) => {
  const bed = await makeBed(['clickhouse']);
  try {
    const inserts = await insertBlocks(bed, rounds);
    const { table, check } = await readProfiles(bed, users, onProgress);
    return { name: 'profiles', tables: [table, inserts], plots: [], checks: [check] };
  } finally {
    await bed.close();
  }
};
