import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { access, constants } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError, asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { requireSpace } from './jars.ts';
import { ownerOf, takeLock } from './lock.ts';
import { makeFolder } from './make-folder.ts';
import { processInfo, signalGroup } from './process-info.ts';

/** The embedded stack's data folder, held by this process. */
export interface DataFolder {
  /** Absolute. */
  dir: string;
  /** Notes a running child, so that the next start can stop it should we be killed. */
  addChild: (pid: number) => void;
  removeChild: (pid: number) => void;
  /** Gives the folder free. */
  close(): Promise<void>;
}

const neededMegabytes = 200;
const orphanGraceMs = 8000;

/**
 * Takes the data folder, and stops children that a killed owner left behind (they hold ports and files).
 * Throws `data_unwritable`, `disk_full`, or `data_locked` with the owner's pid.
 */
export async function openDataFolder(dataDir: string, log: Log): Promise<DataFolder> {
  const dir = resolve(dataDir);
  try {
    await makeFolder(dir);
    await access(dir, constants.W_OK | constants.X_OK);
  } catch (thrown) {
    throw new MillraceError('data_unwritable', `the data folder ${dir} cannot be written: ${asError(thrown).message}`, {
      cause: asError(thrown), hint: 'Make it writable, or set MILLRACE_DATA to another folder.',
    });
  }
  await requireSpace(dir, neededMegabytes, 'the data of Kafka and ClickHouse');
  const lock = await takeLock(join(dir, 'lock'));
  if ('ownerPid' in lock) throw lockedBy(dir, lock.ownerPid);
  const childrenFile = join(dir, 'children.json');
  try {
    await stopOrphans(readPids(childrenFile), dir, log);
  } catch (thrown) {
    await lock.release();
    throw thrown;
  }
  const pids = new Set<number>();
  // Written at once and whole: between a spawn and its note there must be no gap in which a kill could fall.
  const save = (): void => {
    mkdirSync(dir, { recursive: true });
    writeFileSync(`${childrenFile}.new`, JSON.stringify([...pids]));
    renameSync(`${childrenFile}.new`, childrenFile);
  };
  save();
  return {
    dir,
    addChild(pid) {
      pids.add(pid);
      save();
    },
    removeChild(pid) {
      pids.delete(pid);
      save();
    },
    close: async () => { await lock.release(); },
  };
}

/** Throws `data_locked` while another process holds the folder. Takes nothing, makes nothing. */
export async function requireUnlocked(dataDir: string): Promise<void> {
  const ownerPid = await ownerOf(join(resolve(dataDir), 'lock'));
  if (ownerPid !== null && ownerPid !== process.pid) throw lockedBy(resolve(dataDir), ownerPid);
}

function lockedBy(dir: string, pid: number): MillraceError {
  return new MillraceError('data_locked', `the data folder ${dir} is used by another millrace, process ${pid}`, { hint: 'Stop that one, or set MILLRACE_DATA to another folder.' });
}

async function stopOrphans(pids: number[], dir: string, log: Log): Promise<void> {
  await Promise.all(pids.map(async (pid) => {
    const found = await processInfo(pid);
    // A pid may be another's by now; ours carry the folder on their command line.
    if (found === undefined || !found.command.includes(dir)) return;
    note(log, 'orphan_stopped', { pid, command: found.command.slice(0, 80) });
    signalGroup(pid, 'SIGTERM');
    const isThere = async (): Promise<boolean> => (await processInfo(pid))?.startedAt === found.startedAt;
    for (let waitedMs = 0; await isThere(); waitedMs += 50) {
      if (waitedMs >= orphanGraceMs) signalGroup(pid, 'SIGKILL');
      await sleep(50);
    }
  }));
}

function readPids(path: string): number[] {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return Array.isArray(value) ? value.filter((pid): pid is number => Number.isInteger(pid) && pid > 1) : [];
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT' || thrown instanceof SyntaxError) return [];
    throw thrown;
  }
}
