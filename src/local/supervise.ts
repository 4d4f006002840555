import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError, asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { boundLog, lastMeaningfulLine, logTail, openLog } from './log-file.ts';
import { signalGroup } from './process-info.ts';

/**
 * Keeps one child process running.
 *
 * | state      | means                                    | goes to |
 * | starting   | spawned, does not answer yet             | ready; restarting or failed when it exits or takes too long |
 * | ready      | has answered                             | restarting when it exits |
 * | restarting | waits its back-off: 0.5, 1, 2, 4, 8 s    | starting |
 * | failed     | failed too often in a row, and is left   | (end; the owner was told) |
 * | stopped    | stop() was called, or it never started   | (end) |
 *
 * A failure is an exit that nobody asked for, or not answering in time. The count starts over after a healthy minute.
 * Until it has answered for the first time, the second failure is the last: then it is not bad luck but the set-up.
 */
export interface ChildSpec {
  name: string;
  /** What to run; asked before every start. */
  prepare(): Promise<{ command: string; args: readonly string[] }>;
  cwd: string;
  /** Whether the child holds the end of a pipe, by which it sees that we are gone. */
  lifeline: boolean;
  /** Where its output goes; moved to `<logFile>.1` at the first start. */
  logFile: string;
  /** Whether it does its work; asked again and again until it does. */
  isReady(): Promise<boolean>;
  readyTimeoutMs: number;
  /** From SIGTERM to SIGKILL. */
  stopTimeoutMs: number;
}

export type PartState = 'starting' | 'ready' | 'restarting' | 'failed' | 'stopped';

export interface PartStatus {
  name: string;
  pid: number | undefined;
  state: PartState;
  /** How often it was started again, in all. */
  restarts: number;
  logFile: string;
}

export interface SuperviseDeps {
  log: Log;
  clock?: Clock;
  onSpawn?: (pid: number) => void;
  onExit?: (pid: number) => void;
  /** It failed too often after it had been ready once. Before that, `start` rejects instead. */
  onFatal: (error: MillraceError) => void;
}

export interface Clock {
  nowMs(): number;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export interface Supervised {
  /** Starts it and waits until it is ready. Throws `child_failed` or `disk_full`. */
  start(): Promise<void>;
  /** Stops it for good, and waits until it is gone. */
  stop(): Promise<void>;
  status(): PartStatus;
}

const backOffMs = [500, 1000, 2000, 4000, 8000];
const maxFailures = 5;
const healthyAfterMs = 60_000;
const pollMs = 50;
const maxLogBytes = 16 * 1024 * 1024;

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  sleep: async (ms, signal) => { await sleep(ms, undefined, { signal }); },
};

interface Running {
  process: ChildProcess;
  pid: number;
  exited: Promise<string>;
}

