import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { readFrames, writeFrames } from '../../../src/local/clickhouse/frames.ts';
import { startClickHouse } from '../../helpers/clickhouse.ts';
import type { RunningClickHouse } from '../../helpers/clickhouse.ts';

let server: RunningClickHouse;
before(async () => {
  server = await startClickHouse();
});
after(() => server.close());

interface Ask {
  url?: Record<string, string>;
  path?: string;
  method?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array<ArrayBuffer> | FormData;
}

async function ask({ url = {}, path = '/', method = 'POST', headers = {}, body }: Ask) {
  const target = `${server.url}${path}?${new URLSearchParams(url).toString()}`;
  const response = await fetch(target, { method, headers, ...(body === undefined ? {} : { body }) });
  return { status: response.status, headers: response.headers, bytes: Buffer.from(await response.arrayBuffer()) };
}

async function sql(query: string, url: Record<string, string> = {}): Promise<string> {
  const { status, bytes } = await ask({ url: { query, ...url } });
  assert.equal(status, 200, bytes.toString());
  return bytes.toString();
}

const basic = (user: string, password: string) => ({ authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` });

test('answers: status, error code, body', async () => {
  await sql('CREATE TABLE answers (a UInt64) ENGINE = MergeTree ORDER BY a');
  const table: [string, Ask, number, number | undefined, RegExp][] = [
    ['ping', { path: '/ping', method: 'GET' }, 200, undefined, /^Ok\.\n$/],
    ['replicas', { path: '/replicas_status', method: 'GET' }, 200, undefined, /^Ok\.\n$/],
    ['bare GET', { method: 'GET' }, 200, undefined, /^Ok\.\n$/],
    ['HEAD', { method: 'HEAD' }, 200, undefined, /^$/],
    ['unknown path', { path: '/nope', method: 'GET' }, 404, undefined, /\/ping/],
    ['query in URL', { url: { query: 'SELECT 1' } }, 200, undefined, /^1\n$/],
    ['query in body', { body: '-- why\nSELECT 1 ; -- end' }, 200, undefined, /^1\n$/],
    ['query in both', { url: { query: 'SELECT' }, body: "1, ';'" }, 200, undefined, /^1\t;\n$/],
    ['empty query', { body: ' ' }, 400, 62, /Empty query/],
    ['two statements', { body: 'SELECT 1; SELECT 2' }, 400, 62, /Multi-statements/],
    ['syntax', { body: 'CREAT TABLE x' }, 400, 62, /^Code: 62\. DB::Exception: .*\(SYNTAX_ERROR\) \(version 26/s],
    ['unknown table', { body: 'SELECT * FROM nope' }, 404, 60, /\(UNKNOWN_TABLE\)/],
    ['unknown database', { url: { database: 'nope' }, body: 'SELECT 1' }, 404, 81, /\(UNKNOWN_DATABASE\)/],
    ['unknown setting', { url: { nope: '1' }, body: 'SELECT 1' }, 404, 115, /\(UNKNOWN_SETTING\)/],
    ['bad setting name', { url: { "a = 1, b": '1' }, body: 'SELECT 1' }, 404, 115, /\(UNKNOWN_SETTING\)/],
    ['unknown format', { body: 'SELECT 1 FORMAT Nope' }, 404, 73, /^Code: 73\. DB::Exception: Unknown format/],
    ['bad row', { url: { query: 'INSERT INTO answers FORMAT JSONEachRow' }, body: '{"a":1}\n{"a":"z"}' }, 400, 27, /at row 2/],
    ['GET writes', { method: 'GET', url: { query: 'INSERT INTO answers VALUES (1)' } }, 500, 164, /READONLY/],
    ['outfile', { body: "SELECT 1 INTO OUTFILE '/tmp/x'" }, 500, 358, /INTO_OUTFILE/],
    ['default user', { headers: basic('default', ''), body: 'SELECT 1' }, 200, undefined, /^1/],
    ['wrong password', { headers: basic('default', 'x'), body: 'SELECT 1' }, 403, 516, /AUTHENTICATION_FAILED/],
    ['other user in URL', { url: { user: 'eve' }, body: 'SELECT 1' }, 403, 516, /eve: Authentication failed/],
    ['user header', { headers: { 'x-clickhouse-user': 'default', 'x-clickhouse-key': 'y' }, body: 'SELECT 1' }, 403, 516, /516/],
    ['wrong session timeout', { url: { session_timeout: 'x' }, body: 'SELECT 1' }, 500, 374, /INVALID_SESSION_TIMEOUT/],
    ['absent session', { url: { session_id: 'no', session_check: '1' }, body: 'SELECT 1' }, 404, 372, /SESSION_NOT_FOUND/],
    ['unknown encoding', { headers: { 'content-encoding': 'snappy' }, body: 'SELECT 1' }, 415, 779, /snappy/],
    ['broken gzip', { headers: { 'content-encoding': 'gzip' }, body: 'SELECT 1' }, 500, 271, /CANNOT_DECOMPRESS/],
    ['INSERT without data', { url: { query: 'INSERT INTO answers FORMAT JSONEachRow' } }, 200, undefined, /^$/],
  ];
  for (const [name, request, status, code, body] of table) {
    const answer = await ask(request);
    assert.equal(answer.status, status, `${name}: ${answer.bytes.toString()}`);
    assert.equal(answer.headers.get('x-clickhouse-exception-code') ?? undefined, code?.toString(), name);
    assert.match(answer.bytes.toString(), body, name);
  }
  assert.equal(await sql('SELECT count() FROM answers'), '0\n');
});

test('headers of an answer', async () => {
  const { headers } = await ask({ url: { query: 'SELECT number FROM numbers(3) FORMAT JSONEachRow', query_id: 'mine' } });
  assert.equal(headers.get('x-clickhouse-query-id'), 'mine');
  assert.equal(headers.get('x-clickhouse-format'), 'JSONEachRow');
  assert.match(headers.get('content-type') ?? '', /^application\/x-ndjson/);
  assert.ok(headers.get('x-clickhouse-timezone'));
  assert.ok(headers.get('x-clickhouse-server-display-name'));
  const summary = JSON.parse(headers.get('x-clickhouse-summary') ?? '') as Record<string, string>;
  assert.equal(summary['read_rows'], '3');
  assert.equal(summary['result_rows'], '3');
});

test('every format goes out and comes in, byte for byte', async () => {
  await sql('CREATE TABLE formats (a UInt64, s String, n Nullable(Float64)) ENGINE = MergeTree ORDER BY a');
  const formats = [
    'Native', 'RowBinary', 'RowBinaryWithNamesAndTypes', 'Parquet', 'Arrow', 'ArrowStream', 'ORC', 'Avro', 'MsgPack', 'BSONEachRow', 'CSV', 'CSVWithNames',
    'CSVWithNamesAndTypes', 'TabSeparated', 'TSVWithNamesAndTypes', 'JSONEachRow', 'JSONCompactEachRow', 'JSONStringsEachRow',
    'JSONCompactEachRowWithNamesAndTypes', 'JSONColumns', 'Values',
  ];
  const expected = '1\tit\\\'s\\n\\0\t1.5\n2\t\u{1f600}\t\\N\n';
  const source = `SELECT * FROM (SELECT 1::UInt64 AS a, 'it\\'s\\n\\0' AS s, 1.5::Nullable(Float64) AS n UNION ALL SELECT 2, '\u{1f600}', NULL) ORDER BY a`;
  for (const format of formats) {
    const out = await ask({ url: { query: source, default_format: format } });
    assert.equal(out.status, 200, format);
    for (const inUrl of [true, false]) {
      await sql('TRUNCATE TABLE formats');
      const statement = `INSERT INTO formats FORMAT ${format}`;
      const into = await ask(inUrl ? { url: { query: statement }, body: new Uint8Array(out.bytes) } : { body: new Uint8Array(Buffer.concat([Buffer.from(`${statement}\n`), out.bytes])) });
      assert.equal(into.status, 200, `${format}: ${into.bytes.toString()}`);
      assert.equal(await sql('SELECT * FROM formats ORDER BY a'), expected, format);
    }
  }
});

test('compression of both directions', async () => {
  const rows = Array.from({ length: 20_000 }, (_, i) => `${i}\n`).join('');
  const query = 'SELECT number FROM numbers(20000)';
  for (const encoding of ['gzip', 'deflate', 'br']) {
    const answer = await ask({ url: { query, enable_http_compression: '1' }, headers: { 'accept-encoding': encoding } });
    assert.equal(answer.headers.get('content-encoding'), encoding);
    assert.equal(answer.bytes.toString(), rows);
  }
  const plain = await ask({ url: { query }, headers: { 'accept-encoding': 'gzip' } });
  assert.equal(plain.headers.get('content-encoding'), null);
  const framed = await ask({ url: { query, compress: '1' } });
  assert.equal((await readFrames(framed.bytes, 1e6)).toString(), rows);

  await sql('CREATE TABLE packed (a UInt64) ENGINE = Memory');
  const into = { query: 'INSERT INTO packed FORMAT TSV' };
  await ask({ url: into, headers: { 'content-encoding': 'gzip' }, body: new Uint8Array(gzipSync(rows)) });
  await ask({ url: { ...into, decompress: '1' }, body: new Uint8Array(await writeFrames(Buffer.from(rows))) });
  assert.equal(await sql('SELECT count(), uniqExact(a) FROM packed'), '40000\t20000\n');
  const wrong = await writeFrames(Buffer.from(rows));
  wrong.writeUInt8(wrong.readUInt8(40) ^ 1, 40);
  const refused = await ask({ url: { ...into, decompress: '1' }, body: new Uint8Array(wrong) });
  assert.equal(refused.headers.get('x-clickhouse-exception-code'), '40');
});

test('a request leaves nothing behind, a named session keeps what its statements set', async () => {
  await sql('CREATE DATABASE other');
  const probe = "SELECT currentDatabase(), getSetting('max_threads') = 7";
  await sql(probe, { database: 'other', max_threads: '7' });
  assert.equal(await sql(probe), 'default\t0\n');

  const session = { session_id: 's1' };
  await sql('CREATE TEMPORARY TABLE mine (a UInt8)', session);
  await sql('SET max_threads = 7', session);
  await sql('USE other', session);
  assert.equal(await sql(probe, session), 'other\t1\n');
  assert.equal(await sql(probe, { ...session, max_threads: '3', database: 'default' }), 'default\t0\n');
  assert.equal(await sql(probe, session), 'other\t1\n');
  assert.equal(await sql('SELECT count() FROM mine', session), '0\n');
  assert.equal((await ask({ url: { query: 'SELECT count() FROM mine' } })).status, 404);

  const [first, second] = await Promise.all([1, 2].map(() => ask({ url: { query: 'SELECT sleep(0.5)', ...session } })));
  assert.deepEqual([first?.status, second?.status].sort(), [200, 500]);
  const gone = { session_id: 's2', session_timeout: '0' };
  await sql('SELECT 1', gone);
  const deadline = Date.now() + 5000;
  while ((await ask({ url: { query: 'SELECT 1', ...gone, session_check: '1' } })).status !== 404) assert.ok(Date.now() < deadline);
});

test('query parameters, in the URL and as a form, mixed between many requests', async () => {
  const query = 'SELECT {a:UInt64} AS a, {s:String} AS s, {l:Array(String)} AS l, {t:Identifier} FROM (SELECT 1 AS one)';
  const answers = await Promise.all(
    Array.from({ length: 100 }, (_, i) => {
      const params = { param_a: String(i), param_s: `tab\\t'"\\\\${i}`, param_l: "['x\\'','y']", param_t: 'one' };
      if (i % 2 === 0) return ask({ url: { ...params, query, default_format: 'JSONCompactEachRow', output_format_json_quote_64bit_integers: '0' } });
      const body = new FormData();
      for (const [name, value] of Object.entries({ ...params, query })) body.set(name, value);
      return ask({ url: { default_format: 'JSONCompactEachRow', output_format_json_quote_64bit_integers: '0' }, body });
    }),
  );
  answers.forEach(({ bytes }, i) => {
    assert.deepEqual(JSON.parse(bytes.toString()), [i, `tab\t'"\\${i}`, ["x'", 'y'], 1]);
  });
});

test("the engine's own files are frames that are read here: checksums and LZ4 agree with it", async () => {
  await sql('CREATE TABLE vectors (a UInt64, s String) ENGINE = MergeTree ORDER BY a SETTINGS min_bytes_for_wide_part = 0');
  for (const rows of [1, 2, 3, 10, 17, 100, 1000, 40_000]) {
    await sql(`INSERT INTO vectors SELECT number, concat(toString(number % 7), randomString(number % 40)) FROM numbers(${rows})`);
  }
  const files = await readdir(join(server.dataDir, 'store'), { recursive: true });
  const parts = files.filter((file) => /\/(?:a|s)\.bin$/.test(file));
  assert.ok(parts.length >= 16);
  let bytes = 0;
  for (const file of parts) bytes += (await readFrames(await readFile(join(server.dataDir, 'store', file)), 1e9)).length;
  assert.ok(bytes > 41_133 * 8);
});
