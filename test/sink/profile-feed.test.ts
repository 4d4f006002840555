import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodePlan, planOf, settledMetadata } from '../../src/sink/plan.ts';
import { createProfileFeed } from '../../src/sink/profile-feed.ts';
import type { OffsetRange, ProfileFeed } from '../../src/sink/profile-feed.ts';
import { testLog } from '../helpers/shared-stack.ts';

/* When what waits is fed, on plain ranges; what feeding does in ClickHouse is in profiles.test.ts, and what crashes do to it in the simulation. */

function scene(fail: (ranges: readonly OffsetRange[]) => boolean = () => false): { feed: ProfileFeed; fed: string[][]; tick: () => Promise<void>; scheduled: () => boolean } {
  const fed: string[][] = [];
  let work: (() => void) | null = null;
  const feed = createProfileFeed({
    async feed(ranges) {
      if (fail(ranges)) throw new Error('not now');
      fed.push(ranges.map(({ topic, partition, first, last }) => `${topic}/${partition}/${first}-${last}`));
    },
    later(run) {
      work = run;
      return () => (work = null);
    },
    log: testLog(),
  });
  return {
    feed, fed,
    scheduled: () => work !== null,
    async tick() {
      const run = work;
      work = null;
      run?.();
      for (let turn = 0; turn < 20; turn++) await Promise.resolve();
      await new Promise(resolve => setImmediate(resolve));
    },
  };
}
const at = (partition: number, first: number, last: number): OffsetRange => ({ topic: 't', partition, first: BigInt(first), last: BigInt(last) });

test('what several batches added is fed in one statement, and not unfed any more', async () => {
  const { feed, fed, tick, scheduled } = scene();
  assert.equal(feed.unfedFrom('t', 0), null);
  feed.add(at(0, 5, 9));
  feed.add(at(0, 10, 12));
  feed.add(at(1, 3, 3));
  assert.deepEqual([feed.unfedFrom('t', 0), feed.unfedFrom('t', 1), feed.unfedFrom('t', 2), feed.unfedFrom('other', 0)], [5n, 3n, null, null]);
  await tick();
  assert.deepEqual(fed, [['t/0/5-12', 't/1/3-3']]);
  assert.deepEqual([feed.unfedFrom('t', 0), feed.unfedFrom('t', 1), scheduled()], [null, null, false]);
});

test('what could not be fed stays unfed and is tried again, with what came meanwhile', async () => {
  let down = true;
  const { feed, fed, tick, scheduled } = scene(() => down);
  feed.add(at(0, 5, 9));
  await tick();
  feed.add(at(0, 10, 12));
  assert.deepEqual([feed.unfedFrom('t', 0), scheduled()], [5n, true]);
  down = false;
  await tick();
  assert.deepEqual([fed, feed.unfedFrom('t', 0), scheduled()], [[['t/0/5-12']], null, false]);
});

test('much at once is fed in pieces, and what was fed before a fault is not fed again', async () => {
  let calls = 0;
  const { feed, fed, tick } = scene(() => calls++ === 2);
  feed.add(at(0, 0, 119_999));
  feed.add(at(1, 0, 19_999));
  await tick();
  assert.deepEqual(fed, [['t/0/0-49999'], ['t/0/50000-99999']]);
  assert.deepEqual([feed.unfedFrom('t', 0), feed.unfedFrom('t', 1)], [100_000n, 0n]);
  await tick();
  assert.deepEqual(fed.slice(2), [['t/0/100000-119999', 't/1/0-19999']]);
});

test('who takes a partition over feeds what its commit says, whatever the batches are', async () => {
  const { feed, fed, tick } = scene();
  const plan = encodePlan(planOf([{ offset: 20n, value: Buffer.from('v') }]), null, 12n);
  feed.takeOver('t', new Map([
    [0, { offset: 9n, metadata: settledMetadata(9n, null, '', 4n) }],
    [1, { offset: 20n, metadata: plan }],
    [2, { offset: 9n, metadata: settledMetadata(9n) }],
    // Set back by a tool that keeps the metadata, and one that does not.
    [3, { offset: 7n, metadata: settledMetadata(9n, null, '', 4n) }],
    [4, { offset: 200_000n, metadata: '' }],
    [5, { offset: null, metadata: '' }],
    [6, { offset: 0n, metadata: '' }],
  ]));
  assert.deepEqual([feed.unfedFrom('t', 0), feed.unfedFrom('t', 1)], [4n, 12n]);
  assert.deepEqual([feed.unfedFrom('t', 2), feed.unfedFrom('t', 3), feed.unfedFrom('t', 4), feed.unfedFrom('t', 5), feed.unfedFrom('t', 6)], [null, 0n, 100_000n, null, null]);
  await tick();
  assert.deepEqual(fed, [['t/0/4-8', 't/1/12-19', 't/3/0-6'], ['t/4/100000-149999'], ['t/4/150000-199999']]);
});

test('closing feeds what waits; what cannot be fed is left to the next owner', async () => {
  const open = scene();
  open.feed.add(at(0, 1, 2));
  await open.feed.close();
  assert.deepEqual([open.fed, open.scheduled()], [[['t/0/1-2']], false]);
  const down = scene(() => true);
  down.feed.add(at(0, 1, 2));
  await down.feed.close();
  assert.deepEqual([down.fed, down.feed.unfedFrom('t', 0), down.scheduled()], [[], 1n, false]);
});
