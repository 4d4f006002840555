import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodePlan, planOf, settledMetadata } from '../../src/sink/plan.ts';
import { createProfileFeed } from '../../src/sink/profile-feed.ts';
import type { OffsetRange, ProfileFeed } from '../../src/sink/profile-feed.ts';
import { testLog } from '../helpers/shared-stack.ts';

/* When what waits is fed, on plain ranges; what feeding does in ClickHouse is in profiles.test.ts, and what crashes do to it in the simulation. */

const minute = 60_000;
const day = 24 * 60 * minute;

interface Scene {
  feed: ProfileFeed;
  /** Each statement's ranges. */
  fed: string[][];
  ranges: OffsetRange[];
  /** A second passes. */
  tick: () => Promise<void>;
  scheduled: () => boolean;
  /** Both clocks; and how long the machine slept, which only the time of day knows. */
  time: { ms: number; sleptMs: number };
  unfed: (partition: number, topic?: string) => bigint | null;
}

function scene(fail: (ranges: readonly OffsetRange[]) => boolean = () => false): Scene {
  const fed: string[][] = [];
  const all: OffsetRange[] = [];
  const time = { ms: 0, sleptMs: 0 };
  let work: (() => void) | null = null;
  const feed = createProfileFeed({
    async feed(ranges) {
      if (fail(ranges)) throw new Error('not now');
      fed.push(ranges.map(({ topic, partition, first, last }) => `${topic}/${partition}/${first}-${last}`));
      all.push(...ranges);
    },
    later(run) {
      work = run;
      return () => void (work = null);
    },
    now: () => time.ms,
    clock: () => 100 * day + time.ms + time.sleptMs,
    log: testLog(),
  });
  return {
    feed, fed, ranges: all, time,
    unfed: (partition, topic = 't') => feed.unfed(topic, partition)?.from ?? null,
    scheduled: () => work !== null,
    async tick() {
      const run = work;
      work = null;
      time.ms += 1_000;
      run?.();
      for (let turn = 0; turn < 3; turn++) await new Promise(resolve => setImmediate(resolve));
    },
  };
}
const at = (partition: number, first: number, last: number, more: Partial<OffsetRange> = {}): OffsetRange => ({ topic: 't', partition, first: BigInt(first), last: BigInt(last), ...more });

test('what several batches added is fed in one statement, and not unfed any more', async () => {
  const { feed, fed, tick, scheduled, unfed } = scene();
  assert.equal(unfed(0), null);
  feed.add(at(0, 5, 9));
  feed.add(at(0, 10, 12));
  feed.add(at(1, 3, 3));
  assert.deepEqual([unfed(0), unfed(1), unfed(2), unfed(0, 'other')], [5n, 3n, null, null]);
  await tick();
  assert.deepEqual(fed, [['t/0/5-12', 't/1/3-3']]);
  assert.deepEqual([unfed(0), unfed(1), scheduled()], [null, null, false]);
});

test('what is known of rows bounds where ClickHouse looks: how long ago they were stored, or their times', async () => {
  const { feed, ranges, tick, time } = scene();
  feed.add(at(0, 5, 9, { storedWithinMs: 50 }));
  time.ms += 300;
  feed.add(at(0, 10, 12, { storedWithinMs: 20 }));
  feed.add(at(0, 13, 14, { times: { fromMs: 7, toMs: 9 } }));
  feed.add(at(0, 15, 16, { times: { fromMs: 4, toMs: 8 } }));
  feed.add(at(0, 17, 18));
  assert.deepEqual(feed.unfed('t', 0), { from: 5n, sinceMs: null });
  await tick();
  // From the first of them on until the statement, and as long as a request may be on its way.
  assert.deepEqual(ranges.map(({ first, last, storedWithinMs, times }) => [first, last, storedWithinMs, times]), [
    [5n, 12n, 50 + 300 + 1_000 + 5 * minute, undefined],
    [13n, 16n, undefined, { fromMs: 4, toMs: 9 }],
    [17n, 18n, undefined, undefined],
  ]);
  feed.add(at(1, 1, 1, { storedWithinMs: 40 }));
  time.ms += 10;
  assert.deepEqual(feed.unfed('t', 1), { from: 1n, sinceMs: 100 * day + time.ms - 50 });
});

test('a machine that slept between a batch and its profiles has not forgotten how old the rows are', async () => {
  const { feed, ranges, tick, time } = scene();
  feed.add(at(0, 5, 9, { storedWithinMs: 50 }));
  time.sleptMs += day;
  await tick();
  assert.equal(ranges[0]?.storedWithinMs, 50 + day + 1_000 + 5 * minute);
});

test('a range in several pieces that fails comes behind the others', async () => {
  const { feed, fed, tick } = scene(ranges => ranges.some(({ partition }) => partition === 0));
  feed.add(at(0, 0, 99_999));
  feed.add(at(1, 1, 1));
  await tick();
  await tick();
  assert.deepEqual(fed, [['t/1/1-1']]);
});

