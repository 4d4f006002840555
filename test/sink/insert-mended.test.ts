import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { createClickHouse } from '../../src/sink/clickhouse.ts';
import type { ClickHouse } from '../../src/sink/clickhouse.ts';
import { insertMended } from '../../src/sink/insert-mended.ts';
import { sharedStack } from '../helpers/shared-stack.ts';

const database = `mended_${randomUUID().slice(0, 8)}`;
const connection = { url: sharedStack().clickhouseUrl, database, timeoutMs: 20_000 };
let outside: ClickHouse;
let clickhouse: ClickHouse;
before(async () => {
  outside = createClickHouse({ ...connection, database: 'default' });
  await outside.command(`CREATE DATABASE ${database}`);
  clickhouse = createClickHouse(connection);
  await clickhouse.command(`CREATE TABLE t (id UInt32, at DateTime64(3, 'UTC'), name LowCardinality(String) DEFAULT 'it''s \\\\', p JSON(max_dynamic_paths = 2)) ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 100`);
});
after(async () => {
  await clickhouse.close();
  await outside.command(`DROP DATABASE ${database}`);
  await outside.close();
});

interface Row {
  id: number;
  p: string;
  bare?: string;
}
let token = 0;
const insert = (rows: Row[], table = 't'): Promise<Map<Row, string>> =>
  insertMended(clickhouse, {
    table,
    columns: ['id', 'at', 'p'],
    rows,
    line: (row, bare) => `[${row.id},"2025-01-01 00:00:00.000",${bare ? (row.bare ?? '{}') : row.p}]`,
    token: `token-${token++}`,
    signal: new AbortController().signal,
  });
const stored = async (): Promise<unknown[][]> => clickhouse.rows('SELECT id, toJSONString(p) FROM t ORDER BY id');

test('one poison row among 10,000 loses its JSON, its neighbours nothing, and all go in as one block', async () => {
  const rows = Array.from({ length: 10_000 }, (_, id) => ({ id, p: id === 7_777 ? '{"x":99999999999999999999999}' : `{"x":${id}}` }));
  const before = await clickhouse.rows(`SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 't'`);
  assert.equal((await insert(rows)).size, 0);
  const after = await stored();
  assert.equal(after.length, 10_000);
  assert.deepEqual(after.filter(([, p]) => p === '{}'), [[7_777, '{}']]);
  const parts = await clickhouse.rows(`SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 't'`);
  assert.equal(Number(parts[0]?.[0]) - Number(before[0]?.[0]), 1);
  await clickhouse.command('TRUNCATE TABLE t');
});

test('a row that is refused in every form is answered with ClickHouse’s words; the others are stored', async () => {
  const rows: Row[] = [{ id: 1, p: '{}' }, { id: 2, p: '{"a":1e999}', bare: '[]' }, { id: 3, p: '{"a":1e999}' }, { id: 4, p: '{"a":true}' }];
  const refused = await insert(rows);
  assert.deepEqual([...refused.keys()].map(({ id }) => id), [2]);
  assert.match([...refused.values()][0] ?? '', /JSON/);
  assert.deepEqual(await stored(), [[1, '{}'], [3, '{}'], [4, '{"a":true}']]);
  await clickhouse.command('TRUNCATE TABLE t');
  assert.equal((await insert([{ id: 1, p: '{"a":1e999}', bare: '[]' }])).size, 1);
});

test('where no row is to blame the fault is thrown, and nothing is stored', async () => {
  await assert.rejects(insert([{ id: 1, p: '{}' }], 'nowhere'), { code: 'clickhouse_refused' });
  await clickhouse.command('ALTER TABLE t ADD CONSTRAINT never CHECK id > 5');
  await assert.rejects(insert([{ id: 1, p: '{}' }]), { code: 'clickhouse_refused' });
  await clickhouse.command('ALTER TABLE t DROP CONSTRAINT never');
  assert.deepEqual(await stored(), []);
});
