import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../../../src/config.ts';
import { startClickHouseProxy } from '../../helpers/http-proxy.ts';
import type { Verdict } from '../../helpers/http-proxy.ts';
import { spawnSink } from '../../helpers/spawn-sink.ts';
import type { SinkProcess } from '../../helpers/spawn-sink.ts';

/** Waits for one statement of one sink, does something about it once, and is gone. */
export interface Ambush {
  statement: RegExp;
  judge: () => Verdict | Promise<Verdict>;
  /** ClickHouse has answered; the sink has not got it yet. */
  answered?: () => void | Promise<void>;
}

/**
 * A place for a sink, with a way to ClickHouse of its own. A supervisor, as it were: what ends is started again.
 *
 *   state      means                                goes to
 *   starting   spawned, not ready                   up; starting again where it ends
 *   up         runs                                 starting, where it ends
 *   held       stopped on purpose, and left so      starting, by release()
 */
export interface Slot {
  state(): 'starting' | 'up' | 'held';
  pid(): number | null;
  signal(signal: NodeJS.Signals): boolean;
  /** Resolves with whether a process was there to be killed. */
  kill(): Promise<boolean>;
  /** SIGTERM, and kill -9 where that takes too long. Resolves when it is gone and starts it again. */
  restart(): Promise<void>;
  /** The same, and leaves it so until release(). */
  hold(): Promise<void>;
  release(): void;
  ambush(ambush: Ambush | null): void;
}

export interface Fleet {
  slots: Slot[];
  counts: { starts: number; failedStarts: number; gaveUp: number; slowStops: number };
  close(): Promise<void>;
}

const stopPatienceMs = 12_000;

export async function startFleet(config: Config, count: number, logDir: string, bundle: string): Promise<Fleet> {
  const counts = { starts: 0, failedStarts: 0, gaveUp: 0, slowStops: 0 };
  const parts = await Promise.all(Array.from({ length: count }, (_, index) => startSlot(config, join(logDir, `sink-${index}.log`), bundle, counts)));
  return {
    slots: parts.map(({ slot }) => slot),
    counts,
    close: async () => void (await Promise.all(parts.map(({ close }) => close()))),
  };
}

async function startSlot(base: Config, logFile: string, bundle: string, counts: Fleet['counts']): Promise<{ slot: Slot; close: () => Promise<void> }> {
  const proxy = await startClickHouseProxy(base.clickhouse.url ?? '');
  const config: Config = { ...base, clickhouse: { ...base.clickhouse, url: proxy.url } };
  const logFd = openSync(logFile, 'a');
  let state: ReturnType<Slot['state']> = 'starting';
  let pid: number | null = null;
  let running: SinkProcess | null = null;
  let expected = false;
  let closing = false;
  let gone: Promise<void> = Promise.resolve();
  let ambush: Ambush | null = null;
  let waiting: { statement: string; answered: () => void | Promise<void> } | null = null;

  proxy.judge = statement => {
    const found = ambush;
    if (found === null || !found.statement.test(statement)) return 'pass';
    ambush = null;
    if (found.answered !== undefined) waiting = { statement, answered: found.answered };
    return found.judge();
  };
  proxy.answered = statement => {
    if (waiting?.statement !== statement) return undefined;
    const { answered } = waiting;
    waiting = null;
    return answered();
  };

  const live = async (): Promise<void> => {
    try {
      counts.starts++;
      running = await spawnSink(config, { bundle, logFd, logLevel: 'info', onSpawn: found => (pid = found) });
      if (state === 'starting') state = 'up';
      await running.exited;
      if (!expected) counts.gaveUp++;
    } catch {
      if (!expected) counts.failedStarts++;
    }
    running = null;
    pid = null;
  };
  const keep = async (): Promise<void> => {
    while (!closing) {
      if (state === 'held') {
        await sleep(20);
        continue;
      }
      state = 'starting';
      expected = false;
      let left = (): void => undefined;
      gone = new Promise(resolve => (left = resolve));
      await live();
      left();
      if (!expected) await sleep(500);
    }
  };
  const send = (signal: NodeJS.Signals): boolean => {
    if (pid === null) return false;
    try {
      return process.kill(pid, signal);
    } catch {
      return false; // It ended in the same moment.
    }
  };
  const kill = async (): Promise<boolean> => {
    expected = true;
    const there = send('SIGKILL');
    await gone;
    return there;
  };
  const stop = async (): Promise<void> => {
    if (running === null) {
      await kill();
      return;
    }
    expected = true;
    send('SIGTERM');
    const late = await Promise.race([gone.then(() => false), sleep(stopPatienceMs, true, { ref: false })]);
    if (late) {
      counts.slowStops++;
      await kill();
    }
  };

  const loop = keep();
  return {
    slot: {
      state: () => state,
      pid: () => pid,
      signal: send,
      kill,
      restart: stop,
      async hold() {
        const stopped = stop();
        state = 'held';
        await stopped;
      },
      release() {
        if (state === 'held') state = 'starting';
      },
      ambush(next) {
        ambush = next;
        if (next === null) waiting = null;
      },
    },
    async close() {
      closing = true;
      send('SIGCONT');
      await stop();
      await loop;
      await proxy.close();
      closeSync(logFd);
    },
  };
}
