import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { freshConfig } from '../helpers/shared-stack.ts';
import { startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';

/* faults.md 27: one user, and so one partition, is half of the traffic. The events of others do not wait behind it. */

const samples = 200;
const properties = { text: 'x'.repeat(500) };

let system: System;
let next = 0;
before(async () => {
  system = await startSystem(freshConfig(), { withSink: false });
});
// There is no database to drop: no sink has made one.
after(() => system.door.close());

/** Two clients send batches, one of them those of `userOf`; how long, in ms, 99 of 100 events wait that others send alone meanwhile. */
async function waitBeside(userOf: () => string): Promise<number> {
  const waits: number[] = [];
  const sent = [0, 0];
  const deadline = performance.now() + 20_000;
  const goesOn = (): boolean => waits.length < samples && performance.now() < deadline;
  const batches = async (which: 0 | 1, user: () => string): Promise<void> => {
    while (goesOn()) {
      const { status, body } = await system.post('/v1/batch', { batch: Array.from({ length: 100 }, () => ({ type: 'track', event: 'E', userId: user(), properties })) });
      assert.deepEqual([status, body['accepted']], [200, 100]);
      sent[which] = (sent[which] ?? 0) + 100;
      // Neither is far ahead of the other: half is half.
      do await new Promise(resolve => setTimeout(resolve, 2));
      while (goesOn() && (sent[which] ?? 0) > (sent[1 - which] ?? 0) + 100);
    }
  };
  const alone = async (): Promise<void> => {
    while (goesOn()) {
      const started = performance.now();
      const { status } = await system.post('/v1/track', { event: 'E', userId: `alone-${next++}` });
      assert.equal(status, 200);
      waits.push(performance.now() - started);
    }
  };
  await Promise.all([batches(0, userOf), batches(1, () => `user-${next++}`), alone(), alone(), alone(), alone()]);
  assert.ok(waits.length >= samples && Math.min(...sent) >= 200, `${waits.length} alone, ${sent.join(' and ')} in batches`);
  return waits.sort((a, b) => a - b)[Math.floor(waits.length * 0.99)] ?? Infinity;
}

test('one user is half of the traffic: 99 of 100 events of others wait hardly longer than beside users in plenty', { timeout: 60_000 }, async () => {
  const even = await waitBeside(() => `user-${next++}`);
  const hot = await waitBeside(() => 'hot');
  // Room for a machine that has other things to do in one of the two.
  assert.ok(hot <= 3 * even + 250, `p99 ${hot.toFixed()} ms beside one user, ${even.toFixed()} ms beside many`);
});
