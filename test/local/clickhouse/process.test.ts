import { createClient } from '@clickhouse/client';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startClickHouse } from '../../helpers/clickhouse.ts';

const main = fileURLToPath(new URL('../../../src/local/clickhouse/main.ts', import.meta.url));

test('what was acknowledged survives kill -9', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-clickhouse-'));
  try {
    let server = await startClickHouse({ dataDir });
    // An answer that the kill took away is not waited for longer than this.
    let client = createClient({ url: server.url, request_timeout: 5_000, log: { level: 127 } });
    await client.command({ query: 'CREATE TABLE kept (a UInt64) ENGINE = MergeTree ORDER BY a' });
    let acknowledged = 0;
    const inserting = (async () => {
      for (;;) {
        await client.insert({ table: 'kept', values: [{ a: acknowledged }], format: 'JSONEachRow' });
        acknowledged += 1;
        if (acknowledged === 30) void server.kill();
      }
    })();
    await assert.rejects(inserting);
    await client.close();
    server = await startClickHouse({ dataDir });
    client = createClient({ url: server.url });
    const result = await client.query({ query: 'SELECT count() AS n FROM kept', format: 'JSONEachRow' });
    const stored = Number((await result.json<{ n: string }>())[0]?.n);
    assert.ok(stored >= acknowledged && stored <= acknowledged + 1, `${stored} stored, ${acknowledged} acknowledged`);
    await client.close();
    await server.close();
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});

test('a taken port, a locked folder and an unwritable one: one clear line and exit code 1', async () => {
  const server = await startClickHouse();
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-clickhouse-'));
  try {
    const file = join(dataDir, 'file');
    await writeFile(file, '');
    await assert.rejects(startClickHouse({ dataDir, port: Number(new URL(server.url).port) }), /exit code 1\): port_taken: another program listens/);
    await assert.rejects(startClickHouse({ dataDir: server.dataDir }), /exit code 1\)[\s\S]*data_locked: the data folder \S+ is in use by process \d+/);
    await assert.rejects(startClickHouse({ dataDir: file }), /exit code 1\): data_unwritable/);
  } finally {
    await server.close();
    await rm(dataDir, { recursive: true, force: true });
  }
});

test('SIGTERM cancels what runs and ends within 5 s; so does the end of the parent', async () => {
  const server = await startClickHouse();
  const long = fetch(`${server.url}/?query=${encodeURIComponent('SELECT count() FROM numbers(100000000000) WHERE NOT ignore(cityHash64(number))')}`);
  const failed = long.then((response) => response.status).catch(() => 'cut');
  assert.equal(await (await fetch(`${server.url}/?query=SELECT+1`)).text(), '1\n');
  const start = Date.now();
  await server.close();
  assert.ok(Date.now() - start < 5500);
  assert.notEqual(await failed, 200);

  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-clickhouse-'));
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), main, '--port', '0', '--data', dataDir], { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    const exited = once(child, 'exit');
    await once(child.stdout, 'data');
    child.stdin.end();
    const [code] = (await Promise.race([exited, once(AbortSignal.timeout(20_000), 'abort').then(() => ['still there'])])) as [number | null];
    assert.equal(code, 0);
  } finally {
    child.kill('SIGKILL');
    await rm(dataDir, { recursive: true, force: true });
  }
});
