import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { MillraceError } from '../src/errors.ts';
import { measureDoor, measureSink } from '../src/measure.ts';
import { catalogue, createMetricSum, createMetrics } from '../src/metrics.ts';
import { packageRoot } from './helpers/local.ts';
import { parseScrape } from './helpers/prometheus.ts';
import { testLog } from './helpers/shared-stack.ts';

const read = async (metrics: ReturnType<typeof createMetrics>): Promise<ReturnType<typeof parseScrape>> => parseScrape((await metrics.exposition()).body);

test('docs/metrics.md lists the catalogue, both ways', () => {
  const page = readFileSync(join(packageRoot, 'docs', 'metrics.md'), 'utf8');
  const rows = [...page.matchAll(/^\| `(millrace_\w+)` \| (\w+) \| (.*?) \| (.+?) \| .+ \|$/gm)].map(([, name, type, labels, help]) => [name, type, labels, help]);
  const expected = Object.entries(catalogue).map(([name, { type, labels, help }]) => [name, type, labels.length === 0 ? '–' : labels.map(label => `\`${label}\``).join(', '), help]);
  assert.deepEqual(rows, expected);
  const mentioned = new Set([...page.matchAll(/\bmillrace_\w+?(?=_(?:bucket|sum|count)\b|\b)/g)].map(match => match[0]));
  assert.deepEqual([...mentioned].filter(name => !Object.hasOwn(catalogue, name)), []);
});

test('every metric is moved by something, and no label holds what users send', () => {
  const src = join(packageRoot, 'src');
  const code = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.ts') && file !== 'metrics.ts').map(file => readFileSync(join(src, file), 'utf8')).join('\n');
  assert.deepEqual(Object.keys(catalogue).filter(name => !code.includes(`'${name}'`)), []);
  const labels = new Set(Object.values(catalogue).flatMap((entry): readonly string[] => entry.labels));
  assert.deepEqual([...labels].sort(), ['code', 'dialect', 'key', 'notice', 'outcome', 'partition', 'reason', 'result', 'status', 'topic']);
});

test('a process shows the metrics of its own roles, and Node’s; two processes’ worth fit into one', async () => {
  const [door, sink] = [createMetrics(), createMetrics()];
  measureDoor(door, { log: testLog(), dialects: ['segment'], keys: ['web'], inFlightBytes: () => 12 }).onEvents({ dialect: 'segment', key: 'web', result: 'accepted', count: 3, requestId: 'r' });
  measureSink(sink, { eventTopics: ['t'], joined: () => true });
  const [ofDoor, ofSink] = [await read(door), await read(sink)];
  assert.deepEqual([ofDoor.get('millrace_door_events_total{dialect="segment",key="web",result="accepted"}'), ofDoor.get('millrace_door_in_flight_bytes'), ofDoor.has('millrace_sink_joined')], [3, 12, false]);
  assert.deepEqual([ofSink.get('millrace_sink_joined'), ofSink.get('millrace_conflicts_total'), ofSink.get('millrace_sink_records_total{topic="t",outcome="conflict"}'), ofSink.sum('millrace_door_events_total')], [1, 0, 0, 0]);
  for (const each of [ofDoor, ofSink]) assert.ok((each.get('process_resident_memory_bytes') ?? 0) > 1e6 && each.has('nodejs_eventloop_lag_seconds'));
});

