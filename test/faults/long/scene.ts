import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel } from 'kafkajs';
import type { Admin } from 'kafkajs';
import type { Config } from '../../../src/config.ts';
import type { Part, TestStack } from '../../helpers/local.ts';
import type { Fleet } from './fleet.ts';
import type { Random } from './random.ts';
import type { Traffic } from './traffic.ts';

/** What a fault has to work with. */
export interface Scene {
  stack: TestStack;
  config: Config;
  fleet: Fleet;
  traffic: Traffic;
  random: Random;
  /** How many the topic has by now. */
  partitions: number;
  /** How long a request to ClickHouse is held to be late, in ms: past the sink's timeout of 30 s, or shorter in the short form. */
  lateMs: number;
  /** How often each fault came about. */
  injected: Map<string, number>;
  say: (line: string) => void;
}

export function count(scene: Pick<Scene, 'injected' | 'say'>, name: string): void {
  scene.injected.set(name, (scene.injected.get(name) ?? 0) + 1);
  scene.say(name);
}

export function kafkaOf(config: Config): Kafka {
  return new Kafka({ clientId: 'faults', brokers: config.kafka.brokers ?? [], logLevel: logLevel.NOTHING, connectionTimeout: 2_000, requestTimeout: 5_000, retry: { retries: 2 } });
}

/** Does something with Kafka's admin, again and again until it works: Kafka may be away. */
export async function insist<T>(config: Config, work: (admin: Admin) => Promise<T>, timeoutMs = 60_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const admin = kafkaOf(config).admin();
    try {
      await admin.connect();
      return await work(admin);
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(300);
    } finally {
      await admin.disconnect().catch(() => undefined);
    }
  }
}

/** Sends a signal to a part of the stack, whose supervisor starts it again; resolves when it is ready anew. */
export async function restartPart(scene: Scene, part: Part, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  const status = (): { pid: number | undefined; state: string } => scene.stack.parts().find(({ name }) => name === part) ?? { pid: undefined, state: 'missing' };
  const before = status().pid;
  if (before === undefined) return;
  process.kill(before, signal);
  const deadline = Date.now() + 90_000;
  while (status().state !== 'ready' || status().pid === before) {
    if (Date.now() > deadline) throw new Error(`${part} did not come back`);
    await sleep(100);
  }
}

export interface Lag {
  /** Records of the events topic and of the dead letters' that are not settled. */
  records: number;
  /** The sum of all committed offsets. */
  committed: number;
}

/** How far the sinks' two groups are behind. */
export async function lagOf(config: Config, admin: Admin): Promise<Lag> {
  let records = 0;
  let committed = 0;
  for (const [topic, groupId] of [[config.topic.events, config.consumerGroup], [config.topic.deadLetters, `${config.consumerGroup}.dead-letters`]] as const) {
    const [ends, [group]] = await Promise.all([admin.fetchTopicOffsets(topic), admin.fetchOffsets({ groupId, topics: [topic] })]);
    const done = new Map(group?.partitions.map(({ partition, offset }) => [partition, Math.max(0, Number(offset))]));
    for (const { partition, high } of ends) {
      records += Math.max(0, Number(high) - (done.get(partition) ?? 0));
      committed += done.get(partition) ?? 0;
    }
  }
  return { records, committed };
}
