import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../../src/errors.ts';
import { processInfo } from '../../src/local/process-info.ts';
import { createSupervised, type ChildSpec, type Clock, type SuperviseDeps } from '../../src/local/supervise.ts';
import { createLog } from '../../src/telemetry.ts';

/** A clock whose sleeps end at once where they are back-offs; polls wait really, so that children get to run. */
function fastClock(): Clock & { backOffs: number[]; advance(ms: number): void } {
  let offset = 0;
  const backOffs: number[] = [];
  return {
    backOffs,
    advance: (ms) => { offset += ms; },
    nowMs: () => performance.now() + offset,
    sleep: async (ms, signal) => {
      if (ms >= 500) backOffs.push(ms);
      await sleep(Math.min(ms, 20), undefined, { signal });
    },
  };
}

async function setUp(script: string, overrides: Partial<ChildSpec> & Partial<SuperviseDeps> = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'millrace-supervise-'));
  const fatal: MillraceError[] = [];
  const clock = fastClock();
  const child = createSupervised({
    name: 'trivial', cwd: dir, lifeline: false, logFile: join(dir, 'logs', 'trivial.log'),
    prepare: async () => ({ command: process.execPath, args: ['-e', script] }),
    isReady: async () => (await readFile(join(dir, 'logs', 'trivial.log'), 'utf8')).includes('ready'),
    readyTimeoutMs: 10_000, stopTimeoutMs: 5000, ...overrides,
  }, { log: createLog('silent'), clock, onFatal: (error) => { fatal.push(error); }, ...overrides });
  return { child, clock, fatal, dir, [Symbol.asyncDispose]: async () => {
    await child.stop();
    await rm(dir, { recursive: true, force: true });
  } };
}

async function until(what: () => boolean | Promise<boolean>, ms = 15_000): Promise<void> {
  const deadline = Date.now() + ms;
  while (!(await what())) {
    if (Date.now() > deadline) assert.fail('waited too long');
    await sleep(20);
  }
}

const stays = 'console.log("ready"); setInterval(() => {}, 1000)';

test('a child is started, seen ready, and stopped', async () => {
  await using it = await setUp(stays);
  await it.child.start();
  const { pid, state } = it.child.status();
  assert.equal(state, 'ready');
  assert.ok(pid !== undefined && (await processInfo(pid)));
  await it.child.stop();
  assert.equal(it.child.status().state, 'stopped');
  assert.equal(await processInfo(pid), undefined);
  await it.child.stop();
});

test('a killed child is started again', async () => {
  const pids: number[] = [];
  await using it = await setUp(stays, { onSpawn: (pid: number) => { pids.push(pid); } });
  await it.child.start();
  process.kill(pids[0]!, 'SIGKILL');
  await until(() => pids.length === 2 && it.child.status().state === 'ready');
  assert.equal(it.child.status().restarts, 1);
  assert.deepEqual(it.clock.backOffs, [500]);
  assert.deepEqual(it.fatal, []);
});

test('a child that keeps failing backs off, then the owner is told its last words', async () => {
  // Ready the first time, failing from then on.
  await using it = await setUp('const fs = require("fs"); if (fs.existsSync("again")) { console.error("Error: no luck today"); process.exit(3) } fs.writeFileSync("again", ""); console.log("ready"); setTimeout(() => process.exit(1), 200)',
    { isReady: async () => (await readFile(join(it.dir, 'logs', 'trivial.log'), 'utf8')).endsWith('ready\n') });
  await it.child.start();
  await until(() => it.fatal.length === 1);
  assert.deepEqual(it.clock.backOffs, [500, 1000, 2000, 4000, 8000]);
  assert.equal(it.fatal[0]?.code, 'child_failed');
  assert.match(it.fatal[0].message, /^trivial keeps failing: exit code 3; its last words: Error: no luck today/);
  assert.ok(it.fatal[0].hint?.includes(join(it.dir, 'logs', 'trivial.log')));
  assert.equal(it.child.status().state, 'failed');
  await it.child.stop();
});

test('a healthy minute forgives earlier failures', async () => {
  await using it = await setUp(stays);
  await it.child.start();
  for (let round = 1; round <= 2; round += 1) {
    it.clock.advance(61_000);
    process.kill(it.child.status().pid!, 'SIGKILL');
    await until(() => it.child.status().restarts === round && it.child.status().state === 'ready');
  }
  assert.deepEqual(it.clock.backOffs, [500, 500]);
});

test('a child that never becomes ready rejects the start after its second try', async () => {
  await using it = await setUp('console.error("Error: bad set-up"); process.exit(1)');
  await assert.rejects(it.child.start(), (error: unknown) => error instanceof MillraceError && error.code === 'child_failed' && error.message.includes('bad set-up'));
  assert.deepEqual(it.clock.backOffs, [500]);
  assert.deepEqual(it.fatal, []);
});

test('a child that hangs at its start is killed', async () => {
  const pids: number[] = [];
  await using it = await setUp('setInterval(() => {}, 1000)', { readyTimeoutMs: 300, onSpawn: (pid: number) => { pids.push(pid); } });
  await assert.rejects(it.child.start(), /did not become ready within 0.3 s/);
  for (const pid of pids) assert.equal(await processInfo(pid), undefined);
});

test('a command that does not exist is a failure with its name', async () => {
  await using it = await setUp('', { prepare: async () => ({ command: '/nowhere/program', args: [] }) });
  await assert.rejects(it.child.start(), /spawn \/nowhere\/program ENOENT/);
});

test('a child that ignores SIGTERM is killed at the deadline, with its own children', async () => {
  const script = `process.on('SIGTERM', () => {}); const c = require('child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']); require('fs').writeFileSync('grandchild', String(c.pid)); ${stays}`;
  await using it = await setUp(script, { stopTimeoutMs: 300 });
  await it.child.start();
  const grandchild = Number(await readFile(join(it.dir, 'grandchild'), 'utf8'));
  await it.child.stop();
  await until(async () => (await processInfo(grandchild)) === undefined, 2000);
});

test('a full disk is told as such', async () => {
  await using it = await setUp('console.error("java.io.IOException: No space left on device"); process.exit(1)');
  await assert.rejects(it.child.start(), (error: unknown) => error instanceof MillraceError && error.code === 'disk_full');
});

test('stop during the back-off does not wait for it', async () => {
  await using it = await setUp('process.exit(1)', { clock: { nowMs: () => performance.now(), sleep: async (ms, signal) => { await sleep(ms >= 500 ? 60_000 : ms, undefined, { signal }); } } });
  const started = it.child.start();
  const rejected = assert.rejects(started, /stopped before it was ready/);
  await until(() => it.child.status().state === 'restarting');
  await it.child.stop();
  await rejected;
});