test('what a sink does, as numbers', async () => {
  const metrics = createMetrics();
  const meter = measureSink(metrics, { eventTopics: ['t'], joined: () => false, nowMs: () => 10_000 });
  meter.onStored({ topic: 't', partition: 0, stored: 5, duplicate: 2, conflict: 1, deadLettered: 3, suppressed: 1, present: 0, replay: false, deadLetterCodes: { tombstone: 1, unreadable: 2 }, lookUpMs: 250, insertMs: 500, oldestReceivedAtMs: 7_000 });
  meter.onStored({ topic: 't', partition: 1, stored: 0, duplicate: 0, conflict: 0, deadLettered: 1, suppressed: 0, present: 0, replay: true, deadLetterCodes: { tombstone: 1 }, lookUpMs: 0, insertMs: 0, oldestReceivedAtMs: null });
  // A clock ahead of ours makes nothing negative.
  meter.onStored({ topic: 't', partition: 1, stored: 1, duplicate: 0, conflict: 0, deadLettered: 0, suppressed: 0, present: 4, replay: true, deadLetterCodes: {}, lookUpMs: 250, insertMs: 250, oldestReceivedAtMs: 11_000 });
  meter.onPass({ removed: 2, corrected: 1, repeated: 0, eventIds: [] });
  meter.onGap({ topic: 't', partition: 0, reason: 'deleted', from: 3n, to: 5n, count: 2n });
  const values = await read(metrics);
  assert.equal(values.sum('millrace_offset_gaps_total', { topic: 't', reason: 'deleted' }), 1);
  const outcomes = Object.fromEntries(['stored', 'duplicate', 'conflict', 'dead_lettered', 'suppressed', 'present'].map(outcome => [outcome, values.sum('millrace_sink_records_total', { outcome })]));
  assert.deepEqual(outcomes, { stored: 6, duplicate: 2, conflict: 1, dead_lettered: 4, suppressed: 1, present: 4 });
  assert.deepEqual([values.get('millrace_dead_letters_total{code="tombstone"}'), values.get('millrace_dead_letters_total{code="unreadable"}'), values.get('millrace_conflicts_total'), values.get('millrace_sink_replays_total')], [2, 2, 1, 2]);
  assert.deepEqual(['batch_rows', 'insert_seconds', 'lookup_seconds', 'freshness_seconds'].map(name => [values.get(`millrace_sink_${name}_count`), values.get(`millrace_sink_${name}_sum`)]), [[2, 6], [2, 0.75], [2, 0.5], [2, 3]]);
  assert.equal(values.get('millrace_sink_freshness_seconds_bucket{le="2"}'), 1);
  assert.deepEqual([values.get('millrace_reconciled_total'), values.get('millrace_outcomes_corrected_total')], [2, 1]);
});

test('batches that wait are counted by what failed, until they wait no more; so are bytes under way', async () => {
  const metrics = createMetrics();
  const meter = measureSink(metrics, { eventTopics: ['t'], joined: () => true });
  const waiting = async (): Promise<number[]> => {
    const values = await read(metrics);
    return ['clickhouse_unavailable', 'registry_unavailable', 'internal'].map(code => values.sum('millrace_sink_waiting_batches', { code }));
  };
  const away = new MillraceError('clickhouse_unavailable', 'away');
  meter.onWaiting('t', 0, away);
  meter.onWaiting('t', 0, away);
  meter.onWaiting('t', 1, away);
  meter.onWaiting('t', 2, new TypeError('odd'));
  assert.deepEqual(await waiting(), [2, 0, 1]);
  meter.onWaiting('t', 0, new MillraceError('registry_unavailable', 'away'));
  meter.onWaiting('t', 1, null);
  assert.deepEqual(await waiting(), [0, 1, 1]);
  meter.onWaiting('t', 0, null);
  meter.onWaiting('t', 2, null);
  assert.deepEqual(await waiting(), [0, 0, 0]);

  const records = [{ value: Buffer.alloc(10) }, { value: null }, { value: Buffer.alloc(5) }];
  await meter.during(records, async () => assert.equal((await read(metrics)).get('millrace_sink_batch_bytes'), 15));
  await assert.rejects(meter.during(records, () => Promise.reject(new Error('no'))), /no/);
  assert.equal((await read(metrics)).get('millrace_sink_batch_bytes'), 0);
});

test('the lag of a partition is shown as long as it is held', async () => {
  const metrics = createMetrics();
  const meter = measureSink(metrics, { eventTopics: ['t'], joined: () => true });
  meter.onLag('t', 0, 5);
  meter.onLag('t', 11, 7);
  assert.equal((await read(metrics)).get('millrace_sink_lag{topic="t",partition="11"}'), 7);
  meter.onLag('t', 11, null);
  assert.deepEqual([...(await read(metrics)).keys()].filter(series => series.startsWith('millrace_sink_lag')), ['millrace_sink_lag{topic="t",partition="0"}']);
});

test('what processes had counted stays in the sum from the moment that they are gone, also where several go at once', async () => {
  const sum = createMetricSum();
  const total = async (): Promise<number> => parseScrape((await sum.of([])).body).sum('millrace_notices_total');
  const counted = createMetrics();
  counted.enable('process');
  counted.count('millrace_notices_total', { notice: 'worker_ended' });
  const last = await counted.snapshot();
  for (let n = 0; n < 3; n++) sum.gone(last);
  assert.equal(await total(), 3, 'at once');
  await new Promise(resolve => setTimeout(resolve, 5));
  sum.gone(last);
  assert.equal(await total(), 4);
  await new Promise(resolve => setTimeout(resolve, 5));
  assert.equal(await total(), 4, 'when they are one');
});
