import { randomUUID } from 'node:crypto';
import { readConfig } from '../../src/config.ts';
import type { Config } from '../../src/config.ts';
import { createLog } from '../../src/telemetry.ts';
import type { Log } from '../../src/telemetry.ts';
import { packageRoot } from './local.ts';

export const sharedStackVariable = 'MILLRACE_TEST_STACK';

/** The stack that test/run.ts started. A test that kills parts of its stack starts one of its own (helpers/local.ts). */
export function sharedStack(): { kafkaBrokers: string; registryUrl: string; clickhouseUrl: string } {
  const value = process.env[sharedStackVariable];
  if (value === undefined) throw new Error('this test shares a stack: run it with `npm test -- <part of its path>`');
  return JSON.parse(value) as { kafkaBrokers: string; registryUrl: string; clickhouseUrl: string };
}

/** A configuration on the shared stack with topics, group and database that nobody else has. */
export function freshConfig(overrides: Partial<Config> = {}): Config {
  const { kafkaBrokers, registryUrl, clickhouseUrl } = sharedStack();
  return freshConfigOn({ kafkaBrokers, registryUrl, clickhouseUrl }, overrides);
}

/** The same on any stack. */
export function freshConfigOn(stack: { kafkaBrokers: string; registryUrl: string; clickhouseUrl: string }, overrides: Partial<Config> = {}): Config {
  const unique = randomUUID().slice(0, 8);
  const environment = {
    PORT: '0',
    KAFKA_BROKERS: stack.kafkaBrokers,
    SCHEMA_REGISTRY_URL: stack.registryUrl,
    CLICKHOUSE_URL: stack.clickhouseUrl,
    CLICKHOUSE_DATABASE: `test_${unique}`,
    MILLRACE_TOPIC_PARTITIONS: '3',
  };
  const config = readConfig(environment, packageRoot, packageRoot, 'up');
  return {
    ...config,
    topic: { ...config.topic, events: `events-${unique}`, deadLetters: `dead-letters-${unique}` },
    consumerGroup: `sink-${unique}`,
    sessionTimeoutMs: 6_000,
    ...overrides,
  };
}

/** Errors only; `MILLRACE_TEST_LOG=debug npm test -- …` shows more. */
export function testLog(): Log {
  return createLog(process.env['MILLRACE_TEST_LOG'] ?? 'error');
}
