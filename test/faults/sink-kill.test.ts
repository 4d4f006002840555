import assert from 'node:assert/strict';
import { randomInt, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import type { Config } from '../../src/config.ts';
import { eventually } from '../helpers/eventually.ts';
import { startClickHouseProxy } from '../helpers/http-proxy.ts';
import type { ClickHouseProxy, Verdict } from '../helpers/http-proxy.ts';
import { freshConfig } from '../helpers/shared-stack.ts';
import { spawnSink } from '../helpers/spawn-sink.ts';
import type { SinkProcess } from '../helpers/spawn-sink.ts';
import { startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';

/*
 * faults.md 13, 14, 16, 17: the sink dies, or its answers are lost, between any two of its steps. Afterwards the rows are
 * exactly what was sent: each id once, each duplicate accounted for once.
 */

const distinct = 300;
const batches = 4;

/** Sends ids 0 … distinct-1 in a few batches, with every third of them twice; returns the message ids and how many records that made. */
async function send(system: System, run: string): Promise<{ ids: string[]; records: number }> {
  const ids = Array.from({ length: distinct }, (_, index) => `${run}-${index}`);
  let records = 0;
  for (let part = 0; part < batches; part++) {
    const events = ids.flatMap((messageId, index) => {
      if (index % batches !== part) return [];
      const event = { type: 'track', userId: `u${index % 17}`, event: 'Killed', messageId };
      return index % 3 === 0 ? [event, event] : [event];
    });
    records += events.length;
    const { body } = await system.post('/api/v1/events/batch', { batch: events });
    assert.equal(body['accepted'], events.length);
  }
  return { ids, records };
}

async function assertExact(system: System, run: string, ids: readonly string[], records: number): Promise<void> {
  await eventually(
    () => system.query<{ n: number }>('SELECT uniqExact((topic, partition, offset)) AS n FROM (SELECT topic, partition, offset FROM events UNION ALL SELECT topic, partition, offset FROM outcomes)'),
    ([row]) => Number(row?.n) === records,
    60_000,
  );
  const rows = await system.query<{ message_id: string }>(`SELECT message_id FROM events WHERE message_id LIKE '${run}-%'`);
  assert.deepEqual(rows.map(row => row.message_id).sort(), [...ids].sort());
  const outcomes = await system.query<{ place: string }>('SELECT toString((partition, offset)) AS place FROM outcomes');
  const [stored] = await system.query<{ n: number }>('SELECT count() AS n FROM events');
  assert.equal(outcomes.length, records - Number(stored?.n), 'each duplicate has one outcome');
  assert.equal(new Set(outcomes.map(row => row.place)).size, outcomes.length);
  // ClickHouse shows rows a moment before their ids.
  await eventually(() => system.query('SELECT event_id FROM events WHERE event_id NOT IN (SELECT event_id FROM event_ids)'), lacking => lacking.length === 0, 10_000);
}

async function withProxiedSink(work: (parts: { system: System; proxy: ClickHouseProxy; config: Config; run: string }) => Promise<void>): Promise<void> {
  // A dead sink's partitions are free again after the session timeout.
  const config = freshConfig({ sessionTimeoutMs: 2_500 });
  const proxy = await startClickHouseProxy(config.clickhouse.url ?? '');
  const system = await startSystem(config, { withSink: false });
  try {
    await work({ system, proxy, config: { ...config, clickhouse: { ...config.clickhouse, url: proxy.url } }, run: randomUUID() });
  } finally {
    await system.close();
    await proxy.close();
  }
}

/** The steps that can be told apart from outside, by the statement and whether its answer reached the sink. */
const steps: { name: string; statement: RegExp; verdict: Verdict; delayMs: number }[] = [
  { name: 'after the plan, before the look-up', statement: /FROM event_ids/, verdict: 'refuse', delayMs: 0 },
  { name: 'before the insert arrives', statement: /^INSERT INTO events/, verdict: 'refuse', delayMs: 0 },
  { name: 'in the middle of the insert', statement: /^INSERT INTO events/, verdict: 'cut', delayMs: 0 },
  { name: 'after the insert, before its answer', statement: /^INSERT INTO events/, verdict: 'lose', delayMs: 0 },
  { name: 'after the insert’s answer', statement: /^INSERT INTO events/, verdict: 'pass', delayMs: 0 },
  { name: 'around the commit', statement: /^INSERT INTO (events|outcomes)/, verdict: 'pass', delayMs: 6 },
  { name: 'after the outcomes, before their answer', statement: /^INSERT INTO outcomes/, verdict: 'lose', delayMs: 0 },
];

test('kill -9 of the sink between any two steps: nothing lost, nothing twice', async () => {
  const seed = randomInt(1_000_000);
  await withProxiedSink(async ({ system, proxy, config, run }) => {
    const { ids, records } = await send(system, run);
    for (const [round, step] of steps.entries()) {
      let sink: SinkProcess | null = null;
      let struck = false;
      const killed = new Promise<void>(resolve => {
        const strike = async (): Promise<void> => {
          await new Promise(done => setTimeout(done, step.delayMs));
          await sink?.kill();
          resolve();
        };
        proxy.judge = statement => {
          if (struck || !step.statement.test(statement)) return struck ? 'refuse' : 'pass';
          struck = true;
          if (step.verdict !== 'pass' && step.verdict !== 'lose') void strike();
          return step.verdict;
        };
        proxy.answered = statement => {
          if (struck && step.statement.test(statement) && (step.verdict === 'pass' || step.verdict === 'lose')) {
            const done = strike();
            return step.verdict === 'lose' ? done : undefined;
          }
          return undefined;
        };
      });
      sink = await spawnSink(config);
      // What is sent between the kills keeps every later step supplied.
      const noise = await system.post('/api/v1/events/batch', { batch: Array.from({ length: 20 }, (_, index) => ({ type: 'page', userId: `n${index >> 1}`, messageId: `noise-${run}-${round * 10 + (index >> 1)}` })) });
      assert.equal(noise.status, 200);
      await Promise.race([killed, sink.exited, timeout(30_000, `${step.name} was not reached; seed ${seed}`)]);
    }
    proxy.judge = () => 'pass';
    proxy.answered = () => undefined;
    const sink = await spawnSink(config);
    try {
      const noiseRecords = steps.length * 20;
      const noiseIds = noiseRecords / 2;
      await eventually(() => system.query<{ n: number }>(`SELECT count() AS n FROM events WHERE message_id LIKE 'noise-${run}-%'`), ([row]) => Number(row?.n) === noiseIds, 60_000);
      await assertExact(system, run, ids, records + noiseRecords).catch(async (error: unknown) => {
        throw new Error(`seed ${seed}: ${String(error)}`);
      });
    } finally {
      await sink.stop();
    }
  });
});

function timeout(ms: number, message: string): Promise<never> {
  return new Promise((_, reject) => setTimeout(() => reject(new Error(message)), ms).unref());
}

test('lost answers and refused connections, without a kill: the sink goes on by itself', async () => {
  await withProxiedSink(async ({ system, proxy, config, run }) => {
    const { ids, records } = await send(system, run);
    const verdicts: Verdict[] = ['lose', 'cut', 'refuse', 'lose'];
    proxy.judge = statement => (/^INSERT INTO (events|outcomes)/.test(statement) ? (verdicts.shift() ?? 'pass') : 'pass');
    const sink = await spawnSink(config);
    try {
      await assertExact(system, run, ids, records);
      assert.equal(verdicts.length, 0);
    } finally {
      await sink.stop();
    }
  });
});

test('a group set back to the start adds nothing', async () => {
  await withProxiedSink(async ({ system, config, run }) => {
    const { ids, records } = await send(system, run);
    const first = await spawnSink(config);
    await assertExact(system, run, ids, records);
    assert.equal(await first.stop(), 0);
    // Another group reads the topic from its beginning, into the same tables.
    const second = await spawnSink({ ...config, consumerGroup: `${config.consumerGroup}-again` });
    try {
      const marker = await system.post('/api/v1/events', { type: 'track', userId: 'marker', event: 'Marker', messageId: `marker-${run}` });
      assert.equal(marker.status, 200);
      await eventually(() => system.query(`SELECT 1 FROM events WHERE event = 'Marker'`), found => found.length === 1);
      await assertExact(system, run, ids, records + 1);
    } finally {
      await second.stop();
    }
  });
});
