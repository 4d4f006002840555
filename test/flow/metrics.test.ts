import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';
import { startSinkHealth } from '../../src/compose.ts';
import { eventually } from '../helpers/eventually.ts';
import { startClickHouseProxy } from '../helpers/http-proxy.ts';
import type { ClickHouseProxy } from '../helpers/http-proxy.ts';
import { scrape } from '../helpers/prometheus.ts';
import type { Scrape } from '../helpers/prometheus.ts';
import { freshConfig, sharedStack, testLog } from '../helpers/shared-stack.ts';
import { startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';

/* A door and a sink in one process, as `up` runs them, with ClickHouse behind a proxy that can take it away. */

let proxy: ClickHouseProxy;
let system: System;
before(async () => {
  proxy = await startClickHouseProxy(sharedStack().clickhouseUrl);
  const config = freshConfig();
  system = await startSystem({ ...config, clickhouse: { ...config.clickhouse, url: proxy.url } });
});
after(async () => {
  proxy.judge = () => 'pass';
  await system.close();
  await proxy.close();
});

const until = (satisfied: (values: Scrape) => boolean): Promise<Scrape> => eventually(() => scrape(system.door.url), satisfied, 20_000, 100);
const lagOf = (values: Scrape): number => values.sum('millrace_sink_lag', { topic: system.config.topic.events });
const outcomesOf = (values: Scrape): Record<string, number> =>
  Object.fromEntries(['stored', 'duplicate', 'conflict', 'dead_lettered', 'suppressed', 'present'].map(outcome => [outcome, values.sum('millrace_sink_records_total', { topic: system.config.topic.events, outcome })]));
const track = (messageId: string, event = 'Counted'): object => ({ type: 'track', userId: messageId, event, messageId });

test('what was sent is what is counted, and the ledger says the same', async () => {
  const batch = Array.from({ length: 60 }, (_, index) => track(`m-${index}`));
  await system.post('/api/v1/events/batch', { batch: [...batch, { type: 'track', event: 'No user' }, { type: 'nonsense', userId: 'u' }] });
  await until(values => outcomesOf(values)['stored'] === 60);
  await system.post('/api/v1/events/batch', { batch: [...batch.slice(0, 7), track('m-8', 'Other'), track('m-9', 'Other')] });
  await system.post('/api/v1/events', track('m-60'));
  await system.post('/api/v1/events', { type: 'track', userId: 'u' });
  await system.post('/api/v1/events', 'no json');
  const producer = new Kafka({ brokers: sharedStack().kafkaBrokers.split(','), logLevel: logLevel.NOTHING }).producer();
  await producer.connect();
  await producer.send({ topic: system.config.topic.events, messages: [null, 'neither', 'nor', JSON.stringify(track('m-61'))].map(value => ({ key: 'k', value })) });
  await producer.disconnect();

  const expected = { stored: 62, duplicate: 7, conflict: 2, dead_lettered: 3, suppressed: 0, present: 0 };
  const values = await until(found => Object.entries(expected).every(([outcome, count]) => outcomesOf(found)[outcome] === count) && lagOf(found) === 0);
  assert.deepEqual([values.get('millrace_conflicts_total'), values.sum('millrace_dead_letters_total', { code: 'tombstone' }), values.sum('millrace_dead_letters_total', { code: 'unreadable' })], [2, 1, 2]);
  assert.deepEqual([values.get('millrace_sink_batch_rows_sum'), values.get('millrace_sink_replays_total'), values.get('millrace_sink_joined'), values.get('millrace_reconciled_total')], [62, 0, 1, 0]);
  for (const name of ['insert', 'lookup', 'freshness']) {
    const seconds = (values.get(`millrace_sink_${name}_seconds_sum`) ?? 0) / (values.get(`millrace_sink_${name}_seconds_count`) ?? 0);
    assert.ok(seconds > 0 && seconds < 20, `${name}: ${seconds}`);
  }
  assert.deepEqual(['accepted', 'field_missing', 'type_unknown', 'malformed_json'].map(result => values.sum('millrace_door_events_total', { result })), [70, 2, 1, 0]);
  assert.deepEqual(['400', '503'].map(status => values.sum('millrace_door_requests_total', { status })), [2, 0]);
  assert.equal(values.get('millrace_door_in_flight_bytes'), 0);

  const ledger = await system.query(`SELECT tenant, write_key_id, sum(received) AS received, sum(stored) AS stored, sum(duplicate) AS duplicate, sum(dead_lettered) AS dead_lettered, sum(dropped) AS dropped, sum(suppressed) AS suppressed,
    min(hour) >= toStartOfHour(now() - 3600) AS recent FROM ledger GROUP BY tenant, write_key_id ORDER BY write_key_id`);
  assert.deepEqual(ledger, [
    { tenant: 'dev', write_key_id: '', received: 4, stored: 1, duplicate: 0, dead_lettered: 3, dropped: 0, suppressed: 0, recent: 1 },
    { tenant: 'dev', write_key_id: 'dev', received: 70, stored: 61, duplicate: 9, dead_lettered: 0, dropped: 0, suppressed: 0, recent: 1 },
  ]);
  // Settled too, before ClickHouse goes away: three of the topic, and two that the batch had refused.
  await eventually(() => system.query<{ n: number }>('SELECT count() AS n FROM dead_letters'), ([row]) => Number(row?.n) === 5);
  assert.equal(values.sum('millrace_door_letters_total', { result: 'kept' }), 2);
  assert.deepEqual(await system.query('SELECT sum(accounted) AS accounted, sum(unaccounted) AS unaccounted FROM ledger_gaps'), [{ accounted: 74, unaccounted: 0 }]);
});

test('ClickHouse away: batches wait, lag grows with what comes, also behind a batch that waits; then all goes back to 0', async () => {
  const stored = outcomesOf(await scrape(system.door.url))['stored'] ?? 0;
  proxy.judge = () => 'refuse';
  const send = (from: number): Promise<unknown> => system.post('/api/v1/events/batch', { batch: Array.from({ length: 20 }, (_, index) => ({ ...track(`away-${from + index}`), userId: 'one' })) });
  await send(0);
  const away = await until(values => values.sum('millrace_sink_waiting_batches', { code: 'clickhouse_unavailable' }) === 1 && lagOf(values) === 20);
  assert.ok((away.get('millrace_sink_batch_bytes') ?? 0) > 20 * 50);
  await send(20);
  // Its partition has a batch under way: only Kafka knows of these.
  const grown = await until(values => lagOf(values) === 40);
  assert.deepEqual([grown.get('millrace_sink_joined'), outcomesOf(grown)['stored'], outcomesOf(grown)['dead_lettered']], [1, stored, 3]);

  proxy.judge = () => 'pass';
  const back = await until(values => lagOf(values) === 0 && outcomesOf(values)['stored'] === stored + 40);
  assert.deepEqual([back.sum('millrace_sink_waiting_batches'), back.get('millrace_sink_batch_bytes'), outcomesOf(back)['dead_lettered']], [0, 0, 3]);
  assert.ok((back.get('millrace_sink_replays_total') ?? 0) >= 1);
  assert.ok((back.get('millrace_sink_freshness_seconds_count') ?? 0) - (back.get('millrace_sink_freshness_seconds_bucket{le="1"}') ?? 0) >= 1);
});

test('every partition has its lag, also one that never held a record', async () => {
  const values = await until(found => [...found.keys()].filter(series => series.startsWith('millrace_sink_lag{')).length === 6);
  assert.equal(values.sum('millrace_sink_lag'), 0);
});

test('a sink alone answers /metrics on its health port', async () => {
  assert.ok(system.sink);
  const health = await startSinkHealth(system.config, system.sink, testLog());
  try {
    assert.equal((await scrape(health.url)).get('millrace_sink_joined'), 1);
  } finally {
    await health.close();
  }
});
