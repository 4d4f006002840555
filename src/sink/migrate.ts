import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { MillraceError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { createClickHouse } from './clickhouse.ts';
import type { ClickHouse, ClickHouseConnection } from './clickhouse.ts';
import { insertsEnded } from './inserts-ended.ts';

export interface Migration {
  /** NNNN of its file name. */
  version: number;
  name: string;
  statements: string[];
  hash: string;
}

/** The numbered files of schemas/clickhouse, in order. Their numbers must be 1, 2, 3 … */
export function readMigrations(folder: string): Migration[] {
  const files = readdirSync(folder).filter(file => file.endsWith('.sql')).sort();
  return files.map((file, index) => {
    const version = Number(/^(\d{4})_[a-z0-9_]+\.sql$/.exec(file)?.[1]);
    if (version !== index + 1) throw new MillraceError('migration_changed', `${join(folder, file)} should be number ${index + 1}, as NNNN_name.sql`);
    const text = readFileSync(join(folder, file), 'utf8');
    return { version, name: file, statements: splitStatements(text), hash: createHash('sha256').update(text).digest('hex') };
  });
}

/** Statements end with a semicolon at the end of a line; lines that begin with `--` are comments. */
export function splitStatements(text: string): string[] {
  const code = text.split('\n').filter(line => !line.startsWith('--')).join('\n');
  return code.split(/;[ \t]*(?:\n|$)/).map(statement => statement.trim()).filter(statement => statement !== '');
}

/** For one statement: some of them copy a table. */
const migrationTimeoutMs = 30 * 60_000;

/**
 * Brings a database up to the last migration: makes the database, applies what is not recorded in `migrations`, in order, once.
 * Every statement is made safe to repeat, so that a crash in the middle of a file heals on the next start, and several sinks may start at once.
 * Throws `migration_changed` where an applied file was edited, or ClickHouse's faults.
 */
export async function migrate(connection: ClickHouseConnection, migrations: readonly Migration[], log: Log): Promise<void> {
  const { database } = connection;
  const outside = createClickHouse({ ...connection, database: 'default' });
  try {
    await outside.command(`CREATE DATABASE IF NOT EXISTS ${database}`);
  } finally {
    await outside.close();
  }
  const clickhouse = createClickHouse(connection);
  const patient = createClickHouse({ ...connection, timeoutMs: migrationTimeoutMs });
  try {
    await clickhouse.command(`
      CREATE TABLE IF NOT EXISTS migrations (version UInt32, name String, hash String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))
      ENGINE = MergeTree ORDER BY version`);
    const rows = await clickhouse.rows('SELECT version, any(hash) FROM migrations GROUP BY version');
    const applied = new Map(rows.map(([version, hash]) => [Number(version), String(hash)]));
    for (const migration of migrations) {
      const before = applied.get(migration.version);
      if (before === migration.hash) {
        // Another sink that began at the same moment may have made a view after this one had dropped it.
        for (const statement of migration.statements) if (statement.startsWith('DROP VIEW IF EXISTS ')) await clickhouse.command(statement);
        continue;
      }
      if (before !== undefined) {
        throw new MillraceError('migration_changed', `${migration.name} was applied to ${database} and has been edited since`, {
          hint: 'Restore the file, and put the change into the next number.',
        });
      }
      for (const statement of migration.statements) {
        await patient.command(repeatable(statement));
        if (statement.startsWith('CREATE OR REPLACE TABLE ')) await insertsEnded(clickhouse);
      }
      await clickhouse.command(`INSERT INTO migrations (version, name, hash) VALUES (${migration.version}, '${migration.name}', '${migration.hash}')`);
      note(log, 'migration_applied', { migration: migration.name, database });
    }
  } finally {
    await Promise.all([clickhouse.close(), patient.close()]);
  }
}

/**
 * How long an event id is remembered, in days; null is for ever. A message id that comes again after that is another event.
 * Alters the table only where it says otherwise, since that goes over all of its parts.
 */
export async function setIdRetention(clickhouse: ClickHouse, days: number | null, log: Log): Promise<void> {
  const [row] = await clickhouse.rows(`SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = 'event_ids'`);
  const present = /TTL toDateTime\(stored_at\) \+ (?:toIntervalDay\((\d+)\)|INTERVAL (\d+) DAY)/.exec(String(row?.[0]));
  const presentDays = present === null ? null : Number(present[1] ?? present[2]);
  if (presentDays === days) return;
  await clickhouse.command(days === null ? 'ALTER TABLE event_ids REMOVE TTL' : `ALTER TABLE event_ids MODIFY TTL toDateTime(stored_at) + INTERVAL ${days} DAY`);
  note(log, 'id_retention_changed', { before: presentDays, days });
}

/** `CREATE TABLE x` → `CREATE TABLE IF NOT EXISTS x`, and so for views, and columns and indexes that are added; the files stay readable. */
export function repeatable(statement: string): string {
  return statement
    .replace(/^CREATE (TABLE|MATERIALIZED VIEW|VIEW|DICTIONARY) (?!IF NOT EXISTS)/, 'CREATE $1 IF NOT EXISTS ')
    .replace(/^(ALTER TABLE \w+) ADD (COLUMN|INDEX) (?!IF NOT EXISTS)/, '$1 ADD $2 IF NOT EXISTS ');
}
