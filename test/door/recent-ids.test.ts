import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRecentIds } from '../../src/door/recent-ids.ts';
import type { Claim } from '../../src/door/recent-ids.ts';

const settle = (claim: Claim, hash: string | null): void => (claim.kind === 'yours' ? claim.settle(hash) : assert.fail('it is known'));

test('one has an id at a time; the others wait, and know it when it is settled', async () => {
  const ids = createRecentIds();
  const first = await ids.claim('a');
  let waits = true;
  const others = Promise.all([ids.claim('a'), ids.claim('a')]).finally(() => (waits = false));
  await new Promise(resolve => setImmediate(resolve));
  assert.deepEqual([first.kind, waits, (await ids.claim('b')).kind], ['yours', true, 'yours']);
  settle(first, '17');
  assert.deepEqual(await others, [{ kind: 'known', hash: '17' }, { kind: 'known', hash: '17' }]);
  assert.deepEqual(await ids.claim('a'), { kind: 'known', hash: '17' });
});

test('what is given back goes to the next one that waits, and is settled once', async () => {
  const ids = createRecentIds();
  const first = await ids.claim('a');
  const [second, third] = [ids.claim('a'), ids.claim('a')];
  settle(first, null);
  assert.equal((await second).kind, 'yours');
  // One that has given it back has no say any more.
  settle(first, '1');
  settle(await second, null);
  settle(await third, null);
  const last = await ids.claim('a');
  settle(last, '2');
  assert.deepEqual(await ids.claim('a'), { kind: 'known', hash: '2' });
});

test('the oldest are forgotten, and an id that is at work is not', async () => {
  const ids = createRecentIds(2);
  const open = await ids.claim('open');
  for (const id of ['a', 'b', 'c']) settle(await ids.claim(id), id);
  assert.deepEqual(await Promise.all([ids.claim('a'), ids.claim('b'), ids.claim('c')].map(async claim => (await claim).kind)), ['yours', 'known', 'known']);
  const waiting = ids.claim('open');
  settle(open, '1');
  assert.equal((await waiting).kind, 'known');
});
