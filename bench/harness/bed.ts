import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Kafka, logLevel } from 'kafkajs';
import { endpointsOf, provision } from '../../src/compose.ts';
import type { Config } from '../../src/config.ts';
import { bundleProgram } from '../../test/helpers/bundle.ts';
import { startTestStack } from '../../test/helpers/local.ts';
import type { Part, TestStack } from '../../test/helpers/local.ts';
import { freshConfigOn, testLog } from '../../test/helpers/shared-stack.ts';
import { bundleDoor, spawnDoor } from '../../test/helpers/spawn-door.ts';
import type { DoorProcess } from '../../test/helpers/spawn-door.ts';
import { bundleSink, spawnSink } from '../../test/helpers/spawn-sink.ts';
import type { SinkProcess } from '../../test/helpers/spawn-sink.ts';
import { tenContract } from './contract.ts';

/** A stack in a temporary folder, and the programs to measure, each as one file. */
export interface Bed {
  stack: TestStack;
  /** Topics, group and database of its own, with the contract of ten properties. Topics are made; a part that was not started is nowhere. */
  fresh: (overrides?: FreshOptions) => Promise<Config>;
  door: (config: Config) => Promise<DoorProcess>;
  floor: () => Promise<DoorProcess>;
  sink: (config: Config) => Promise<SinkProcess>;
  pidOf: (part: Part) => number;
  /** What a topic takes on disk, in bytes a record. */
  recordBytes: (topic: string) => Promise<number>;
  close: () => Promise<void>;
}

export interface FreshOptions {
  partitions?: number;
  workers?: number;
  contracts?: Config['contracts'];
}

const nowhere = 'http://127.0.0.1:9';

export async function makeBed(parts: readonly Part[]): Promise<Bed> {
  const stack = await startTestStack(parts);
  const bundles = await Promise.all([bundleDoor(), bundleSink(), bundleProgram(fileURLToPath(new URL('../floor.ts', import.meta.url)))]);
  const [door, sink, floor] = bundles;
  const running = new Set<() => Promise<unknown>>();
  const keep = <P extends { signal: (signal: NodeJS.Signals) => void; exited: Promise<unknown> }>(process: P): P => {
    const end = async (): Promise<void> => {
      process.signal('SIGKILL');
      await process.exited;
    };
    running.add(end);
    void process.exited.then(() => running.delete(end));
    return process;
  };
  return {
    stack,
    async fresh({ partitions = 12, workers = 1, contracts = tenContract } = {}) {
      const base = freshConfigOn({ kafkaBrokers: stack.kafkaBrokers ?? '', registryUrl: stack.registryUrl ?? '', clickhouseUrl: stack.clickhouseUrl ?? nowhere }, { logLevel: 'error' });
      const config: Config = {
        ...base, workers, contracts,
        clickhouse: { ...base.clickhouse, url: stack.clickhouseUrl ?? null },
        topic: { ...base.topic, partitions },
      };
      await provision(config, endpointsOf(config, null), testLog());
      return config;
    },
    door: async config => keep(await spawnDoor(door.file, config)),
    floor: async () => keep(await spawnDoor(floor.file, {} as Config)),
    sink: async config => keep(await spawnSink(config, { bundle: sink.file })),
    pidOf: part => stack.parts().find(({ name }) => name === part)?.pid ?? 0,
    async recordBytes(topic) {
      const admin = new Kafka({ brokers: (stack.kafkaBrokers ?? '').split(','), logLevel: logLevel.ERROR }).admin();
      await admin.connect();
      const records = (await admin.fetchTopicOffsets(topic)).reduce((sum, { high }) => sum + Number(high), 0);
      await admin.disconnect();
      return (await bytesUnder(stack.options.dataDir, path => path.includes(`/${topic}-`) && path.endsWith('.log'))) / records;
    },
    async close() {
      for (const end of running) await end();
      for (const { remove } of bundles) await remove();
      await stack.close();
    },
  };
}

async function bytesUnder(folder: string, counts: (path: string) => boolean): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && counts(path)) bytes += (await stat(path)).size;
  }
  return bytes;
}
