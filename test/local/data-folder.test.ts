import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import assert from 'node:assert/strict';
import { requireDoorPort } from '../../src/compose.ts';
import { readConfig } from '../../src/config.ts';
import { MillraceError } from '../../src/errors.ts';
import { openDataFolder } from '../../src/local/data-folder.ts';
import { requireSpace } from '../../src/local/jars.ts';
import { processInfo } from '../../src/local/process-info.ts';
import { requirePort } from '../../src/local/ports.ts';
import { createLog } from '../../src/telemetry.ts';
import { packageRoot } from '../helpers/local.ts';

const log = createLog('silent');

async function temporary(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'millrace-data-'));
  t.after(async () => { await rm(dir, { recursive: true, force: true }); });
  return dir;
}

test('a folder is made, held once, and free after close', async (t) => {
  const dir = join(await temporary(t), 'new', 'data');
  const folder = await openDataFolder(dir, log);
  await assert.rejects(openDataFolder(dir, log), (error: unknown) => error instanceof MillraceError && error.code === 'data_locked'
    && error.message === `the data folder ${dir} is used by another millrace, process ${process.pid}`);
  await folder.close();
  await (await openDataFolder(dir, log)).close();
});

test('a path that cannot be a folder is data_unwritable', async (t) => {
  const dir = await temporary(t);
  await writeFile(join(dir, 'file'), '');
  await assert.rejects(openDataFolder(join(dir, 'file'), log), (error: unknown) => error instanceof MillraceError && error.code === 'data_unwritable');
  await assert.rejects(openDataFolder(join(dir, 'file', 'below'), log), (error: unknown) => error instanceof MillraceError && error.code === 'data_unwritable');
});

test('a file, and where no folder can be made: one line that says what to do, at once', { timeout: 10_000 }, async (t) => {
  const file = join(await temporary(t), 'file');
  await writeFile(file, '');
  for (const [dir, why] of [[file, 'it is a file'], ['/proc/millrace/data', '/proc takes no folders']] as const) {
    await assert.rejects(openDataFolder(dir, log), (error: unknown) => {
      assert.ok(error instanceof MillraceError);
      assert.deepEqual([error.code, error.message, error.hint], ['data_unwritable', `the data folder ${dir} cannot be written: ${why}`, 'Make it writable, or set MILLRACE_DATA to another folder.']);
      return true;
    });
  }
});

test('a host that is no name, or another machine’s: one line that says what to do', async () => {
  for (const [host, why] of [['no.such.host.invalid', 'that is no name of a machine'], ['192.0.2.1', 'that is no address of this machine']] as const) {
    await assert.rejects(requirePort(host, 8080, 'the door', 'PORT'), (error: unknown) => {
      assert.ok(error instanceof MillraceError);
      assert.deepEqual([error.code, error.message], ['config_invalid', `the door cannot listen on ${host}: ${why}`]);
      assert.match(error.hint ?? '', /^Set HOST to /);
      return true;
    });
  }
});

test('a second `millrace up` of the same folder is told of the first, not of the port', async (t) => {
  const dataDir = await temporary(t);
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => { server.close(); });
  const { port } = server.address() as AddressInfo;
  const config = readConfig({ PORT: String(port), MILLRACE_DATA: dataDir }, packageRoot, dataDir, 'up');
  await assert.rejects(requireDoorPort(config), (error: unknown) => error instanceof MillraceError && error.code === 'port_taken');
  const other = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  t.after(() => { other.kill('SIGKILL'); });
  await once(other, 'spawn');
  await writeFile(join(dataDir, 'lock'), JSON.stringify({ pid: other.pid, startedAt: (await processInfo(other.pid!))?.startedAt }));
  await assert.rejects(requireDoorPort(config), (error: unknown) => error instanceof MillraceError && error.code === 'data_locked' && error.message.endsWith(`process ${other.pid}`));
  // With every part elsewhere the folder is nobody's concern.
  const elsewhere = { ...config, kafka: { ...config.kafka, brokers: ['k:9092'] }, registry: { ...config.registry, url: 'http://r' }, clickhouse: { ...config.clickhouse, url: 'http://c' } };
  await assert.rejects(requireDoorPort(elsewhere), (error: unknown) => error instanceof MillraceError && error.code === 'port_taken');
});

test('too little room is disk_full, with how much is needed', async (t) => {
  await assert.rejects(requireSpace(await temporary(t), 1e12, 'the data'), (error: unknown) => error instanceof MillraceError && error.code === 'disk_full'
    && /need 1000000000000 MB in .*, and only \d+ MB are free/.test(error.message));
});

test('children that a killed owner left behind are stopped; a stranger with a noted pid is not', async (t) => {
  const dir = await temporary(t);
  const child = (...args: string[]) => {
    const started = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', '--', ...args], { detached: true, stdio: 'ignore' });
    t.after(() => { started.kill('SIGKILL'); });
    return started;
  };
  const ours = child(`--data=${dir}/clickhouse`);
  const stranger = child();
  await writeFile(join(dir, 'children.json'), JSON.stringify([ours.pid, stranger.pid, 1]));
  const gone = once(ours, 'exit');
  const folder = await openDataFolder(dir, log);
  assert.deepEqual(await gone, [null, 'SIGTERM']);
  assert.equal(await processInfo(ours.pid!), undefined);
  assert.ok(await processInfo(stranger.pid!));
  await folder.close();
});

test('a taken port is told with the part and the variable that moves it', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => { server.close(); });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  await assert.rejects(requirePort('127.0.0.1', address.port, 'Kafka', 'MILLRACE_KAFKA_PORT'), (error: unknown) => {
    assert.ok(error instanceof MillraceError);
    assert.equal(error.code, 'port_taken');
    assert.equal(error.message, `port ${address.port} for Kafka is taken by another program`);
    assert.equal(error.hint, 'Stop that program, or set MILLRACE_KAFKA_PORT to another port.');
    return true;
  });
});
