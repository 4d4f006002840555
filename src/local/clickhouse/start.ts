import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { asError, MillraceError } from '../../errors.ts';
import { loadAddon, openEngine } from './engine.ts';
import type { Engine } from './engine.ts';
import { prepareFolder, whyNotOpened } from './folder.ts';
import { createRunner } from './run.ts';
import { createHttpServer } from './server.ts';
import { createSessions } from './sessions.ts';

export interface StartOptions {
  host: string;
  /** 0 takes any free port. */
  port: number;
  dataDir: string;
}

export interface Started {
  url: string;
  version: string;
  /** Takes no more requests, lets what runs end for a while, cancels the rest. At most 5 s. */
  close: () => Promise<void>;
}

/** Below the thread pool's 64, so that compression, file access and cancelling always find a thread. */
const maxRunning = 48;
const graceMs = 2500;

/**
 * Opens port and data folder and serves. Throws `MillraceError` port_taken, data_locked, data_unwritable, disk_full or
 * child_failed (no chdb for this platform).
 */
export async function startInProcess(options: StartOptions): Promise<Started> {
  const addon = attempt(loadAddon);
  prepareFolder(options.dataDir);
  let engine: Engine;
  try {
    engine = openEngine(addon, options.dataDir);
  } catch (error) {
    throw whyNotOpened(options.dataDir, error);
  }
  const sessions = createSessions(engine, { maxRunning, maxWaiting: 1000 });
  const runner = createRunner(sessions);
  const server = createHttpServer({
    runner,
    version: engine.version,
    timezone: engine.timezone,
    maxBodyBytes: 256 * 1024 * 1024,
    maxTotalBodyBytes: 1024 * 1024 * 1024,
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE';
      const message = taken ? `another program listens on ${options.host}:${options.port}` : `cannot listen: ${error.message}`;
      reject(new MillraceError(taken ? 'port_taken' : 'child_failed', message, { cause: error }));
    });
    server.listen(options.port, options.host, resolve);
  });
  const { port } = server.address() as AddressInfo;

  async function close(): Promise<void> {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeIdleConnections();
    await Promise.race([closed, sleep(graceMs)]);
    await Promise.race([runner.cancelAll(), sleep(1000)]);
    await Promise.race([closed, sleep(1000)]);
    server.closeAllConnections();
    sessions.close();
  }

  return { url: `http://${options.host}:${port}`, version: engine.version, close };
}

function attempt<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new MillraceError('child_failed', `chdb cannot be loaded: ${asError(error).message}`, { cause: error });
  }
}
