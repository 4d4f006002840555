import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';
import { endpointsOf, provision } from '../../src/compose.ts';
import type { Config } from '../../src/config.ts';
import { eventually } from '../helpers/eventually.ts';
import { startClickHouseProxy } from '../helpers/http-proxy.ts';
import { freshConfig, testLog } from '../helpers/shared-stack.ts';
import { spawnSink } from '../helpers/spawn-sink.ts';
import { startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';

/* The same event stored from two places, where look-ups can't see it: what the reconciliation is for. */

async function withSystem(work: (system: System, send: (topic: string, key: string, event: string) => Promise<void>, other: Config) => Promise<void>): Promise<void> {
  const base = freshConfig({ reconcileEveryMs: 1_000 });
  const config = { ...base, topic: { ...base.topic, partitions: 1 } };
  // Another topic into the same tables: a second sink, and what is read first is not left to chance. It makes no passes: only one sink of a group does.
  const other = { ...config, reconcileEveryMs: 3_600_000, topic: { ...config.topic, events: `${config.topic.events}-other`, deadLetters: `${config.topic.deadLetters}-other` }, consumerGroup: `${config.consumerGroup}-other` };
  const system = await startSystem(config, { withSink: false });
  await provision(other, endpointsOf(other, null), testLog());
  const producer = new Kafka({ brokers: config.kafka.brokers ?? [], logLevel: logLevel.NOTHING }).producer();
  await producer.connect();
  try {
    await work(system, async (topic, key, event) => {
      await producer.send({ topic, messages: [{ key, value: JSON.stringify({ type: 'track', userId: key, event, messageId: 'x' }) }] });
    }, other);
  } finally {
    await producer.disconnect();
    await system.close();
  }
}

const counts = (system: System): Promise<Record<string, number>[]> => system.query<Record<string, number>>('SELECT (SELECT count() FROM events) AS events, (SELECT count() FROM outcomes) AS outcomes, (SELECT count() FROM conflicts) AS conflicts');

test('the same id in two partitions, looked up by two sinks before either stored it: one row, soon', () =>
  withSystem(async (system, send, other) => {
    const proxy = await startClickHouseProxy(system.config.clickhouse.url ?? '');
    const through = { url: proxy.url };
    // Both look-ups are answered before any insert passes: the race, made certain.
    let lookedUp = 0;
    let bothLooked = (): void => undefined;
    const both = new Promise<void>(resolve => (bothLooked = resolve));
    proxy.answered = statement => {
      if (statement.startsWith('SELECT event_id, topic') && ++lookedUp === 2) bothLooked();
    };
    proxy.judge = async statement => {
      if (statement.startsWith('INSERT INTO events')) await both;
      return 'pass' as const;
    };
    await send(system.config.topic.events, 'a', 'First');
    await send(other.topic.events, 'b', 'Second');
    const sinks = await Promise.all([system.config, other].map(config => spawnSink({ ...config, clickhouse: { ...config.clickhouse, ...through } })));
    try {
      await eventually(() => system.query<{ n: string }>('SELECT sum(removed) AS n FROM reconciliations'), ([row]) => Number(row?.n) === 1, 40_000);
      assert.deepEqual(await counts(system), [{ events: 1, outcomes: 1, conflicts: 1 }]);
      const ids = await system.query<{ n: number }>('SELECT count() AS n FROM event_ids');
      assert.equal(Number(ids[0]?.n), 1);
    } finally {
      bothLooked();
      await Promise.all(sinks.map(sink => sink.kill()));
      await proxy.close();
    }
  }));

test('an insert that lands long after its sink died, and after its event came from elsewhere, is undone', () =>
  withSystem(async (system, send, other) => {
    const { config } = system;
    const proxy = await startClickHouseProxy(config.clickhouse.url ?? '');
    let landed = (): void => undefined;
    let release = (): void => undefined;
    let struck = (): void => undefined;
    const arrived = new Promise<void>(resolve => (landed = resolve));
    const gate = new Promise<void>(resolve => (release = resolve));
    const hit = new Promise<void>(resolve => (struck = resolve));
    let held = false;
    proxy.judge = async statement => {
      if (!held && statement.startsWith('INSERT INTO events')) {
        held = true;
        struck();
        await gate;
      }
      return 'pass' as const;
    };
    proxy.answered = statement => {
      if (statement.startsWith('INSERT INTO events')) landed();
    };
    await send(config.topic.events, 'a', 'Same');
    const first = await spawnSink({ ...config, clickhouse: { ...config.clickhouse, url: proxy.url } });
    await hit;
    await first.kill();
    await send(other.topic.events, 'a', 'Same');
    const elsewhere = await spawnSink(other);
    await eventually(() => system.query<{ n: number }>('SELECT count() AS n FROM events'), ([row]) => Number(row?.n) === 1, 40_000);
    await elsewhere.kill();
    const second = await spawnSink(config);
    try {
      await eventually(() => counts(system), ([row]) => Number(row?.['outcomes']) === 1, 40_000);
      release();
      await arrived;
      await eventually(() => system.query<{ n: string }>('SELECT sum(removed) AS n FROM reconciliations'), ([row]) => Number(row?.n) === 1, 40_000);
      assert.deepEqual(await counts(system), [{ events: 1, outcomes: 1, conflicts: 0 }]);
      assert.deepEqual(await system.query('SELECT topic FROM events'), [{ topic: other.topic.events }]);
      assert.deepEqual(await system.query('SELECT topic, outcome FROM outcomes'), [{ topic: config.topic.events, outcome: 'duplicate' }]);
    } finally {
      release();
      await second.kill();
      await proxy.close();
    }
  }));