test('ranges that do not touch stay apart, however far', async () => {
  const { feed, fed, tick } = scene();
  feed.add(at(0, 9_999_000, 9_999_999));
  feed.add(at(0, 0, 500));
  await tick();
  assert.deepEqual(fed, [['t/0/9999000-9999999', 't/0/0-500']]);
});

test('what could not be fed stays unfed and is tried again, with what came meanwhile, and behind the others', async () => {
  let failing = 0;
  const { feed, fed, tick, scheduled, unfed } = scene(ranges => ranges.some(({ partition }) => partition === failing));
  feed.add(at(0, 5, 50_004));
  feed.add(at(1, 1, 50_000));
  await tick();
  feed.add(at(0, 50_005, 50_006));
  assert.deepEqual([fed, unfed(0), scheduled()], [[], 5n, true]);
  await tick();
  assert.deepEqual([fed, unfed(1), scheduled()], [[['t/1/1-50000']], null, true]);
  failing = -1;
  await tick();
  assert.deepEqual([fed.slice(1), unfed(0), scheduled()], [[['t/0/5-50004'], ['t/0/50005-50006']], null, false]);
});

test('much at once is fed in pieces, and what was fed before a fault is not fed again', async () => {
  let calls = 0;
  const { feed, fed, tick, unfed } = scene(() => calls++ === 2);
  feed.add(at(0, 0, 119_999));
  feed.add(at(1, 0, 19_999));
  await tick();
  assert.deepEqual(fed, [['t/0/0-49999'], ['t/0/50000-99999']]);
  assert.deepEqual([unfed(0), unfed(1)], [100_000n, 0n]);
  await tick();
  // One by one after a failure: one of them may be to blame.
  assert.deepEqual(fed.slice(2), [['t/0/100000-119999'], ['t/1/0-19999']]);
});

test('a statement names no more ranges than ClickHouse takes', async () => {
  const { feed, fed, tick } = scene();
  for (let partition = 0; partition < 1_200; partition++) feed.add(at(partition, 1, 1));
  await tick();
  assert.deepEqual(fed.map(ranges => ranges.length), [500, 500, 200]);
});

test('who takes a partition over feeds what its commit says, whatever the batches are', async () => {
  const { feed, fed, ranges, tick, unfed } = scene();
  const plan = planOf([{ offset: 20n, value: Buffer.from('v') }, { offset: 22n, value: Buffer.from('v') }]);
  const since = { sinceMs: 100 * day - 5 * minute };
  const commits = new Map([
    [0, { offset: 9n, metadata: settledMetadata(9n, null, '', { from: 4n, ...since }) }],
    // The plan may be stored, and its records be gone when they are asked for again.
    [1, { offset: 20n, metadata: encodePlan(plan, null, { from: 12n, sinceMs: null }) }],
    [2, { offset: 9n, metadata: settledMetadata(9n) }],
    [3, { offset: 20n, metadata: encodePlan(plan) }],
    // Set back by a tool that keeps the metadata, and one that does not.
    [4, { offset: 7n, metadata: settledMetadata(9n, null, '', { from: 4n, ...since }) }],
    [5, { offset: 200_000n, metadata: '' }],
    [6, { offset: null, metadata: '' }],
    [7, { offset: 0n, metadata: '' }],
  ]);
  feed.takeOver('t', commits);
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 7].map(partition => unfed(partition)), [4n, 12n, null, 20n, 0n, 100_000n, null, null]);
  await tick();
  assert.deepEqual(fed, [['t/0/4-8', 't/1/12-22', 't/3/20-22', 't/4/0-6'], ['t/5/100000-149999'], ['t/5/150000-199999']]);
  // The clock of who was killed need not be right.
  assert.equal(ranges[0]?.storedWithinMs, 5 * minute + day + 1_000 + 5 * minute);
  assert.equal(ranges[1]?.storedWithinMs, undefined);
  // The next session begins with the same commits.
  feed.takeOver('t', commits);
  assert.deepEqual([0, 1, 3, 4, 5].map(partition => unfed(partition)), [null, null, null, null, null]);
});

test('closing feeds what waits; what cannot be fed is left to the next owner, and nothing is left to do', async () => {
  const open = scene();
  open.feed.add(at(0, 1, 2));
  await open.feed.close();
  assert.deepEqual([open.fed, open.scheduled()], [[['t/0/1-2']], false]);
  const down = scene(() => true);
  down.feed.add(at(0, 1, 2));
  await down.feed.close();
  assert.deepEqual([down.fed, down.unfed(0), down.scheduled()], [[], 1n, false]);
  // A flush that was under way when it was closed.
  const busy = scene(() => true);
  busy.feed.add(at(0, 1, 2));
  await Promise.all([busy.tick(), busy.feed.close()]);
  assert.equal(busy.scheduled(), false);
});
