import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createClickHouse } from '../../src/sink/clickhouse.ts';
import type { ClickHouse } from '../../src/sink/clickhouse.ts';
import { migrate, readMigrations } from '../../src/sink/migrate.ts';
import { createReconcileTables } from '../../src/sink/reconcile-tables.ts';
import { reconcile } from '../../src/sink/reconcile.ts';
import { packageRoot } from '../helpers/local.ts';
import { sharedStack, testLog } from '../helpers/shared-stack.ts';

let clickhouse: ClickHouse;
const database = `ledger_${randomUUID().slice(0, 8)}`;
before(async () => {
  const connection = { url: sharedStack().clickhouseUrl, database, timeoutMs: 20_000 };
  const migrations = readMigrations(join(packageRoot, 'schemas', 'clickhouse'));
  const before = migrations.findIndex(({ name }) => name.includes('ledger'));
  await migrate(connection, migrations.slice(0, before), testLog());
  clickhouse = createClickHouse(connection);
  await clickhouse.command(`INSERT INTO outcomes (topic, partition, offset, tenant, event_id, outcome, at) VALUES ('events', 0, 0, 'before', generateUUIDv4(), 'duplicate', '2024-01-01 10:59:59')`);
  await migrate(connection, migrations, testLog());
});
after(async () => {
  await clickhouse.command(`DROP DATABASE ${database}`);
  await clickhouse.close();
});

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
const store = (n: number, place: string, key: string, at: string, topic = 'events'): Promise<void> =>
  clickhouse.command(`INSERT INTO events (tenant, event_id, write_key_id, timestamp, received_at, topic, partition, offset) VALUES ('t', '${id(n)}', '${key}', '2020-01-01 00:00:00', '${at}', '${topic}', ${place})`);
/** The reason keeps ClickHouse from dropping a second block like the first. */
const outcome = (n: number, place: string, key: string, at: string, what: string): Promise<void> =>
  clickhouse.command(`INSERT INTO outcomes (topic, partition, offset, tenant, event_id, outcome, reason, write_key_id, received_at) VALUES ('events', ${place}, 't', '${id(n)}', '${what}', '${randomUUID()}', '${key}', '${at}')`);
const ledger = async (where: string): Promise<string[]> =>
  (await clickhouse.rows(`SELECT write_key_id, formatDateTime(hour, '%F %H'), received, stored, duplicate, dead_lettered, dropped, suppressed, in_flight FROM ledger WHERE ${where} ORDER BY write_key_id, hour`)).map(row => row.join(' '));

test('each record counts once, under its own key and hour, whatever became of it', async () => {
  await store(1, '0, 1', 'web', '2025-03-15 10:00:00');
  await store(2, '0, 2', 'web', '2025-03-15 10:59:59.999');
  await store(3, '0, 3', 'web', '2025-03-15 11:00:00');
  await store(4, '1, 1', 'app', '1901-01-01 01:30:00');
  await outcome(1, '1, 2', 'app', '2025-03-15 10:30:00', 'duplicate');
  await outcome(1, '1, 3', 'app', '2025-03-15 10:31:00', 'conflict');
  await outcome(5, '1, 4', '', '2025-03-15 10:31:00', 'dead_lettered');
  await outcome(6, '1, 5', 'web', '2025-03-15 11:31:00', 'suppressed');
  await outcome(7, '1, 6', 'web', '2025-03-15 11:31:00', 'dropped');
  // Written down twice, as two passes of the reconciliation may.
  await outcome(1, '1, 2', 'app', '2025-03-15 10:30:00', 'duplicate');
  assert.deepEqual(await ledger(`tenant = 't'`), [
    ' 2025-03-15 10 1 0 0 1 0 0 ',
    'app 1901-01-01 01 1 1 0 0 0 0 ',
    'app 2025-03-15 10 2 0 2 0 0 0 ',
    'web 2025-03-15 10 2 2 0 0 0 0 ',
    'web 2025-03-15 11 3 1 0 0 1 1 ',
  ]);
  assert.deepEqual(await ledger(`tenant = 't' AND hour = '2025-03-15 11:00:00'`), ['web 2025-03-15 11 3 1 0 0 1 1 ']);
});

test('an outcome of a record that is in events does not count', async () => {
  const before = await ledger(`tenant = 't'`);
  await outcome(3, '0, 3', 'web', '2025-03-15 11:00:00', 'duplicate');
  assert.deepEqual(await ledger(`tenant = 't'`), before);
});

test('outcomes from before the ledger are under no key, in the hour in which they were written', async () => {
  assert.deepEqual(await ledger(`tenant = 'before'`), [' 2024-01-01 10 1 0 1 0 0 0 ']);
});

test('ledger_gaps counts the offsets that nothing accounts for', async () => {
  const gaps = async (): Promise<string[]> => (await clickhouse.rows('SELECT * FROM ledger_gaps ORDER BY topic, partition')).map(row => row.join(' '));
  assert.deepEqual(await gaps(), ['events 0 0 3 4 0', 'events 1 1 6 6 0']);
  await store(8, '1, 10', 'web', '2025-03-15 10:00:00');
  await store(9, '18, 9007199254740993', 'web', '2025-03-15 10:00:00', 'far');
  assert.deepEqual(await gaps(), ['events 0 0 3 4 0', 'events 1 1 10 7 3', 'far 18 9007199254740993 9007199254740993 1 0']);
});

test('a row that the reconciliation removes is a duplicate, under its own key and hour', async () => {
  await store(20, '2, 1', 'first', '2025-04-01 10:00:00');
  await store(20, '3, 1', 'second', '2025-04-01 12:34:56.789');
  assert.equal((await reconcile({ tables: createReconcileTables(clickhouse), log: testLog() })).removed, 1);
  assert.deepEqual((await ledger(`tenant = 't' AND hour >= '2025-04-01 00:00:00'`)).map(row => row.slice(0, -1).split(' ').slice(0, 6).join(' ')), ['first 2025-04-01 10 1 1 0', 'second 2025-04-01 12 1 0 1']);
});
