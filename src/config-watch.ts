import { statSync } from 'node:fs';
import type { Config } from './config.ts';
import { asError } from './errors.ts';
import { note } from './telemetry.ts';
import type { Log } from './telemetry.ts';

export interface WatchConfigOptions {
  /** The file; it may come and go. */
  path: string;
  /** Reads the configuration anew; throws `config_invalid`. */
  read: () => Config;
  onConfig: (config: Config) => void;
  everyMs?: number;
  log: Log;
}

/** Looks at the configuration file every second. One that has changed is read; one with faults, or that is gone, is named in the log, and the old stays in force. */
export function watchConfig({ path, read, onConfig, everyMs = 1_000, log }: WatchConfigOptions): { close(): void } {
  const stamp = (): string => {
    const found = statSync(path, { throwIfNoEntry: false });
    // Whoever writes a file anew empties it first.
    return found === undefined || found.size === 0 ? '' : `${found.mtimeMs}/${found.size}/${found.ino}`;
  };
  let seen = stamp();
  let used = seen;
  const timer = setInterval(() => {
    const now = stamp();
    // Twice the same: nobody is in the middle of writing it.
    const settled = now === seen;
    seen = now;
    if (!settled || now === used) return;
    used = now;
    try {
      // Without a file there is the key `dev`: a door that runs with keys of its own must not take that one.
      if (now === '') throw new Error(`${path} is not there any more, or is empty`);
      onConfig(read());
    } catch (thrown) {
      note(log, 'config_refused', { path, faults: asError(thrown).message.split('\n') });
    }
  }, everyMs);
  timer.unref();
  return { close: () => clearInterval(timer) };
}