export function createSupervised(spec: ChildSpec, deps: SuperviseDeps): Supervised {
  const { clock = systemClock, onFatal, log } = deps;
  const part = spec.name;
  const stopping = new AbortController();
  let state: PartState = 'stopped';
  let restarts = 0;
  let running: Running | undefined;
  let loop: Promise<void> | undefined;

  async function keepRunning(onFirstReady: () => void): Promise<void> {
    let failures = 0;
    let wasReady = false;
    for (let attempt = 0; ; attempt += 1) {
      if (stopping.signal.aborted) return;
      state = 'starting';
      const { readyAtMs, why } = await runOnce(attempt === 0, () => {
        state = 'ready';
        wasReady = true;
        onFirstReady();
      });
      if (stopping.signal.aborted) return;
      if (readyAtMs !== undefined && clock.nowMs() - readyAtMs >= healthyAfterMs) failures = 0;
      failures += 1;
      if (failures > (wasReady ? maxFailures : 1)) {
        state = 'failed';
        throw failure(why);
      }
      state = 'restarting';
      const delayMs = backOffMs[Math.min(failures, backOffMs.length) - 1] ?? 0;
      note(log, 'part_restarted', { part, why, failures, delayMs });
      await pause(delayMs);
      restarts += 1;
    }
  }

  /** One life of the child, from spawn to exit. */
  async function runOnce(first: boolean, onReady: () => void): Promise<{ readyAtMs: number | undefined; why: string }> {
    let child: Running;
    try {
      const { command, args } = await spec.prepare();
      if (stopping.signal.aborted) return { readyAtMs: undefined, why: 'stopped' };
      child = await launch(command, args, first);
    } catch (thrown) {
      return { readyAtMs: undefined, why: asError(thrown).message };
    }
    const startedMs = clock.nowMs();
    let over: string | undefined;
    void child.exited.then((why) => { over = why; });
    let readyAtMs: number | undefined;
    while (over === undefined && !stopping.signal.aborted) {
      if (await spec.isReady()) {
        readyAtMs = clock.nowMs();
        note(log, 'part_ready', { part, pid: child.pid, tookMs: Math.round(readyAtMs - startedMs) });
        onReady();
        break;
      }
      if (clock.nowMs() - startedMs > spec.readyTimeoutMs) {
        note(log, 'part_silent', { part, pid: child.pid });
        signalGroup(child.pid, 'SIGKILL');
        return { readyAtMs, why: `did not become ready within ${spec.readyTimeoutMs / 1000} s (${await child.exited})` };
      }
      await pause(pollMs);
    }
    return { readyAtMs, why: await child.exited };
  }

  /** Its own process group, so that a Ctrl-C in the terminal reaches only us and we stop the parts in order. */
  async function launch(command: string, args: readonly string[], first: boolean): Promise<Running> {
    const descriptor = openLog(spec.logFile, { rotate: first });
    const child = spawn(command, args, { cwd: spec.cwd, detached: true, stdio: [spec.lifeline ? 'pipe' : 'ignore', descriptor, descriptor] });
    const { pid } = child;
    if (pid !== undefined) deps.onSpawn?.(pid);
    closeSync(descriptor);
    child.stdin?.on('error', (error) => { log.debug({ part, err: error }, 'lifeline closed'); });
    if (pid === undefined) return await new Promise((_, reject) => { child.once('error', reject); });
    const watch = setInterval(() => {
      boundLog(spec.logFile, maxLogBytes).catch((thrown: unknown) => { note(log, 'part_log_uncut', { part, err: asError(thrown) }); });
    }, 10_000);
    watch.unref();
    const exited = new Promise<string>((resolve) => {
      child.once('exit', (code, signal) => {
        clearInterval(watch);
        running = undefined;
        deps.onExit?.(pid);
        resolve(signal === null ? `exit code ${code}` : `killed by ${signal}`);
      });
    });
    running = { process: child, pid, exited };
    return running;
  }

  /** Waits, but not past stop(). */
  async function pause(ms: number): Promise<void> {
    try {
      await clock.sleep(ms, stopping.signal);
    } catch (thrown) {
      if (!stopping.signal.aborted) throw thrown;
    }
  }

  function failure(why: string): MillraceError {
    const tail = logTail(spec.logFile);
    if (/No space left on device|not enough space/i.test(tail)) {
      return new MillraceError('disk_full', `${spec.name} stopped because the disk is full (${why})`, { hint: `Free some space, then start again. Its log is ${spec.logFile}.` });
    }
    return new MillraceError('child_failed', `${spec.name} keeps failing: ${why}; its last words: ${lastMeaningfulLine(tail)}`, { hint: `See ${spec.logFile}.` });
  }

  return {
    async start() {
      await new Promise<void>((resolve, reject) => {
        let wasReady = false;
        loop = keepRunning(() => {
          wasReady = true;
          resolve();
        }).then(
          () => { reject(new MillraceError('child_failed', `${spec.name} was stopped before it was ready`)); },
          (thrown: unknown) => {
            const error = thrown instanceof MillraceError ? thrown : new MillraceError('child_failed', `${spec.name}: ${asError(thrown).message}`, { cause: asError(thrown) });
            if (wasReady) onFatal(error);
            else reject(error);
          },
        );
      });
    },
    async stop() {
      stopping.abort();
      const child = running;
      if (child !== undefined) {
        child.process.stdin?.end();
        signalGroup(child.pid, 'SIGTERM');
        const kill = setTimeout(() => {
          note(log, 'part_killed', { part, pid: child.pid });
          signalGroup(child.pid, 'SIGKILL');
        }, spec.stopTimeoutMs);
        await child.exited;
        clearTimeout(kill);
      }
      await loop;
      if (state !== 'failed') state = 'stopped';
    },
    status: () => ({ name: spec.name, pid: running?.pid, state, restarts, logFile: spec.logFile }),
  };
}
