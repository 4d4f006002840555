import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../src/local/clickhouse/main.ts', import.meta.url));

export interface RunningClickHouse {
  url: string;
  /** The process that hosts the engine. */
  pid: number;
  dataDir: string;
  /** kill -9, and waits for the end. The data folder stays. */
  kill: () => Promise<void>;
  /** SIGTERM, waits for the end, removes the data folder if it was made here. */
  close: () => Promise<void>;
}

export interface ClickHouseExit {
  code: number | null;
  stderr: string;
}

/** Starts the embedded ClickHouse on a free port, on `dataDir` or a new temporary folder. Throws what it said if it can't. */
export async function startClickHouse(options: { dataDir?: string; port?: number } = {}): Promise<RunningClickHouse> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'millrace-clickhouse-')));
  const args = ['--import', import.meta.resolve('tsx'), main, '--port', String(options.port ?? 0), '--data', dataDir];
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, UV_THREADPOOL_SIZE: '64' } });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const exited = once(child, 'exit');

  async function removeOwn(): Promise<void> {
    if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
  }

  const line = await Promise.race([
    once(createInterface(child.stdout), 'line').then(([text]) => String(text)),
    exited.then(() => undefined),
  ]);
  const url = line === undefined ? undefined : /http:\S+/.exec(line)?.[0];
  if (url === undefined || child.pid === undefined) {
    child.kill('SIGKILL');
    await removeOwn();
    throw new Error(`ClickHouse did not start (exit code ${child.exitCode}): ${stderr || line}`);
  }

  return {
    url,
    pid: child.pid,
    dataDir,
    kill: async () => {
      child.kill('SIGKILL');
      await exited;
    },
    close: async () => {
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), 20_000);
      await exited;
      clearTimeout(late);
      await removeOwn();
    },
  };
}
