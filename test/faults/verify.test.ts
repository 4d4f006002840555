import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endpointsOf } from '../../src/compose.ts';
import { eventId } from '../../src/event/identity.ts';
import { migrate, readMigrations } from '../../src/sink/migrate.ts';
import { packageRoot } from '../helpers/local.ts';
import { freshConfig, testLog } from '../helpers/shared-stack.ts';
import { queryClient } from '../helpers/system.ts';
import { verify } from './long/verify.ts';
import type { Truth } from './long/verify.ts';

/* The judge of the fault runs must see each kind of difference, or a green run says nothing. */

const record = (place: string, id: string, n: number): Truth => ({ place, expect: `event dev ${id}`, value: Buffer.from(`{"messageId":"${id}","properties":{"n":${n}}}`) });
const truth: Truth[] = [
  record('0/0', 'a', 1),
  record('0/1', 'b', 2),
  record('1/0', 'a', 1),
  { place: '1/1', expect: 'poison unreadable', value: Buffer.from('neither') },
  record('1/2', 'c', 3),
];

test('verify finds what is lost, twice, somebody else’s, unaccounted for, or of other content, and nothing else', async () => {
  const config = freshConfig();
  const { topic: { events: topic } } = config;
  await migrate(endpointsOf(config, null).clickhouse, readMigrations(`${packageRoot}/schemas/clickhouse`), testLog());
  const clickhouse = queryClient(config);
  const run = async (query: string): Promise<void> => void (await clickhouse.command({ query, clickhouse_settings: { mutations_sync: '2' } }));
  const row = (place: string, id: string, n: number): string => {
    const [partition, offset] = place.split('/');
    return `('dev', '${eventId('dev', id)}', '${id}', '${topic}', ${partition}, ${offset}, '{"properties":{"n":${n}}}')`;
  };
  const events = (...rows: string[]): Promise<void> => run(`INSERT INTO events (tenant, event_id, message_id, topic, partition, offset, raw) SETTINGS deduplicate_insert = 'disable' VALUES ${rows.join()}`);
  const outcome = (place: string, kind: string): Promise<void> => run(`INSERT INTO outcomes (topic, partition, offset, outcome) SETTINGS deduplicate_insert = 'disable' VALUES ('${topic}', ${place.replace('/', ', ')}, '${kind}')`);
  const letter = (payload: string): Promise<void> => run(`INSERT INTO dead_letters (topic, partition, offset, code, payload, payload_encoding) SETTINGS deduplicate_insert = 'disable' VALUES ('${topic}', 1, 1, 'unreadable', '${payload}', 'utf8')`);
  const clean = async (): Promise<void> => {
    for (const table of ['events', 'event_ids', 'outcomes', 'dead_letters']) await run(`TRUNCATE TABLE ${table}`);
    await events(row('0/0', 'a', 1), row('0/1', 'b', 2), row('1/2', 'c', 3));
    await outcome('1/0', 'duplicate');
    await outcome('1/1', 'dead_lettered');
    await letter('neither');
  };
  const found = async (acknowledged = ['0/0']): Promise<string[]> => {
    const { faults, doubles } = await verify(config, clickhouse, truth, new Set(acknowledged));
    return [...faults.map(fault => fault.replace(/[ :,].*/, '')), ...doubles.map(() => 'double')];
  };
  try {
    await clean();
    assert.deepEqual(await found(), []);
    const cases: [string, () => Promise<void>, string[]][] = [
      ['a row is gone', () => run(`DELETE FROM events WHERE message_id = 'c'`), ['lost', 'unaccounted', '1']],
      ['a row is there twice', () => events(row('0/1', 'b', 2)), ['twice', '2']],
      ['an id is there from two partitions', () => events(row('1/0', 'a', 1)), ['double']],
      ['an id that nobody sent', () => events(row('0/9', 'z', 9)), ['in', 'a']],
      ['other content', async () => { await run(`DELETE FROM events WHERE message_id = 'b'`); await events(row('0/1', 'b', 22)); }, ['a']],
      ['an outcome is gone', () => run('TRUNCATE TABLE outcomes'), ['unaccounted', 'unaccounted', 'poison']],
      ['an outcome is there twice', () => outcome('1/0', 'duplicate'), ['2']],
      ['a good record is dead-lettered', () => outcome('0/0', 'dead_lettered'), ['stored', 'a']],
      ['a letter is gone', () => run('TRUNCATE TABLE dead_letters'), ['poison']],
      ['a letter is there twice', () => letter('neither'), ['2']],
      ['a letter of other bytes', async () => { await run('TRUNCATE TABLE dead_letters'); await letter('neithes'); }, ['a']],
      ['ids are gone', () => run('TRUNCATE TABLE event_ids'), ['3']],
    ];
    for (const [name, damage, expected] of cases) {
      await clean();
      await damage();
      assert.deepEqual(await found(), expected, name);
    }
    await clean();
    assert.deepEqual(await found(['0/0', '0/7']), ['acknowledged']);
  } finally {
    await run(`DROP DATABASE ${config.clickhouse.database}`);
    await clickhouse.close();
  }
});
