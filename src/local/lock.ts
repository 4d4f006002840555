import { link, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeFolder } from './make-folder.ts';
import { processInfo } from './process-info.ts';

/** A lock file that is held, until it is released. */
export interface Lock {
  release(): Promise<void>;
}

interface Owner {
  pid: number;
  startedAt: string;
}

/**
 * Takes a lock file that names its owner's pid and start time, or tells the pid of the live owner.
 * A lock whose owner is gone (kill -9, a reboot) is taken over.
 */
export async function takeLock(path: string): Promise<Lock | { ownerPid: number }> {
  const self = await processInfo(process.pid);
  const mine = JSON.stringify({ pid: process.pid, startedAt: self?.startedAt ?? '' } satisfies Owner);
  await makeFolder(dirname(path));
  for (;;) {
    if (await createWith(path, mine)) return { release: async () => await releaseLock(path, mine) };
    const found = await readOrUndefined(path);
    if (found === undefined) continue;
    const ownerPid = await liveOwner(found);
    if (ownerPid !== null) return { ownerPid };
    await discard(path, found);
  }
}

/** The pid of the live process that holds a lock file; null where none does. */
export async function ownerOf(path: string): Promise<number | null> {
  const found = await readOrUndefined(path);
  return found === undefined ? null : liveOwner(found);
}

async function liveOwner(content: string): Promise<number | null> {
  const owner = parseOwner(content);
  return owner !== undefined && (await processInfo(owner.pid))?.startedAt === owner.startedAt ? owner.pid : null;
}

/** Moves a stale lock away. What was moved is looked at again: another process may have taken the lock over in between. */
async function discard(path: string, stale: string): Promise<void> {
  const aside = `${path}.${process.pid}.stale`;
  try {
    await rename(path, aside);
    if ((await readFile(aside, 'utf8')) !== stale) await link(aside, path);
  } catch (thrown) {
    const code = (thrown as NodeJS.ErrnoException).code;
    if (code !== 'ENOENT' && code !== 'EEXIST') throw thrown;
  } finally {
    await rm(aside, { force: true });
  }
}

/** Creates the file with its whole content in one step, so that nobody reads a half-written one; false when it exists. */
async function createWith(path: string, content: string): Promise<boolean> {
  const draft = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}`;
  await writeFile(draft, content);
  try {
    await link(draft, path);
    return true;
  } catch (thrown) {
    const code = (thrown as NodeJS.ErrnoException).code;
    if (code === 'EEXIST') return false;
    // Some file systems know no hard links; an exclusive create is nearly as good.
    if (code === 'EPERM' || code === 'ENOTSUP' || code === 'ENOSYS') return await createExclusively(path, content);
    throw thrown;
  } finally {
    await rm(draft, { force: true });
  }
}

async function createExclusively(path: string, content: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx');
    await file.writeFile(content);
    await file.close();
    return true;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw thrown;
  }
}

async function releaseLock(path: string, mine: string): Promise<void> {
  if ((await readOrUndefined(path)) === mine) await rm(path, { force: true });
}

async function readOrUndefined(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw thrown;
  }
}

function parseOwner(text: string): Owner | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const { pid, startedAt } = value as Partial<Owner>;
    return typeof pid === 'number' && typeof startedAt === 'string' ? { pid, startedAt } : undefined;
  } catch (thrown) {
    if (thrown instanceof SyntaxError || thrown instanceof TypeError) return undefined;
    throw thrown;
  }
}
