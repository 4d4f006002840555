import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StoredPlace } from '../../src/sink/event-tables.ts';
import { gatherLookUps } from '../../src/sink/gather-look-ups.ts';
import { eventually } from '../helpers/eventually.ts';

const place = (partition: number): StoredPlace => ({ topic: 't', partition, offset: 1n, contentHash: '0' });
const stored = new Map([['a', [place(0)]], ['b', [place(1), place(2)]], ['c', [place(3)]]]);
const live = new AbortController().signal;

/** A table whose look-ups end when told to. */
function slow(): { findIds: Parameters<typeof gatherLookUps>[0]; asked: string[][]; answer: (fault?: Error) => Promise<void> } {
  const asked: string[][] = [];
  let end: (fault?: Error) => void = () => undefined;
  return {
    asked,
    findIds: ids => {
      asked.push([...ids]);
      return new Promise((resolve, reject) => {
        end = fault => (fault === undefined ? resolve(new Map([...stored].filter(([id]) => ids.includes(id)))) : reject(fault));
      });
    },
    async answer(fault) {
      end(fault);
      await new Promise(resolve => setImmediate(resolve));
    },
  };
}

test('what is asked while one look-up runs is asked together by the next, and each gets its own', async () => {
  const { findIds, asked, answer } = slow();
  const find = gatherLookUps(findIds);
  const first = find(['a', 'x'], live);
  const others = [find(['b'], live), find(['b', 'c', 'y'], live), find([], live)];
  assert.deepEqual(asked, [['a', 'x']]);
  await answer();
  assert.deepEqual(asked[1], ['b', 'c', 'y']);
  await answer();
  assert.deepEqual([...(await first).keys()], ['a']);
  assert.deepEqual((await Promise.all(others)).map(found => [...found]), [[['b', stored.get('b')]], [['b', stored.get('b')], ['c', stored.get('c')]], []]);
  const alone = find(['c'], live);
  await answer();
  assert.equal((await alone).size, 1);
});

test('a statement has no more ids than ClickHouse takes', async () => {
  const { findIds, asked, answer } = slow();
  const find = gatherLookUps(findIds);
  const many = (name: string): string[] => Array.from({ length: 60_000 }, (_none, index) => `${name}${index}`);
  const all = [find(['a'], live), find(many('x'), live), find(many('y'), live)];
  for (let turn = 0; turn < 3; turn++) await answer();
  await Promise.all(all);
  assert.deepEqual(asked.map(ids => ids.length), [1, 60_000, 60_000]);
});

test('a fault is that of all who asked together, and the next look-up is a new one', async () => {
  const { findIds, answer } = slow();
  const find = gatherLookUps(findIds);
  const first = find(['a'], live);
  const together = Promise.allSettled([find(['b'], live), find(['c'], live)]);
  await answer();
  await first;
  await answer(new Error('not now'));
  assert.deepEqual((await together).map(({ status }) => status), ['rejected', 'rejected']);
  const again = find(['a'], live);
  await answer();
  assert.equal((await again).size, 1);
});

test('who is aborted waits no more and is not asked for; the others are', async () => {
  const { findIds, asked, answer } = slow();
  const find = gatherLookUps(findIds);
  const session = new AbortController();
  const running = find(['a'], session.signal);
  const waiting = find(['b'], session.signal);
  const other = find(['c'], live);
  session.abort(new Error('over'));
  await assert.rejects(running, /over/);
  await assert.rejects(waiting, /over/);
  await assert.rejects(find(['a'], session.signal), /over/);
  await answer();
  assert.deepEqual(asked, [['a'], ['c']]);
  await answer();
  assert.equal((await other).size, 1);
});

test('a look-up that hangs keeps nobody waiting for long', async () => {
  const { findIds, asked } = slow();
  const hanging: typeof findIds = (ids, signal) => (ids.includes('x') ? new Promise(() => void asked.push([...ids])) : findIds(ids, signal));
  const find = gatherLookUps(hanging, 20);
  const session = new AbortController();
  const stuck = find(['x'], session.signal);
  void find(['a'], live);
  await eventually(() => asked, ({ length }) => length === 2, 5_000, 5);
  assert.deepEqual(asked, [['x'], ['a']]);
  session.abort(new Error('over'));
  await assert.rejects(stuck, /over/);
});
