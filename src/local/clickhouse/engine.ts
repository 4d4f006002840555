import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { toException } from './exception.ts';

/** What one statement answered: bytes in the format asked for, and the engine's own counts. */
export interface Answer {
  bytes: Uint8Array;
  elapsedSeconds: number;
  rowsRead: number;
  bytesRead: number;
  rowsWritten: number;
  bytesWritten: number;
}

/**
 * One engine session: its own current database, settings, query parameters and temporary tables. It runs one statement
 * at a time; several connections run side by side on the same data. All methods throw `Exception`.
 */
export interface Connection {
  /** Runs a statement that is text; `format` is the output format where the statement names none. */
  run(sql: string, format: string): Promise<Answer>;
  /** Runs an INSERT: the statement, a line feed and the data, binary or text, exactly as they are. */
  insert(statement: string, data: Buffer): Promise<Answer>;
  /** Ends the session, once what runs in it has ended: closing it under a running statement would stop the engine. */
  close(): void;
}

export interface Engine {
  version: string;
  timezone: string;
  /** A new session, in about half a millisecond. */
  connect(): Connection;
}

/** The part of chdb's native addon that is used here; chdb's own `Session` inserts only eight text formats. */
interface Addon {
  CreateConnection(path: string): unknown;
  CloseConnection(handle: unknown): void;
  QueryWithConnection(handle: unknown, sql: string, format: string): string;
  QueryAsyncConnection(
    handle: unknown,
    sql: string,
    format: string,
  ): Promise<{ bytes: Uint8Array; elapsed: number; rowsRead: number; bytesRead: number }>;
  InsertRawAsyncConnection(
    handle: unknown,
    statement: string,
    data: Buffer,
    countLines: boolean,
  ): Promise<{ elapsed: number; rowsWritten: number; bytesWritten: number }>;
}

/** Loads chdb's addon through chdb's own loader, which knows the platform packages. Throws when there is none. */
export function loadAddon(): Addon {
  const require = createRequire(import.meta.url);
  const root = dirname(require.resolve('chdb/package.json'));
  const loader = require(join(root, 'dist', 'loader.js')) as { loadNative(): Addon };
  return loader.loadNative();
}

/**
 * Opens the data folder (a path; made when it isn't there) in this process. The engine locks the folder and holds one
 * folder per process. Throws the addon's error when it can't; the reason is on stderr then, written by the engine.
 */
export function openEngine(addon: Addon, dataDir: string): Engine {
  const path = resolve(dataDir);
  // Kept for the life of the process: the engine shuts down with its last connection.
  const root = addon.CreateConnection(path);
  const [version = '', timezone = ''] = addon
    .QueryWithConnection(root, 'SELECT version(), timezone()', 'TabSeparated')
    .trim()
    .split('\t');

  function connect(): Connection {
    const handle = addon.CreateConnection(path);
    let running = 0;
    let closing = false;

    function settle(): void {
      running -= 1;
      if (closing && running === 0) addon.CloseConnection(handle);
    }

    async function guarded<T>(work: () => Promise<T>): Promise<T> {
      running += 1;
      try {
        return await work();
      } catch (error) {
        throw toException(error);
      } finally {
        settle();
      }
    }

    return {
      run: (sql, format) =>
        guarded(async () => {
          const { bytes, elapsed, rowsRead, bytesRead } = await addon.QueryAsyncConnection(handle, sql, format);
          return { bytes, elapsedSeconds: elapsed, rowsRead, bytesRead, rowsWritten: 0, bytesWritten: 0 };
        }),
      insert: (statement, data) =>
        guarded(async () => {
          const { elapsed, rowsWritten, bytesWritten } = await addon.InsertRawAsyncConnection(handle, statement, data, false);
          const empty = new Uint8Array(0);
          return { bytes: empty, elapsedSeconds: elapsed, rowsRead: rowsWritten, bytesRead: bytesWritten, rowsWritten, bytesWritten };
        }),
      close: () => {
        if (closing) return;
        closing = true;
        if (running === 0) addon.CloseConnection(handle);
      },
    };
  }

  return { version, timezone, connect };
}
