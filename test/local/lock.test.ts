import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import assert from 'node:assert/strict';
import { takeLock } from '../../src/local/lock.ts';
import { processInfo } from '../../src/local/process-info.ts';

async function folder(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'millrace-lock-'));
  t.after(async () => { await rm(dir, { recursive: true, force: true }); });
  return dir;
}

test('a lock is held once, and free again after its release', async (t) => {
  const path = join(await folder(t), 'lock');
  const lock = await takeLock(path);
  assert.ok('release' in lock);
  assert.deepEqual(await takeLock(path), { ownerPid: process.pid });
  await lock.release();
  const again = await takeLock(path);
  assert.ok('release' in again);
  await again.release();
});

test('a lock of a process that is gone is taken over', async (t) => {
  const dir = await folder(t);
  const child = spawn(process.execPath, ['-e', '']);
  await once(child, 'exit');
  await writeFile(join(dir, 'lock'), JSON.stringify({ pid: child.pid, startedAt: '1' }));
  assert.ok('release' in (await takeLock(join(dir, 'lock'))));
  assert.deepEqual(await readdir(dir), ['lock']);
});

test('a lock of a pid that now belongs to a later process is taken over', async (t) => {
  const path = join(await folder(t), 'lock');
  await writeFile(path, JSON.stringify({ pid: process.pid, startedAt: 'long ago' }));
  assert.ok('release' in (await takeLock(path)));
});

test('an unreadable lock is taken over', async (t) => {
  const path = join(await folder(t), 'lock');
  await writeFile(path, '');
  assert.ok('release' in (await takeLock(path)));
});

test('of many that want a stale lock exactly one gets it', async (t) => {
  const path = join(await folder(t), 'lock');
  await writeFile(path, JSON.stringify({ pid: process.pid, startedAt: 'long ago' }));
  const results = await Promise.all(Array.from({ length: 20 }, async () => await takeLock(path)));
  assert.equal(results.filter((result) => 'release' in result).length, 1);
});

test('a lock that was taken over is not released by its former owner', async (t) => {
  const path = join(await folder(t), 'lock');
  const lock = await takeLock(path);
  assert.ok('release' in lock);
  await writeFile(path, 'another');
  await lock.release();
  assert.equal(await readFile(path, 'utf8'), 'another');
});

test('process information tells a live process from a gone one', async () => {
  const self = await processInfo(process.pid);
  assert.ok(self);
  assert.match(self.command, /node/);
  assert.equal((await processInfo(process.pid))?.startedAt, self.startedAt);
  const child = spawn(process.execPath, ['-e', '']);
  await once(child, 'exit');
  assert.equal(await processInfo(child.pid!), undefined);
});
