import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { createClickHouse } from '../../src/sink/clickhouse.ts';
import type { ClickHouse } from '../../src/sink/clickhouse.ts';
import { pairsIn, textsIn, uuidsIn } from '../../src/sink/sql-lists.ts';
import { sharedStack } from '../helpers/shared-stack.ts';

let clickhouse: ClickHouse;
before(() => {
  clickhouse = createClickHouse({ url: sharedStack().clickhouseUrl, database: 'default', timeoutMs: 20_000 });
});
after(() => clickhouse.close());

/** Text that would end a literal, an item or a pair, if it stood there as it is. */
const texts = ['', ' ', ',', '/', "'", '\\', '\0', '\n', "a','b", '2c', 'ü€😀', "') OR (1 = 1"];

test('behind IN stand exactly these texts, whatever is in them', async () => {
  const others = ['0', 'a', 'b', "''", '\\\\', ',,', 'ü€'];
  const found = async (values: readonly string[]): Promise<unknown[]> =>
    (await clickhouse.rows(`SELECT text FROM (SELECT arrayJoin({all: Array(String)}) AS text) WHERE text IN ${textsIn(values)}`, { all: [...texts, ...others] })).flat();
  assert.deepEqual(await found(texts), texts);
  for (const text of texts) assert.deepEqual(await found([text]), [text]);
});

test('behind IN stand exactly these pairs', async () => {
  const pairs = texts.map((text, n) => [text, texts[(n + 5) % texts.length] ?? ''] as const);
  const all = texts.flatMap(one => texts.map(other => [one, other] as const));
  const found = await clickhouse.rows(
    `SELECT one, other FROM (SELECT arrayJoin(arrayZip({ones: Array(String)}, {others: Array(String)})) AS both, both.1 AS one, both.2 AS other) WHERE (one, other) IN ${pairsIn(pairs)}`,
    { ones: all.map(([one]) => one), others: all.map(([, other]) => other) },
  );
  assert.deepEqual(found.map(String).sort(), pairs.map(String).sort());
});

test('behind IN stand exactly these ids', async () => {
  const ids = ['00000000-0000-0000-0000-000000000000', '2cf94bea-eb15-1510-9c30-efbe53c85404', 'ffffffff-ffff-ffff-ffff-ffffffffffff'];
  assert.deepEqual(await clickhouse.rows(`SELECT toString(id) FROM (SELECT toUUID(arrayJoin({ids: Array(String)})) AS id) WHERE id IN ${uuidsIn(ids.slice(1))}`, { ids }), ids.slice(1).map(id => [id]));
});

test('however many values, there is one literal, and the key of a table is used', async () => {
  const ids = (await clickhouse.rows(`SELECT toUUID(UUIDNumToString(sipHash128(number))) FROM numbers(3)`)).flat().map(String);
  for (const list of [uuidsIn(ids), textsIn(ids), pairsIn(ids.map(id => [id, id]))]) assert.equal(list.match(/'[0-9a-f,/-]{2,}'/g)?.length, 1, list);
  const database = `lists_${randomUUID().slice(0, 8)}`;
  await clickhouse.command(`CREATE DATABASE ${database}`);
  try {
    await clickhouse.command(`CREATE TABLE ${database}.ids (id UUID, text String, PRIMARY KEY id) ENGINE = MergeTree ORDER BY id SETTINGS index_granularity = 64`);
    await clickhouse.command(`INSERT INTO ${database}.ids SELECT toUUID(UUIDNumToString(sipHash128(number))), '' FROM numbers(64000)`);
    const plan = (await clickhouse.rows(`EXPLAIN indexes = 1 SELECT text FROM ${database}.ids WHERE id IN ${uuidsIn(ids)}`)).flat().map(String);
    const [read] = plan.flatMap(line => /Granules: (\d+)\/1000/.exec(line)?.[1] ?? []);
    assert.ok(Number(read) >= 1 && Number(read) <= 6, plan.join('\n'));
    assert.equal((await clickhouse.rows(`SELECT id FROM ${database}.ids WHERE id IN ${uuidsIn(ids)}`)).length, 3);
  } finally {
    await clickhouse.command(`DROP DATABASE ${database}`);
  }
});
