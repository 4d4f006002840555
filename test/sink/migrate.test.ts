import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClickHouse } from '../../src/sink/clickhouse.ts';
import { migrate, readMigrations, repeatable, setIdRetention, splitStatements } from '../../src/sink/migrate.ts';
import { packageRoot } from '../helpers/local.ts';
import { sharedStack, testLog } from '../helpers/shared-stack.ts';

test('statements are split at semicolons that end a line; comment lines go', () => {
  assert.deepEqual(splitStatements("-- a; b\nSELECT ';'\n  FROM x;\n\nSELECT 2;\n"), ["SELECT ';'\n  FROM x", 'SELECT 2']);
});

test('every statement of the released files can be repeated', () => {
  for (const { name, statements } of readMigrations(join(packageRoot, 'schemas', 'clickhouse'))) {
    assert.ok(statements.length > 0);
    for (const statement of statements) assert.match(repeatable(statement), /^(CREATE (TABLE|MATERIALIZED VIEW|VIEW|DICTIONARY) IF NOT EXISTS |DROP VIEW IF EXISTS |CREATE OR REPLACE TABLE |INSERT INTO .* NOT IN |ALTER TABLE \w+ (ADD (COLUMN|INDEX) IF NOT EXISTS (?!.* ADD )|MODIFY |MATERIALIZE INDEX \w+$))/s, name);
  }
});

test('no file makes a view that an earlier one drops: views that were dropped are dropped at every start', () => {
  const statements = readMigrations(join(packageRoot, 'schemas', 'clickhouse')).flatMap(migration => migration.statements);
  for (const [at, statement] of statements.entries()) {
    const name = /^DROP VIEW IF EXISTS (\w+)$/.exec(statement)?.[1];
    if (name !== undefined) assert.ok(!statements.slice(at).some(later => new RegExp(`^CREATE .*VIEW ${name}\\b`).test(later)), name);
  }
});

