import { statSync } from 'node:fs';
import type { Config } from './config.ts';
import { asError } from './errors.ts';
import { note } from './telemetry.ts';
import type { Log } from './telemetry.ts';

export interface WatchConfigOptions {
  /** The file; it may come and go. */
  path: string;
  /** More files that it is made of as it is in force. */
  files?: readonly string[];
  /** Reads the configuration anew, and says which files it is made of; throws `config_invalid`. */
  read: (onFile: (path: string) => void) => Config;
  onConfig: (config: Config) => void;
  everyMs?: number;
  log: Log;
}

/** Looks at the configuration file, and those that it names, every second. One that has changed is read; one with faults, or that is gone, is named in the log, and the old stays in force. */
export function watchConfig({ path, files = [], read, onConfig, everyMs = 1_000, log }: WatchConfigOptions): { close(): void } {
  const stampOf = (file: string): string => {
    const found = statSync(file, { throwIfNoEntry: false });
    // Whoever writes a file anew empties it first.
    return found === undefined || found.size === 0 ? '' : `${found.mtimeMs}/${found.size}/${found.ino}`;
  };
  /** The files that were read last, as they were before that. */
  let used = new Map([path, ...files].map(file => [file, stampOf(file)]));
  let seen = JSON.stringify([...used]);
  const timer = setInterval(() => {
    const now = JSON.stringify([...used.keys()].map(file => [file, stampOf(file)]));
    // Twice the same: nobody is in the middle of writing it.
    const settled = now === seen;
    seen = now;
    if (!settled || now === JSON.stringify([...used])) return;
    used = new Map([[path, stampOf(path)]]);
    try {
      // Without a file there is the key `dev`: a door that runs with keys of its own must not take that one.
      if (used.get(path) === '') throw new Error(`${path} is not there any more, or is empty`);
      // Those of a configuration with faults count too: mending its schema is enough.
      onConfig(read(file => void used.set(file, stampOf(file))));
    } catch (thrown) {
      note(log, 'config_refused', { path, faults: asError(thrown).message.split('\n') });
    }
  }, everyMs);
  timer.unref();
  return { close: () => clearInterval(timer) };
}
