import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel } from 'kafkajs';
import type { Admin, Message, Producer } from 'kafkajs';
import { endpointsOf, provision, startSink } from '../../src/compose.ts';
import type { RunningSink } from '../../src/compose.ts';
import type { Config } from '../../src/config.ts';
import { migrate, readMigrations } from '../../src/sink/migrate.ts';
import { createDatedTopic } from '../helpers/create-topic.ts';
import { eventually } from '../helpers/eventually.ts';
import { startClickHouseProxy } from '../helpers/http-proxy.ts';
import type { ClickHouseProxy } from '../helpers/http-proxy.ts';
import { packageRoot } from '../helpers/local.ts';
import { freshConfig, testLog } from '../helpers/shared-stack.ts';
import { spawnSink } from '../helpers/spawn-sink.ts';
import type { SinkProcess } from '../helpers/spawn-sink.ts';
import { ask, queryClient } from '../helpers/system.ts';

/** Topics, group, database and tables of a test's own; records straight to Kafka, sinks behind a proxy in front of ClickHouse. */
export interface SinkScene {
  config: Config;
  proxy: ClickHouseProxy;
  admin: Admin;
  send: (messages: Message[], topic?: string) => Promise<void>;
  query: <T = Record<string, unknown>>(statement: string) => Promise<T[]>;
  command: (statement: string) => Promise<void>;
  /** A sink in this process; closed with the scene. */
  startSink: (overrides?: Partial<Config>) => Promise<RunningSink>;
  /** A sink in a process of its own; killed with the scene. */
  spawnSink: (overrides?: Partial<Config>) => Promise<SinkProcess>;
  /** Waits until so many records of the topic have a row or an outcome. */
  settled: (records: number, timeoutMs?: number) => Promise<void>;
  /** Records of the events topic that the group has not settled. */
  lag: () => Promise<number>;
  /** Message ids in `events`, sorted. */
  ids: () => Promise<string[]>;
  /** Each record of the topic has one row or one outcome, and each row its id. */
  assertWhole: (records: number) => Promise<void>;
}

export interface SinkSceneOptions {
  partitions?: number;
  /** A ClickHouse of the test's own instead of the shared one. */
  clickhouseUrl?: string;
  /** The topic's records keep the times that the test gives them. */
  createTime?: boolean;
  /** Short, where the test waits for a sink's session to end. */
  sessionTimeoutMs?: number;
}

export async function withSinkScene(options: SinkSceneOptions, work: (scene: SinkScene) => Promise<void>): Promise<void> {
  const base = freshConfig(options.sessionTimeoutMs === undefined ? {} : { sessionTimeoutMs: options.sessionTimeoutMs });
  const target = options.clickhouseUrl ?? base.clickhouse.url ?? '';
  const proxy = await startClickHouseProxy(target);
  const direct: Config = { ...base, topic: { ...base.topic, partitions: options.partitions ?? 2 }, clickhouse: { ...base.clickhouse, url: target } };
  const config: Config = { ...direct, clickhouse: { ...direct.clickhouse, url: proxy.url } };
  const deps = { log: testLog(), onFatal: (error: Error) => { throw error; } };
  if (options.createTime === true) await createDatedTopic(config.topic.events, config.topic.partitions);
  await provision(config, endpointsOf(config, null), deps.log);
  await migrate(endpointsOf(direct, null).clickhouse, readMigrations(`${packageRoot}/schemas/clickhouse`), deps.log);
  const kafka = new Kafka({ brokers: config.kafka.brokers ?? [], logLevel: logLevel.NOTHING });
  const producer: Producer = kafka.producer();
  const admin = kafka.admin();
  await Promise.all([producer.connect(), admin.connect()]);
  const clickhouse = queryClient(direct);
  const spawned: Promise<SinkProcess>[] = [];
  const started: RunningSink[] = [];
  const query: SinkScene['query'] = statement => ask(clickhouse, statement);
  const places = 'SELECT topic, partition, offset FROM events UNION ALL SELECT topic, partition, offset FROM outcomes';
  try {
    await work({
      config,
      proxy,
      admin,
      query,
      async command(statement) {
        await clickhouse.command({ query: statement, clickhouse_settings: { mutations_sync: '2' } });
      },
      async send(messages, topic = config.topic.events) {
        await producer.send({ topic, messages });
      },
      async startSink(overrides = {}) {
        const own = { ...config, ...overrides };
        const sink = await startSink(own, endpointsOf(own, null), deps);
        started.push(sink);
        return sink;
      },
      async spawnSink(overrides = {}) {
        const sink = spawnSink({ ...config, ...overrides });
        spawned.push(sink);
        return sink;
      },
      async settled(records, timeoutMs = 40_000) {
        await eventually(() => query<{ n: number }>(`SELECT uniqExact((topic, partition, offset)) AS n FROM (${places})`), ([row]) => Number(row?.n) >= records, timeoutMs);
      },
      async lag() {
        const [ends, [group]] = await Promise.all([admin.fetchTopicOffsets(config.topic.events), admin.fetchOffsets({ groupId: config.consumerGroup, topics: [config.topic.events] })]);
        return ends.reduce((sum, { partition, high }) => sum + Number(high) - Math.max(0, Number(group?.partitions.find(found => found.partition === partition)?.offset ?? 0)), 0);
      },
      async ids() {
        return (await query<{ message_id: string }>('SELECT message_id FROM events')).map(row => row.message_id).sort();
      },
      async assertWhole(records) {
        const [row] = await query<{ n: number; distinct: number }>(`SELECT count() AS n, uniqExact((topic, partition, offset)) AS distinct FROM (${places})`);
        assert.deepEqual([Number(row?.n), Number(row?.distinct)], [records, records], 'each record ends in one way');
        // ClickHouse shows rows a moment before their ids.
        await eventually(() => query('SELECT message_id FROM events WHERE event_id NOT IN (SELECT event_id FROM event_ids)'), lacking => lacking.length === 0, 10_000);
        assert.deepEqual(await query('SELECT message_id, count() AS n FROM events GROUP BY tenant, message_id HAVING n > 1'), [], 'no id twice');
      },
    });
  } finally {
    proxy.judge = () => 'pass';
    proxy.answered = () => undefined;
    // One that did not start has told the test already.
    for (const sink of await Promise.allSettled(spawned)) if (sink.status === 'fulfilled') await sink.value.kill();
    await Promise.all(started.map(sink => sink.close()));
    await Promise.all([producer.disconnect(), admin.disconnect()]);
    await clickhouse.command({ query: `DROP DATABASE IF EXISTS ${direct.clickhouse.database} SYNC` }).finally(() => clickhouse.close());
    await proxy.close();
  }
}

/** Plain JSON of Segment's shape, as a direct producer writes it. */
export function pageRecord(messageId: string, more: { partition?: number; tenant?: string; properties?: Record<string, unknown> } = {}): Message {
  return {
    key: messageId,
    value: JSON.stringify({ type: 'page', userId: 'u', messageId, ...(more.properties && { properties: more.properties }) }),
    ...(more.partition !== undefined && { partition: more.partition }),
    ...(more.tenant !== undefined && { headers: { tenant: more.tenant } }),
  };
}

/** Holds for so long: asked again and again, to see that something does not happen. */
export async function stays(condition: () => Promise<boolean>, forMs: number, what: string): Promise<void> {
  const until = Date.now() + forMs;
  while (Date.now() < until) {
    assert.ok(await condition(), what);
    await sleep(250);
  }
}