test('files must be numbered without a gap', () => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-migrations-'));
  try {
    writeFileSync(join(folder, '0002_x.sql'), 'SELECT 1;');
    assert.throws(() => readMigrations(folder), { code: 'migration_changed' });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('migrations apply once, heal after a crash in the middle, run at once from two sinks, and refuse an edited file', async () => {
  const connection = { url: sharedStack().clickhouseUrl, database: `migrate_${randomUUID().slice(0, 8)}`, timeoutMs: 20_000 };
  const migrations = readMigrations(join(packageRoot, 'schemas', 'clickhouse'));
  const clickhouse = createClickHouse({ ...connection, database: 'default' });
  try {
    // As if a first start had died after its first statement.
    await clickhouse.command(`CREATE DATABASE ${connection.database}`);
    await clickhouse.command((migrations[0]?.statements[0] ?? '').replace('CREATE TABLE events', `CREATE TABLE ${connection.database}.events`));
    await Promise.all([migrate(connection, migrations, testLog()), migrate(connection, migrations, testLog())]);
    await migrate(connection, migrations, testLog());
    const tables = await clickhouse.rows('SELECT name FROM system.tables WHERE database = {database: String} AND name NOT LIKE \'.inner%\' ORDER BY name', { database: connection.database });
    const made = migrations.flatMap(({ statements }) => statements).flatMap(statement => /^CREATE (?:TABLE|MATERIALIZED VIEW|VIEW|DICTIONARY) (\w+)/.exec(statement)?.[1] ?? []);
    assert.ok(made.includes('events') && made.includes('conflicts'));
    const dropped = migrations.flatMap(({ statements }) => statements).flatMap(statement => /^DROP VIEW IF EXISTS (\w+)/.exec(statement)?.[1] ?? []);
    assert.deepEqual(tables.flat(), [...made, 'migrations'].filter(name => !dropped.includes(name)).sort());
    const edited = migrations.map(migration => ({ ...migration, hash: 'edited' }));
    await assert.rejects(migrate(connection, edited, testLog()), { code: 'migration_changed' });
  } finally {
    await clickhouse.command(`DROP DATABASE IF EXISTS ${connection.database}`);
    await clickhouse.close();
  }
});

test('0008 keeps what a database has: every id, also of rows that are stored without one; look-ups read small granules, blocks are compact parts', async () => {
  const connection = { url: sharedStack().clickhouseUrl, database: `parts_${randomUUID().slice(0, 8)}`, timeoutMs: 20_000 };
  const migrations = readMigrations(join(packageRoot, 'schemas', 'clickhouse'));
  const before = createClickHouse(connection);
  try {
    await migrate(connection, migrations.slice(0, 7), testLog());
    const store = (from: number, count: number): Promise<void> => before.command(
      `INSERT INTO events (tenant, event_id, topic, partition, offset, received_at, content_hash, raw) SELECT 't', toUUID(UUIDNumToString(sipHash128(number))), 'events', 1, number, now64(3), number + 1, repeat('x', 500) FROM numbers(${from}, ${count})`);
    await store(0, 1);
    // As of a sink that stores while the table is made again: the id is in the old one alone.
    await before.command('DETACH TABLE event_ids_of_events');
    await store(1, 1);
    await before.command('ATTACH TABLE event_ids_of_events');
    await Promise.all([migrate(connection, migrations, testLog()), migrate(connection, migrations, testLog())]);
    await store(2, 30_000);
    assert.deepEqual(await before.rows('SELECT count() FROM (SELECT DISTINCT * FROM event_ids)'), [['30002']]);
    assert.deepEqual(await before.rows('SELECT count() FROM events WHERE (event_id, topic, partition, offset, stored_at, content_hash) NOT IN (SELECT event_id, topic, partition, offset, stored_at, content_hash FROM event_ids)'), [['0']]);
    const plan = (await before.rows(`EXPLAIN indexes = 1 SELECT offset FROM event_ids WHERE event_id = toUUID(UUIDNumToString(sipHash128(9)))`)).flat().join('\n');
    assert.match(plan, /Granules: [1-4]\/1(1|2)\d/);
    assert.deepEqual(await before.rows(`SELECT DISTINCT part_type FROM system.parts WHERE active AND database = currentDatabase() AND table = 'events'`), [['Compact']]);
  } finally {
    await before.command(`DROP DATABASE ${connection.database}`);
    await before.close();
  }
});

test('0008 waits for an insert of before that takes long: its view feeds the table that was', async () => {
  const connection = { url: sharedStack().clickhouseUrl, database: `slow_${randomUUID().slice(0, 8)}`, timeoutMs: 20_000 };
  const migrations = readMigrations(join(packageRoot, 'schemas', 'clickhouse'));
  const clickhouse = createClickHouse(connection);
  try {
    await migrate(connection, migrations.slice(0, 7), testLog());
    // One row a second, in one block at the end.
    const storing = clickhouse.command(`INSERT INTO events (tenant, event_id, topic, partition, offset) SELECT 't', generateUUIDv4(), 'events', 1, number FROM numbers(3)
      WHERE sleepEachRow(1) = 0 SETTINGS max_block_size = 1, max_threads = 1, min_insert_block_size_rows = 100, min_insert_block_size_bytes = 0`);
    const running = `SELECT count() FROM system.processes WHERE current_database = currentDatabase() AND query_kind = 'Insert'`;
    for (let tries = 0; tries < 50 && (await clickhouse.rows(running))[0]?.[0] === '0'; tries++) await sleep(20);
    await Promise.all([storing, migrate(connection, migrations, testLog())]);
    assert.deepEqual(await clickhouse.rows('SELECT count(), countIf(event_id IN (SELECT event_id FROM event_ids)) FROM events'), [['3', '3']]);
  } finally {
    await clickhouse.command(`DROP DATABASE ${connection.database}`);
    await clickhouse.close();
  }
});

test('event ids are kept for ever, or for so many days; the table is altered only where that changes', async () => {
  const connection = { url: sharedStack().clickhouseUrl, database: `retention_${randomUUID().slice(0, 8)}`, timeoutMs: 20_000 };
  await migrate(connection, readMigrations(join(packageRoot, 'schemas', 'clickhouse')), testLog());
  const clickhouse = createClickHouse(connection);
  const altered: string[] = [];
  const watched = { ...clickhouse, command: (statement: string) => { altered.push(statement); return clickhouse.command(statement); } };
  const count = async (): Promise<number> => Number((await clickhouse.rows('SELECT count() FROM event_ids'))[0]?.[0]);
  try {
    await clickhouse.command(`INSERT INTO event_ids (event_id, stored_at) VALUES (generateUUIDv4(), now64(3) - INTERVAL 40 DAY), (generateUUIDv4(), now64(3))`);
    for (const days of [null, 60, 60, 30, 30]) await setIdRetention(watched, days, testLog());
    assert.equal(altered.length, 2);
    await clickhouse.command('OPTIMIZE TABLE event_ids FINAL');
    assert.equal(await count(), 1);
    for (const days of [null, null]) await setIdRetention(watched, days, testLog());
    assert.equal(altered.length, 3);
    assert.equal(await count(), 1);
  } finally {
    await clickhouse.command(`DROP DATABASE ${connection.database}`);
    await clickhouse.close();
  }
});
