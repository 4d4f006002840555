import { setTimeout as sleepFor } from 'node:timers/promises';
import { MillraceError, asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';

/*
 * Keeps one worker running.
 *
 *   state       means                                    goes to
 *   starting    forked, does not serve yet               serving; restarting, or failed, where it ends or takes too long
 *   serving     takes requests                           restarting, where it ends
 *   restarting  waits its back-off: 0.5, 1, 2, 4, 8 s    starting
 *   failed      ended too often in a row                 (end; the owner is told)
 *   closed      close() was called                       (end)
 *
 * The count starts over after a healthy minute. One that has never served is not started again: then it is not bad luck but the set-up.
 */

/** A process that was forked. */
export interface Forked {
  pid: number | undefined;
  /** Resolves with where it listens, when it serves. */
  start(): Promise<string>;
  /** How it ended, in words. */
  exited: Promise<string>;
  /** Lets it finish what is under way, and end. */
  close(): void;
  kill(): void;
}

export interface KeepWorkerOptions {
  /** From 1. */
  number: number;
  fork: () => Forked;
  onRestart: () => void;
  /** It served once, and then ended too often. */
  onFailed: (error: MillraceError) => void;
  /** From close() to kill -9, in ms: longer than a request and its publishing may take. */
  closeTimeoutMs?: number;
  now?: () => number;
  sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  log: Log;
}

export interface KeptWorker {
  /** Resolves with where it listens; throws what kept it from serving. */
  start(): Promise<string>;
  /** Resolves when it is gone. */
  close(): Promise<void>;
  serving(): boolean;
}

const backOffMs = [500, 1_000, 2_000, 4_000, 8_000];
const healthyAfterMs = 60_000;

export function keepWorker({ number, fork, onRestart, onFailed, closeTimeoutMs = 45_000, now = () => performance.now(), sleep = sleepUntilAborted, log }: KeepWorkerOptions): KeptWorker {
  const closing = new AbortController();
  let current: Forked | null = null;
  let serving = false;
  let loop: Promise<void> = Promise.resolve();

  /** One life; how it ended, and whether it was a healthy one. */
  const live = async (onServing: (url: string) => void): Promise<{ why: Error; healthy: boolean }> => {
    const worker = fork();
    current = worker;
    let sinceMs: number | null = null;
    let why: Error | null = null;
    const gone = worker.exited.then(how => new MillraceError('child_failed', `worker ${number} ${how}`));
    try {
      const url = await Promise.race([worker.start(), gone.then(error => Promise.reject(error))]);
      sinceMs = now();
      serving = true;
      note(log, 'worker_serves', { worker: number, pid: worker.pid });
      onServing(url);
    } catch (thrown) {
      why = asError(thrown);
      worker.kill();
    }
    const ended = await gone;
    serving = false;
    current = null;
    return { why: why ?? ended, healthy: sinceMs !== null && now() - sinceMs >= healthyAfterMs };
  };
  const keep = async (onFirst: (url: string) => void): Promise<void> => {
    let failures = 0;
    let served = false;
    for (;;) {
      const { why, healthy } = await live(url => {
        if (!served) onFirst(url);
        served = true;
      });
      if (closing.signal.aborted) return;
      if (!served) throw why;
      failures = healthy ? 1 : failures + 1;
      const delayMs = backOffMs[failures - 1];
      if (delayMs === undefined) throw new MillraceError('child_failed', `worker ${number} ended ${failures} times in a row; the last time: ${why.message}`, { cause: why, hint: 'The log above says what it was doing.' });
      note(log, 'worker_ended', { worker: number, why: why.message, delayMs });
      await sleep(delayMs, closing.signal);
      if (closing.signal.aborted) return;
      onRestart();
    }
  };

  return {
    start: () => new Promise((resolve, reject) => {
      let first = true;
      loop = keep(url => {
        first = false;
        resolve(url);
      }).then(
        () => reject(new MillraceError('child_failed', `worker ${number} was closed before it served`)),
        (thrown: unknown) => {
          const error = thrown instanceof MillraceError ? thrown : new MillraceError('internal', asError(thrown).message, { cause: thrown });
          if (first) reject(error);
          else onFailed(error);
        },
      );
    }),
    async close() {
      closing.abort();
      const late = setTimeout(() => {
        note(log, 'worker_killed', { worker: number });
        current?.kill();
      }, closeTimeoutMs);
      current?.close();
      await loop;
      clearTimeout(late);
    },
    serving: () => serving,
  };
}

async function sleepUntilAborted(ms: number, signal: AbortSignal): Promise<void> {
  await sleepFor(ms, undefined, { signal }).catch(() => undefined);
}
