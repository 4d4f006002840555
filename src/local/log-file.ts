import { closeSync, mkdirSync, openSync, readSync, renameSync, rmSync, fstatSync } from 'node:fs';
import { copyFile, stat, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Opens a child's log for appending; what an earlier run wrote moves to `<path>.1`. The caller closes the descriptor. */
export function openLog(path: string, options: { rotate: boolean }): number {
  mkdirSync(dirname(path), { recursive: true });
  if (options.rotate) {
    rmSync(`${path}.1`, { force: true });
    try {
      renameSync(path, `${path}.1`);
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') throw thrown;
    }
  }
  return openSync(path, 'a');
}

/**
 * Keeps a log that a child is writing to below `maxBytes`: past that it is copied to `<path>.1` and emptied in place
 * (the child goes on writing at the new end; lines of that moment may be lost).
 */
export async function boundLog(path: string, maxBytes: number): Promise<void> {
  if ((await stat(path)).size <= maxBytes) return;
  await copyFile(path, `${path}.1`);
  await truncate(path, 0);
}

const tailBytes = 64 * 1024;

/** The end of a log, at most 64 KiB; empty when it does not exist. */
export function logTail(path: string): string {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw thrown;
  }
  try {
    const { size } = fstatSync(descriptor);
    const buffer = Buffer.alloc(Math.min(size, tailBytes));
    const read = readSync(descriptor, buffer, 0, buffer.length, Math.max(0, size - buffer.length));
    return buffer.toString('utf8', 0, read);
  } finally {
    closeSync(descriptor);
  }
}

/** The line of a log that most likely says what went wrong: the last error or exception, else the last line that is no stack frame. */
export function lastMeaningfulLine(text: string): string {
  const lines = text.split(/[\r\n]+/).map((line) => line.trim()).filter((line) => line !== '' && !/^(at |\.\.\. \d+ more|\^+$|Node\.js v)/.test(line));
  const telling = lines.filter((line) => /\b(ERROR|FATAL|Error|Exception|Caused by)\b|Error:|Exception:|Could not|Unrecognized|No space left/.test(line));
  return (telling.at(-1) ?? lines.at(-1) ?? 'nothing was logged').slice(0, 300);
}
