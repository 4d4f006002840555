import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MillraceError } from '../../src/errors.ts';
import { keepWorker } from '../../src/workers/keep-worker.ts';
import type { Forked } from '../../src/workers/keep-worker.ts';
import { testLog } from '../helpers/shared-stack.ts';

/** A worker that serves or not, and ends when it is told. */
function fakeWorkers(serves: (life: number) => boolean) {
  const ends: ((how: string) => void)[] = [];
  const closed: number[] = [];
  const killed: number[] = [];
  const fork = (): Forked => {
    const life = ends.length;
    let end: (how: string) => void = () => undefined;
    const exited = new Promise<string>(resolve => (end = resolve));
    ends.push(end);
    return {
      pid: life,
      start: () => (serves(life) ? Promise.resolve('http://here') : Promise.reject(new MillraceError('port_taken', 'the port is taken'))),
      exited,
      close: () => void closed.push(life),
      kill: () => {
        killed.push(life);
        end('was ended by SIGKILL');
      },
    };
  };
  return { fork, end: (life: number) => ends[life]?.('ended with exit code 7'), lives: () => ends.length, closed, killed };
}

const soon = (): Promise<void> => new Promise(resolve => setTimeout(resolve, 5));

test('one that ends is started again with a back-off; too often in a row is the end, and a healthy minute starts the count over', async () => {
  const workers = fakeWorkers(() => true);
  const delays: number[] = [];
  let nowMs = 0;
  let restarts = 0;
  const failed: MillraceError[] = [];
  const kept = keepWorker({ number: 2, fork: workers.fork, now: () => nowMs, sleep: async ms => void delays.push(ms), onRestart: () => restarts++, onFailed: error => failed.push(error), log: testLog().child({}, { level: 'silent' }) });
  assert.equal(await kept.start(), 'http://here');
  for (let life = 0; life < 2; life++) {
    workers.end(life);
    await soon();
  }
  assert.ok(kept.serving());
  nowMs += 60_000;
  for (let life = 2; life < 8; life++) {
    workers.end(life);
    await soon();
  }
  assert.deepEqual([delays, restarts, workers.lives()], [[500, 1_000, 500, 1_000, 2_000, 4_000, 8_000], 7, 8]);
  assert.deepEqual(failed.map(({ code, message }) => [code, message]), [['child_failed', 'worker 2 ended 6 times in a row; the last time: worker 2 ended with exit code 7']]);
  assert.equal(kept.serving(), false);
  await kept.close();
});

test('one that never served is not tried again: what kept it from that is thrown', async () => {
  const workers = fakeWorkers(() => false);
  const kept = keepWorker({ number: 1, fork: workers.fork, onRestart: assert.fail, onFailed: assert.fail, log: testLog() });
  await assert.rejects(kept.start(), { code: 'port_taken' });
  assert.deepEqual([workers.lives(), workers.killed], [1, [0]]);
  await kept.close();
});

test('closing lets it finish, kills it when that takes too long, and wakes one that waits to be started', async () => {
  const workers = fakeWorkers(() => true);
  const options = { number: 1, fork: workers.fork, onRestart: assert.fail, onFailed: assert.fail, log: testLog().child({}, { level: 'silent' }) };
  const orderly = keepWorker(options);
  await orderly.start();
  const closing = orderly.close();
  assert.deepEqual(workers.closed, [0]);
  workers.end(0);
  await closing;

  const hangs = keepWorker({ ...options, closeTimeoutMs: 20 });
  await hangs.start();
  await hangs.close();
  assert.deepEqual([workers.killed, workers.lives()], [[1], 2]);

  const waits = keepWorker(options);
  await waits.start();
  workers.end(2);
  await soon();
  await waits.close();
  assert.equal(workers.lives(), 3);
});
