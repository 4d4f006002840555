import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../src/local/ports.ts';
import { startLocalStack, type LocalStack, type LocalStackOptions } from '../../src/local/stack.ts';
import { createLog } from '../../src/telemetry.ts';

export type Part = 'kafka' | 'registry' | 'clickhouse';

export const packageRoot = fileURLToPath(new URL('../..', import.meta.url));

/** Shared by all tests of this clone, so that the jars are fetched once. */
export const cacheDir = join(packageRoot, '.millrace', 'cache');

export interface TestStack extends LocalStack {
  options: LocalStackOptions;
  /** Stops what runs and removes the data folder, unless it was given. */
  close: () => Promise<void>;
}

/** Options for these parts on free ports, in a new folder under the system's temporary one. */
export async function localOptions(parts: readonly Part[], overrides: Partial<LocalStackOptions> = {}): Promise<LocalStackOptions> {
  const [kafka, registry, clickhouse] = await freePorts(3);
  return {
    dataDir: overrides.dataDir ?? (await mkdtemp(join(tmpdir(), 'millrace-test-'))),
    cacheDir,
    packageRoot,
    ...(parts.includes('kafka') && { kafka: { port: kafka! } }),
    ...(parts.includes('registry') && { registry: { port: registry! } }),
    ...(parts.includes('clickhouse') && { clickhouse: { port: clickhouse! } }),
    log: createLog('error'),
    onProgress: () => undefined,
    onFatal: (error) => { console.error(error); },
    ...overrides,
  };
}

/** Starts these parts on free ports in a temporary data folder. `overrides` replace single options. */
export async function startTestStack(parts: readonly Part[], overrides: Partial<LocalStackOptions> = {}): Promise<TestStack> {
  const options = await localOptions(parts, overrides);
  const removeData = async (): Promise<void> => {
    if (overrides.dataDir === undefined) await rm(options.dataDir, { recursive: true, force: true });
  };
  try {
    const stack = await startLocalStack(options);
    return {
      ...stack,
      options,
      close: async () => {
        await stack.close();
        await removeData();
      },
    };
  } catch (thrown) {
    await removeData();
    throw thrown;
  }
}

/** So many different free ports of 127.0.0.1. */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await freePort('127.0.0.1'));
  return [...ports];
}
