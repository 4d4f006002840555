import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Config } from '../../src/config.ts';
import { bundleProgram } from './bundle.ts';

const source = fileURLToPath(new URL('./sink-process.ts', import.meta.url));

/** Where test/run.ts has put the sink as one file. */
export const bundledSinkVariable = 'MILLRACE_TEST_SINK';

export interface SinkProcess {
  pid: number;
  /** kill -9; resolves when it is gone. */
  kill: () => Promise<void>;
  signal: (signal: NodeJS.Signals) => void;
  /** SIGTERM; resolves with the exit code. */
  stop: () => Promise<number | null>;
  exited: Promise<number | null>;
}

export interface SpawnSinkOptions {
  /** Where its log goes, as a file descriptor. Default: this process's standard error. */
  logFd?: number;
  logLevel?: string;
  /** A sink made by bundleSink(). Default: the one that the suite made, else from source. */
  bundle?: string;
  /** Told the pid as soon as there is one: a sink may be killed before it runs. */
  onSpawn?: (pid: number) => void;
}

/** Starts a sink in a process of its own; resolves when it runs (it joins its group a moment later). */
export async function spawnSink(config: Config, options: SpawnSinkOptions = {}): Promise<SinkProcess> {
  const bundle = options.bundle ?? process.env[bundledSinkVariable];
  const program = bundle === undefined ? ['--import', 'tsx', source] : [bundle];
  const child = spawn(process.execPath, [...program, JSON.stringify(config)], {
    stdio: ['pipe', 'pipe', options.logFd ?? 'inherit'],
    ...(options.logLevel !== undefined && { env: { ...process.env, MILLRACE_TEST_LOG: options.logLevel } }),
  });
  // With `pipe` these two are there, which the types of this overload don't say.
  const { stdin, stdout } = child;
  if (stdin === null || stdout === null) throw new Error('no pipes');
  stdin.on('error', () => undefined);
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  if (child.pid !== undefined) options.onSpawn?.(child.pid);
  const started = await Promise.race([once(createInterface(stdout), 'line').then(() => true), exited.then(() => false)]);
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

export const bundleSink = (): ReturnType<typeof bundleProgram> => bundleProgram(source);
