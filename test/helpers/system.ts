import assert from 'node:assert/strict';
import { createClient } from '@clickhouse/client';
import type { ClickHouseClient } from '@clickhouse/client';
import { endpointsOf, provision, startDoor, startSink } from '../../src/compose.ts';
import type { RunningDoor, RunningSink } from '../../src/compose.ts';
import type { Config } from '../../src/config.ts';
import { createMetrics } from '../../src/metrics.ts';
import { answerFaults } from './described.ts';
import { testLog } from './shared-stack.ts';

/** A door and a sink of their own on a running stack, and a way to ask ClickHouse. */
export interface System {
  config: Config;
  door: RunningDoor;
  sink: RunningSink | null;
  query: <T = Record<string, unknown>>(statement: string) => Promise<T[]>;
  command: (statement: string) => Promise<void>;
  /** POST to the door with the dev key; headers may replace that. The answer must be one of the OpenAPI document's. */
  post: (path: string, body: unknown, headers?: Record<string, string>) => Promise<{ status: number; headers: Headers; body: Record<string, unknown> }>;
  close: () => Promise<void>;
}

export async function startSystem(config: Config, { withSink = true } = {}): Promise<System> {
  const deps = { log: testLog(), metrics: createMetrics(), onFatal: (error: Error) => { throw error; } };
  const endpoints = endpointsOf(config, null);
  await provision(config, endpoints, deps.log);
  const sink = withSink ? await startSink(config, endpoints, deps) : null;
  const door = await startDoor(config, endpoints, deps);
  const clickhouse = queryClient(config);
  return {
    config,
    door,
    sink,
    query: statement => ask(clickhouse, statement),
    async command(statement) {
      await clickhouse.command({ query: statement });
    },
    async post(path, body, headers = { authorization: `Basic ${Buffer.from('dev:').toString('base64')}` }) {
      const response = await fetch(`${door.url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
      });
      const text = await response.text();
      assert.deepEqual(answerFaults({ method: 'POST', url: path, status: response.status, headers: Object.fromEntries(response.headers), body: text }), []);
      return { status: response.status, headers: response.headers, body: JSON.parse(text) as Record<string, unknown> };
    },
    async close() {
      await door.close();
      await sink?.close();
      await clickhouse.command({ query: `DROP DATABASE IF EXISTS ${config.clickhouse.database}` });
      await clickhouse.close();
    },
  };
}

export function queryClient(config: Config): ClickHouseClient {
  return createClient({ url: config.clickhouse.url ?? '', database: config.clickhouse.database });
}

export async function ask<T>(clickhouse: ClickHouseClient, statement: string): Promise<T[]> {
  const result = await clickhouse.query({ query: statement, format: 'JSONEachRow' });
  return result.json<T>();
}
