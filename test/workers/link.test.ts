import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLink } from '../../src/workers/link.ts';
import type { Channel, Handlers, Link } from '../../src/workers/link.ts';

type Asked = { double: { body: number; answer: number }; never: { body: null; answer: number }; fails: { body: null; answer: null }; note: { body: string; answer: null } };
type Nothing = Record<string, never>;

/** Both ends of a channel that carries JSON, as Node's does; `sent` counts the messages of the asking side. */
function pair(handlers: Handlers<Asked>): { link: Link<Asked>; sent: () => number; cut: () => void } {
  const listeners: Record<'a' | 'b', (message: unknown) => void> = { a: () => undefined, b: () => undefined };
  let sent = 0;
  let broken = false;
  const end = (mine: 'a' | 'b', theirs: 'a' | 'b'): Channel => ({
    send(message, done) {
      if (mine === 'a') sent++;
      if (broken) throw new Error('Channel closed');
      const text = JSON.stringify(message);
      setImmediate(() => {
        listeners[theirs](JSON.parse(text));
        done(null);
      });
    },
    on: (_event, listener) => void (listeners[mine] = listener),
  });
  createLink<Nothing, Asked>(end('b', 'a'), handlers);
  return { link: createLink<Asked, Nothing>(end('a', 'b'), {}), sent: () => sent, cut: () => void (broken = true) };
}

test('what is asked at once goes as one message, and each gets its own answer', async () => {
  const noted: string[] = [];
  let answerNow: (value: number) => void = () => undefined;
  const { link, sent, cut } = pair({
    double: async n => {
      if (n === 1) await new Promise(resolve => setTimeout(resolve, 10));
      return 2 * n;
    },
    never: () => new Promise(resolve => (answerNow = resolve)),
    fails: () => Promise.reject(new Error('not today')),
    note: text => {
      noted.push(text);
      return null;
    },
  });
  link.tell('note', 'hello');
  assert.deepEqual(await Promise.all([1, 2, 3].map(n => link.ask('double', n, 1_000))), [2, 4, 6]);
  assert.deepEqual([sent(), noted], [1, ['hello']]);
  await assert.rejects(link.ask('fails', null, 1_000), { code: 'worker_silent', message: /not today/ });

  const late: number[] = [];
  await assert.rejects(link.ask('never', null, 20, answer => late.push(answer)), { code: 'worker_silent', message: /within 20 ms/ });
  answerNow(5);
  await link.ask('double', 1, 1_000);
  assert.deepEqual(late, [5], 'an answer after its time is told');

  const open = link.ask('never', null, 10_000);
  await link.ask('double', 1, 1_000);
  cut();
  await assert.rejects(link.ask('double', 1, 10_000), { code: 'worker_silent', message: /Channel closed/ });
  link.close();
  await assert.rejects(open, { code: 'worker_silent', message: /gone/ });
  await assert.rejects(link.ask('double', 1, 10_000), { code: 'worker_silent', message: /gone/ });
});
