import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClaims } from '../../src/sink/claims.ts';

const forever = new AbortController().signal;

test('batches with an id in common take turns, others do not wait', async () => {
  const claims = createClaims();
  const journal: string[] = [];
  const hold = async (name: string, ids: string[]): Promise<() => void> => {
    const release = await claims.take(new Set(ids), forever);
    journal.push(`${name} in`);
    return () => {
      journal.push(`${name} out`);
      release();
    };
  };
  const a = await hold('a', ['1', '2']);
  const later = [hold('b', ['2', '3']), hold('c', ['3', '1'])];
  const d = await hold('d', ['4']);
  d();
  assert.deepEqual(journal, ['a in', 'd in', 'd out']);
  a();
  const first = await Promise.race(later);
  assert.equal(journal.length, 5);
  first();
  for (const release of await Promise.all(later)) if (release !== first) release();
  assert.deepEqual(journal.map(line => line.split(' ')[1]), ['in', 'in', 'out', 'out', 'in', 'out', 'in', 'out']);
  (await hold('e', ['1', '2', '3', '4']))();
});

test('who waits is let go when its session ends', async () => {
  const claims = createClaims();
  await claims.take(new Set(['1']), forever);
  const session = new AbortController();
  const waiting = claims.take(new Set(['1']), session.signal);
  session.abort(new Error('over'));
  await assert.rejects(waiting, /over/);
});
