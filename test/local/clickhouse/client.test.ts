import { createClient } from '@clickhouse/client';
import type { ClickHouseClient } from '@clickhouse/client';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startClickHouse } from '../../helpers/clickhouse.ts';
import type { RunningClickHouse } from '../../helpers/clickhouse.ts';

let server: RunningClickHouse;
let client: ClickHouseClient;
before(async () => {
  server = await startClickHouse();
  client = createClient({ url: server.url, log: { level: 127 } });
});
after(async () => {
  await client.close();
  await server.close();
});

async function count(table: string): Promise<number> {
  const result = await client.query({ query: 'SELECT count() AS n FROM {table:Identifier}', query_params: { table }, format: 'JSONEachRow' });
  return Number((await result.json<{ n: string }>())[0]?.n);
}

test('@clickhouse/client: command, insert, query, stream, errors', async () => {
  await client.command({ query: 'CREATE TABLE round (id UInt64, s String, j JSON) ENGINE = MergeTree ORDER BY id' });
  const { summary } = await client.insert({
    table: 'round',
    values: Readable.from([{ id: 1, s: "it's", j: { a: { b: 1 } } }, { id: 2, s: '\t\n' }]),
    format: 'JSONEachRow',
    query_id: 'insert-1',
    clickhouse_settings: { async_insert: 0, wait_end_of_query: 1, input_format_parallel_parsing: 0, max_insert_block_size: '100000', date_time_input_format: 'best_effort' },
  });
  assert.equal(summary?.written_rows, '2');
  await client.insert({ table: 'round', values: [[3, 'x']], columns: ['id', 's'], format: 'JSONCompactEachRow' });
  const result = await client.query({ query: 'SELECT * FROM round WHERE id <= {max:UInt8} ORDER BY id', query_params: { max: 2 }, format: 'JSONEachRow' });
  assert.deepEqual(await result.json(), [
    { id: 1, s: "it's", j: { a: { b: 1 } } },
    { id: 2, s: '\t\n', j: {} },
  ]);
  let rows = 0;
  for await (const batch of (await client.query({ query: 'SELECT number FROM numbers(100000)', format: 'JSONCompactEachRow' })).stream()) rows += batch.length;
  assert.equal(rows, 100_000);
  await assert.rejects(client.query({ query: 'SELECT * FROM nope' }), { code: '60', type: 'UNKNOWN_TABLE' });
  assert.deepEqual(await client.ping(), { success: true });
});

test('a repeated insert with the same token adds nothing, in the table and behind its view', async () => {
  for (const table of ['ids', 'source']) {
    await client.command({ query: `CREATE TABLE ${table} (id UInt64) ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 100` });
  }
  await client.command({ query: 'CREATE MATERIALIZED VIEW view TO ids AS SELECT id FROM source' });
  for (let i = 0; i < 2; i += 1) {
    await client.insert({
      table: 'source',
      values: [{ id: 1 }, { id: 2 }],
      format: 'JSONEachRow',
      clickhouse_settings: { async_insert: 0, insert_deduplication_token: 'topic/0/1-2/abc', deduplicate_blocks_in_dependent_materialized_views: 1 },
    });
  }
  assert.deepEqual([await count('source'), await count('ids')], [2, 2]);
});

test('an insert whose body ends early inserts nothing', async () => {
  await client.command({ query: 'CREATE TABLE cut (a UInt64) ENGINE = MergeTree ORDER BY a' });
  const { port } = new URL(server.url);
  const path = `/?query=${encodeURIComponent('INSERT INTO cut FORMAT JSONEachRow')}`;
  const row = '{"a":1}\n';
  const bodies = [
    `Content-Length: 1000\r\n\r\n${row.repeat(10)}`,
    `Transfer-Encoding: chunked\r\n\r\n${row.length.toString(16)}\r\n${row}\r\n`,
  ];
  for (const body of bodies) {
    for (const ending of ['end', 'destroy'] as const) {
      const socket = connect(Number(port), '127.0.0.1');
      await once(socket, 'connect');
      socket.on('error', () => undefined);
      await new Promise((resolve) => socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\n${body}`, resolve));
      const closed = once(socket, 'close');
      socket.resume()[ending]();
      await closed;
    }
  }
  assert.equal(await count('cut'), 0);
  await client.insert({ table: 'cut', values: [{ a: 1 }], format: 'JSONEachRow' });
  assert.equal(await count('cut'), 1);
});

test('a long query blocks nobody, ends at its limit, and ends when its client goes', async () => {
  const query = 'SELECT count() FROM numbers(100000000000) WHERE NOT ignore(cityHash64(number))';
  const gone = new AbortController();
  const long = Array.from({ length: 6 }, (_, i) => assert.rejects(client.query({ query, query_id: `long-${i}`, abort_signal: gone.signal })));
  const limited = assert.rejects(client.query({ query, clickhouse_settings: { max_execution_time: 1 } }), { code: '159' });
  const start = Date.now();
  const quick = await client.query({ query: "SELECT 1", format: "TabSeparated" });
  assert.equal(await quick.text(), "1\n");
  assert.ok(Date.now() - start < 3000);
  await limited;
  assert.ok(Date.now() - start < 6000);
  gone.abort();
  await Promise.all(long);
  const running = 'SELECT count() AS n FROM system.processes WHERE query LIKE {like:String} AND query NOT LIKE {not:String}';
  const deadline = Date.now() + 10_000;
  for (;;) {
    const result = await client.query({ query: running, query_params: { like: '%cityHash64(number)%', not: '%system.processes%' }, format: 'JSONEachRow' });
    if (Number((await result.json<{ n: string }>())[0]?.n) === 0) break;
    assert.ok(Date.now() < deadline, 'the engine still runs what nobody waits for');
    await sleep(50);
  }
});

test('KILL QUERY knows the id that the client gave', async () => {
  const query = 'SELECT count() FROM numbers(100000000000) WHERE NOT ignore(cityHash64(number, 1))';
  const killed = assert.rejects(client.query({ query, query_id: 'kill-me' }), { code: '394' });
  const seen = `SELECT count() FROM system.processes WHERE Settings['log_comment'] = 'kill-me'`;
  while ((await (await client.query({ query: seen, format: 'TabSeparated' })).text()) !== '1\n') await sleep(20);
  await assert.rejects(client.query({ query: 'SELECT 1', query_id: 'kill-me' }), { code: '216' });
  await client.command({ query: "KILL QUERY WHERE query_id = 'kill-me' ASYNC" });
  await killed;
});
