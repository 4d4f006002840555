import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { asError, MillraceError } from '../../errors.ts';

/** Makes the data folder if it isn't there and writes to it once. Throws `MillraceError` data_unwritable or disk_full. */
export function prepareFolder(dir: string): void {
  const probe = join(dir, `.probe-${process.pid}`);
  try {
    mkdirSync(dir, { recursive: true });
    writeFileSync(probe, Buffer.alloc(64 * 1024));
    rmSync(probe);
  } catch (error) {
    const full = error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
    throw new MillraceError(full ? 'disk_full' : 'data_unwritable', `the data folder ${dir} cannot be written: ${asError(error).message}`, {
      cause: error,
    });
  }
}

/**
 * Why the engine didn't open the folder. It locks the file `status`, which names the process that holds it; its own
 * reason for anything else stands on stderr before this one.
 */
export function whyNotOpened(dir: string, cause: unknown): MillraceError {
  const holder = lockHolder(dir);
  if (holder !== undefined) {
    return new MillraceError('data_locked', `the data folder ${dir} is in use by process ${holder}; stop it, or choose another folder`, { cause });
  }
  return new MillraceError('child_failed', `ClickHouse cannot open the data folder ${dir}: ${asError(cause).message}`, { cause });
}

function lockHolder(dir: string): number | undefined {
  try {
    const pid = Number(/^PID: (\d+)/m.exec(readFileSync(join(dir, 'status'), 'utf8'))?.[1]);
    if (!Number.isInteger(pid) || pid === process.pid) return undefined;
    process.kill(pid, 0);
    return pid;
  } catch (error) {
    // No such file or no such process: nobody holds it. EPERM: somebody else's process does.
    return error instanceof Error && 'code' in error && error.code === 'EPERM' ? 0 : undefined;
  }
}
