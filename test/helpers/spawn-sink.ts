import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Config } from '../../src/config.ts';

export interface SinkProcess {
  pid: number;
  /** kill -9; resolves when it is gone. */
  kill: () => Promise<void>;
  signal: (signal: NodeJS.Signals) => void;
  /** SIGTERM; resolves with the exit code. */
  stop: () => Promise<number | null>;
  exited: Promise<number | null>;
}

/** Starts a sink in a process of its own; resolves when it runs (it joins its group a moment later). */
export async function spawnSink(config: Config): Promise<SinkProcess> {
  const child = spawn(process.execPath, ['--import', 'tsx', fileURLToPath(new URL('./sink-process.ts', import.meta.url)), JSON.stringify(config)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  const started = await Promise.race([once(createInterface(child.stdout), 'line').then(() => true), exited.then(() => false)]);
  if (!started || child.pid === undefined) throw new Error(`the sink did not start: exit code ${child.exitCode}`);
  return {
    pid: child.pid,
    exited,
    signal: signal => void child.kill(signal),
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
    async stop() {
      child.kill('SIGTERM');
      return exited;
    },
  };
}
