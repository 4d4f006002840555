import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { test } from 'node:test';
import { drive } from './long/drive.ts';
import { factsOf, tableOf } from './long/report.ts';

/*
 * faults.md 7, 13–16, 18–23 at once, on a stack of its own: three sinks, traffic with copies, poison and aborted
 * transactions, and whatever long/faults.ts can do to them. `npm run test:faults` is the same for minutes.
 */
test('three sinks under every fault once: what is stored is what was sent', async t => {
  const seed = randomInt(1_000_000);
  const result = await drive({
    seed, form: 'short', kills: 8, faultsMs: 20_000, sinks: 3, partitions: 6, rate: 200, reconcileMs: 75_000, reconcileEveryMs: 2_000, strict: true, lateMs: 4_000,
    say: line => { if (process.env['MILLRACE_TEST_LOG'] !== undefined) t.diagnostic(line); },
  });
  t.diagnostic(tableOf(new Map([[String(seed), factsOf(result)]])));
  assert.deepEqual(result.wrong.slice(0, 20), [], `seed ${seed}: ${result.wrong.length} things are wrong; logs in ${result.folder}`);
  // On a busy machine not all of them find the time.
  assert.ok(result.injected.size >= 3, 'faults came about');
  await rm(result.folder, { recursive: true, force: true });
});
