import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTurns } from '../../src/sink/turns.ts';

const tick = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

test('one piece of work at a time, in the order of asking, and on after one that fails', async () => {
  const turns = createTurns();
  const seen: string[] = [];
  const work = (name: string, fails = false) => async (): Promise<string> => {
    seen.push(`${name} begins`);
    await tick();
    await tick();
    seen.push(`${name} ends`);
    if (fails) throw new Error(name);
    return name;
  };
  const results = await Promise.allSettled([turns(work('a')), turns(work('b', true)), turns(work('c'))]);
  assert.deepEqual(seen, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
  assert.deepEqual(results.map(result => (result.status === 'fulfilled' ? result.value : asText(result.reason))), ['a', 'Error: b', 'c']);
});

test('one that does not end is not waited for without end', async () => {
  const turns = createTurns(20);
  let release: () => void = () => undefined;
  const hanging = turns(() => new Promise<void>(resolve => (release = resolve)));
  assert.equal(await turns(() => Promise.resolve('went on')), 'went on');
  assert.equal(await turns(() => Promise.resolve('and on')), 'and on');
  release();
  await hanging;
});

function asText(reason: unknown): string {
  return String(reason);
}
