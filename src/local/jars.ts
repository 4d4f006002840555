import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, readdir, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { MillraceError, asError } from '../errors.ts';
import { takeLock } from './lock.ts';
import { runMaven } from './maven.ts';

/** What the embedded Kafka and registry run from. */
export interface Jars {
  /** The folder that holds all of it, named after the pom's hash. */
  dir: string;
  /** Kafka's jars, joined for `java -cp`, always in the same order. */
  kafkaClasspath: string;
  /** The registry's jar, for `java -jar`. */
  registryJar: string;
}

export interface JarsOptions {
  /** Kept between runs and shared by data folders. */
  cacheDir: string;
  pom: string;
  maven?: string;
  signal?: AbortSignal;
  onProgress: (line: string) => void;
}

/** Every file that belongs to the set, with its size in bytes: what `complete.json` holds. */
type Inventory = Record<string, number>;

const inventoryFile = 'complete.json';
const neededMegabytes = 500;

/**
 * The jars of the pom, fetched if they are not there yet.
 *
 * Fetching goes to a folder of its own, which gets its inventory and then its final name in one step, so that the final
 * name never stands for half of it. One process fetches at a time; others wait for it.
 * Throws `maven_missing`, `download_failed`, `disk_full`, or the signal's reason.
 */
export async function fetchJars(options: JarsOptions): Promise<Jars> {
  const { cacheDir, pom, signal, onProgress } = options;
  const hash = createHash('sha256').update(await readFile(pom)).digest('hex').slice(0, 12);
  const dir = join(cacheDir, hash);
  let waited = false;
  for (;;) {
    signal?.throwIfAborted();
    const jars = await readJars(dir);
    if (jars !== undefined) return jars;
    const lock = await takeLock(join(cacheDir, 'fetch.lock'));
    if ('ownerPid' in lock) {
      if (!waited) onProgress(`waiting for process ${lock.ownerPid}, which is fetching the jars`);
      waited = true;
      await sleep(300, undefined, signal === undefined ? {} : { signal });
      continue;
    }
    try {
      await removeLeftovers(cacheDir);
      if ((await readJars(dir)) === undefined) await fetchInto(dir, options);
    } finally {
      await lock.release();
    }
  }
}

/** The jars in a folder; undefined unless all of them are there in full. */
async function readJars(dir: string): Promise<Jars | undefined> {
  let inventory: Inventory;
  try {
    inventory = JSON.parse(await readFile(join(dir, inventoryFile), 'utf8')) as Inventory;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT' || thrown instanceof SyntaxError) return undefined;
    throw thrown;
  }
  const names = Object.keys(inventory).sort();
  const whole = await Promise.all(names.map(async (name) => (await sizeOf(join(dir, name))) === inventory[name]));
  const registryJar = names.find((name) => /^registry\/[^/]+-runner\.jar$/.test(name));
  if (!whole.every(Boolean) || registryJar === undefined) return undefined;
  const kafkaClasspath = names.filter((name) => /^kafka\/.*\.jar$/.test(name)).map((name) => join(dir, name)).join(':');
  return { dir, kafkaClasspath, registryJar: join(dir, registryJar) };
}

async function fetchInto(dir: string, options: JarsOptions): Promise<void> {
  const { cacheDir, pom, maven, signal, onProgress } = options;
  await requireSpace(cacheDir, neededMegabytes, 'the jars of Kafka and the schema registry');
  onProgress('fetching Kafka and the schema registry with Maven (about 165 MB, once)');
  const draft = await mkdtemp(join(cacheDir, 'fetching-'));
  try {
    await runMaven({ pom, outDir: draft, onProgress, ...(maven === undefined ? {} : { maven }), ...(signal === undefined ? {} : { signal }) });
    onProgress('unpacking the schema registry');
    await unpack(join(draft, 'registry.tar.gz'), join(draft, 'registry'));
    const inventory = await takeInventory(draft);
    if (!Object.keys(inventory).some((name) => name.endsWith('-runner.jar')) || !Object.keys(inventory).some((name) => name.startsWith('kafka/kafka_'))) {
      throw new MillraceError('download_failed', 'Maven ended well, but the jars of Kafka or the schema registry are missing from what it fetched');
    }
    await writeFile(join(draft, inventoryFile), JSON.stringify(inventory));
    await rm(dir, { recursive: true, force: true });
    await rename(draft, dir);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

async function unpack(archive: string, into: string): Promise<void> {
  await mkdir(into);
  try {
    await promisify(execFile)('tar', ['-xzf', archive, '-C', into]);
  } catch (thrown) {
    throw new MillraceError('download_failed', `the archive of the schema registry could not be unpacked: ${asError(thrown).message.trim()}`, {
      cause: asError(thrown), hint: 'It needs the `tar` command. If that is there, start again to fetch the archive anew.',
    });
  }
  await rm(archive);
}

async function takeInventory(dir: string): Promise<Inventory> {
  const inventory: Inventory = {};
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    inventory[path.slice(dir.length + 1)] = (await stat(path)).size;
  }
  return inventory;
}

/** What a fetch left behind that was killed. Only called by the one that may fetch. */
async function removeLeftovers(cacheDir: string): Promise<void> {
  for (const name of await readdir(cacheDir)) {
    if (name.startsWith('fetching-')) await rm(join(cacheDir, name), { recursive: true, force: true });
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw thrown;
  }
}

/** Throws `disk_full` unless the disk that holds the folder has so much room. */
export async function requireSpace(dir: string, megabytes: number, what: string): Promise<void> {
  const { bavail, bsize } = await statfs(dir);
  const free = Math.floor((bavail * bsize) / 1e6);
  if (free >= megabytes) return;
  throw new MillraceError('disk_full', `${what} need ${megabytes} MB in ${dir}, and only ${free} MB are free`, {
    hint: 'Free some space, or set MILLRACE_DATA to a folder on another disk.',
  });
}
