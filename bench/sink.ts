import { randomUUID } from 'node:crypto';
import { ClickHouseError } from '@clickhouse/client';
import { endpointsOf } from '../src/compose.ts';
import type { Config } from '../src/config.ts';
import { createEventAvro } from '../src/contract/event-avro.ts';
import { createRegistry } from '../src/contract/registry.ts';
import { contentHash } from '../src/event/content.ts';
import { eventId } from '../src/event/identity.ts';
import { eventColumns, eventRow } from '../src/event/row.ts';
import { readSegmentEvent } from '../src/event/segment.ts';
import type { CanonicalEvent } from '../src/event/canonical.ts';
import { migrate, readMigrations } from '../src/sink/migrate.ts';
import { createPublisher } from '../src/topic/publish.ts';
import type { OutgoingRecord } from '../src/topic/publish.ts';
import { packageRoot } from '../test/helpers/local.ts';
import { testLog } from '../test/helpers/shared-stack.ts';
import { ask, queryClient } from '../test/helpers/system.ts';
import { makeBed } from './harness/bed.ts';
import type { Bed } from './harness/bed.ts';
import { numberMark, trackEvent, userMark, users } from './harness/events.ts';
import { figureOf, short, spread, usage } from './harness/figures.ts';
import type { Bench } from './harness/report.ts';

/** Event `index` of a backlog, as the door would put it on the topic. */
export function makeEvent(index: number, text = trackEvent): CanonicalEvent {
  const filled = text.replaceAll(numberMark, String(index)).replaceAll(userMark, String(index % users));
  const read = readSegmentEvent(JSON.parse(filled), filled, { tenant: 'dev', dialect: 'segment', writeKeyId: 'dev', receivedAtMs: Date.now(), newMessageId: randomUUID });
  if (!read.ok) throw new Error(read.message);
  return { ...read.event, judged: { version: 1, action: 'reject', violations: [] } };
}

/** Puts events on the topic as the door does. Answers the bytes of a value. */
export async function fillEvents(config: Config, total: number, eventAt: (index: number) => CanonicalEvent): Promise<number> {
  const endpoints = endpointsOf(config, null);
  const avro = createEventAvro(`${packageRoot}/schemas/events/event.v1.avsc`);
  const schemaId = await createRegistry({ url: endpoints.registry.url, timeoutMs: 10_000 }).register(`${config.topic.events}-value`, avro.schemaText);
  let bytes = 0;
  await fill(config, config.topic.events, total, index => {
    const event = eventAt(index);
    const value = avro.encode(event, schemaId);
    bytes += value.length;
    return { topic: config.topic.events, key: Buffer.from(event.userId ?? ''), value, headers: { tenant: event.tenant, dialect: event.dialect, 'message-id': event.messageId, 'contract-version': '1' } };
  });
  return bytes / total;
}

async function fill(config: Config, topic: string, total: number, recordAt: (index: number) => OutgoingRecord): Promise<void> {
  const publisher = createPublisher({ ...endpointsOf(config, null).kafka, topics: [topic], log: testLog() });
  try {
    for (let from = 0; from < total; from += 2_000) {
      for (const result of await publisher.publish(Array.from({ length: Math.min(2_000, total - from) }, (_none, at) => recordAt(from + at)))) if (!result.ok) throw result.error;
    }
  } finally {
    await publisher.close();
  }
}

export interface Drained {
  /** From the start of what drains to the last row. */
  rowsPerSecond: number;
  /** In µs a row. */
  clickhouseCpu: number;
  sinkCpu: number;
  sinkPeakMb: number;
  bytesARow: number;
  /** Made by inserts into `events`. */
  parts: number;
}

/** Starts what drains, and waits until all is rows, beside those `before`. `pid` is that of the draining process, where it is not ClickHouse itself. */
export async function drain(bed: Bed, config: Config, total: number, start: () => Promise<{ pid: number | null; stop: () => Promise<unknown> }>, onProgress: (line: string) => void, before = 0): Promise<Drained> {
  const { database } = config.clickhouse;
  // The database is made by what drains.
  const clickhouse = queryClient({ ...config, clickhouse: { ...config.clickhouse, database: 'default' } });
  const noTable = (thrown: unknown): [] => {
    if (thrown instanceof ClickHouseError && ['UNKNOWN_TABLE', 'UNKNOWN_DATABASE'].includes(thrown.type ?? '')) return [];
    throw thrown;
  };
  const clickhousePid = bed.pidOf('clickhouse');
  const sleep = (): Promise<unknown> => new Promise(resolve => setTimeout(resolve, 100));
  const clickhouseBefore = usage(clickhousePid);
  const began = performance.now();
  const { pid, stop } = await start();
  try {
    const count = async (): Promise<number> => Number((await ask<{ n: string }>(clickhouse, `SELECT (SELECT count() FROM ${database}.events) + (SELECT count() FROM ${database}.outcomes) AS n`).catch(noTable))[0]?.n ?? before) - before;
    let told = began;
    let rows = await count();
    while (rows < total) {
      const now = performance.now();
      if (now - began > 900_000) throw new Error(`${rows} of ${total} rows within 15 minutes`);
      if (now - told > 10_000) {
        told = now;
        onProgress(`${rows} of ${total} rows`);
      }
      await sleep();
      rows = await count();
    }
    const seconds = (performance.now() - began) / 1_000;
    const [clickhouseAfter, sink] = [usage(clickhousePid), pid === null ? null : usage(pid)];
    const [sizes] = await ask<{ bytes: string; parts: string }>(clickhouse, `
      SELECT (SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = '${database}') AS bytes,
        (SELECT uniqExact(stored_at) FROM ${database}.events) AS parts`);
    return {
      rowsPerSecond: total / seconds,
      clickhouseCpu: ((clickhouseAfter.cpuSeconds - clickhouseBefore.cpuSeconds) * 1e6) / total,
      sinkCpu: ((sink?.cpuSeconds ?? 0) * 1e6) / total,
      sinkPeakMb: sink?.peakMb ?? NaN,
      bytesARow: Number(sizes?.bytes) / total,
      parts: Number(sizes?.parts),
    };
  } finally {
    await stop();
    await clickhouse.close();
  }
}

/** Another group and database on the same topics. */
export function again(config: Config): Config {
  const unique = randomUUID().slice(0, 8);
  return { ...config, consumerGroup: `sink-${unique}`, clickhouse: { ...config.clickhouse, database: `bench_${unique}` } };
}

export async function dropDatabase(config: Config): Promise<void> {
  const clickhouse = queryClient({ ...config, clickhouse: { ...config.clickhouse, database: 'default' } });
  await clickhouse.command({ query: `DROP DATABASE IF EXISTS ${config.clickhouse.database} SYNC` });
  await clickhouse.close();
}

const feedColumns = ['tenant', 'event_id', 'type', 'user_id', 'anonymous_id', 'previous_id', 'email', 'group_id', 'timestamp', 'received_at', 'offset', 'trait_values'];
const placeColumns = ['topic', 'partition', 'offset'];

/**
 * ClickHouse's own Kafka engine into the same tables, from rows that are ready: no look-up, no contracts, twice what comes twice.
 * It feeds profiles by a view, having nothing else to do it by; the links of several ids it leaves as they are.
 */
async function startEngine(config: Config, topic: string): Promise<{ pid: null; stop: () => Promise<unknown> }> {
  const endpoints = endpointsOf(config, null);
  await migrate(endpoints.clickhouse, readMigrations(`${packageRoot}/schemas/clickhouse`), testLog());
  const clickhouse = queryClient(config);
  const columns = eventColumns.filter(name => !placeColumns.includes(name));
  const types = new Map((await ask<{ name: string; type: string }>(clickhouse, `SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 'events'`)).map(({ name, type }) => [name, type]));
  // Each message is a block of its own in the queue: JSON and dictionaries there cost it twice the rest. As text they become columns once a block.
  const queued = (name: string): string => (types.get(name) ?? '').replaceAll(/LowCardinality\(String\)|JSON(\([^)]*\))?/g, 'String');
  await clickhouse.command({
    query: `CREATE TABLE engine_queue (${columns.map(name => `${name} ${queued(name)}`).join(', ')}) ENGINE = Kafka
      SETTINGS kafka_broker_list = '${endpoints.kafka.brokers.join()}', kafka_topic_list = '${topic}', kafka_group_name = '${config.consumerGroup}', kafka_format = 'JSONEachRow',
        kafka_num_consumers = 2, kafka_thread_per_consumer = 1, kafka_max_block_size = 131072, kafka_poll_max_batch_size = 131072, kafka_flush_interval_ms = 3000,
        input_format_try_infer_dates = 0, input_format_try_infer_datetimes = 0, input_format_json_read_bools_as_numbers = 0, input_format_json_read_bools_as_strings = 0,
        input_format_json_read_numbers_as_strings = 0, type_json_skip_duplicated_paths = 1, date_time_input_format = 'basic'`,
  });
  await clickhouse.command({ query: `CREATE MATERIALIZED VIEW engine_profiles TO profile_feed AS SELECT ${feedColumns.join()} FROM events` });
  await clickhouse.command({ query: `CREATE MATERIALIZED VIEW engine_rows TO events AS SELECT ${columns.join()}, _topic AS topic, toUInt32(_partition) AS partition, _offset AS offset FROM engine_queue` });
  return {
    pid: null,
    async stop() {
      await clickhouse.command({ query: 'DROP TABLE engine_rows SYNC' });
      await clickhouse.command({ query: 'DROP TABLE engine_queue SYNC' });
      await clickhouse.close();
    },
  };
}

export async function startMillrace(bed: Bed, config: Config): Promise<{ pid: number; stop: () => Promise<unknown> }> {
  const sink = await bed.sink(config);
  return { pid: sink.pid, stop: () => sink.stop() };
}

/** A backlog, drained by the sink and by ClickHouse's own Kafka engine, in turns: with dedupe and a contract against neither. */
export const sinkBench: Bench = async ({ rounds, events, onProgress }) => {
  const bed = await makeBed(['kafka', 'registry', 'clickhouse']);
  try {
    const config = await bed.fresh();
    const bytes = await fillEvents(config, events, makeEvent);
    const rowsTopic = await fillRows(bed, events);
    onProgress(`${events} events wait, ${short(bytes)} bytes each`);
    const of = { engine: [] as Drained[], millrace: [] as Drained[] };
    for (let round = 1; round <= rounds; round++) {
      for (const name of ['engine', 'millrace'] as const) {
        const own = again(config);
        const drained = await drain(bed, own, events, () => (name === 'engine' ? startEngine(own, rowsTopic) : startMillrace(bed, own)), onProgress);
        await dropDatabase(own);
        of[name].push(drained);
        onProgress(`round ${round}, ${name}: ${short(drained.rowsPerSecond)} rows/s, CPU a row: ClickHouse ${short(drained.clickhouseCpu)}, sink ${short(drained.sinkCpu)} µs`);
      }
    }
    const ratio = figureOf(of.millrace.map(({ rowsPerSecond }, round) => rowsPerSecond / (of.engine[round]?.rowsPerSecond ?? NaN)));
    const peak = figureOf(of.millrace.map(one => one.sinkPeakMb));
    const row = (label: string, drained: readonly Drained[], against: string): string[] => {
      const figure = (pick: (one: Drained) => number) => figureOf(drained.map(pick));
      return [label, spread(figure(one => one.rowsPerSecond)), against, spread(figure(one => one.clickhouseCpu)), short(figure(one => one.sinkCpu).median), short(figure(one => one.sinkPeakMb).median), short(figure(one => one.bytesARow).median), short(figure(one => one.parts).median)];
    };
    return {
      name: 'sink',
      tables: [{
        title: `A backlog of ${events.toLocaleString('en-US')} events, drained into \`events\``, unit: `12 partitions, values of ${short(bytes)} bytes; medians of ${rounds} rounds in turns (least–most)`,
        columns: ['', 'rows/s', 'of the engine', 'ClickHouse’s CPU µs a row', 'sink’s CPU µs a row', 'sink, largest MB', 'bytes a row on disk', 'inserts'],
        rows: [row('ClickHouse’s Kafka engine, rows ready as JSON', of.engine, '1'), row('millrace, with dedupe and a contract', of.millrace, spread(ratio))],
      }],
      plots: [{ kind: 'bars', file: 'sink', title: 'Rows a second into events', yLabel: 'rows/s', groups: [{ label: 'Kafka engine', bars: [{ label: 'rows/s', value: figureOf(of.engine.map(one => one.rowsPerSecond)).median }] }, { label: 'millrace', bars: [{ label: 'rows/s', value: figureOf(of.millrace.map(one => one.rowsPerSecond)).median }] }] }],
      checks: [
        { what: 'drains ≥ 1.0 times as fast as the Kafka engine, aim at 1.5', value: ratio.median, met: ratio.median >= 1 },
        { what: 'memory of the sink ≤ 512 MB', value: peak.most, met: peak.most <= 512 },
      ],
    };
  } finally {
    await bed.close();
  }
};

/** The same events as ready rows, as JSON: all that the Kafka engine is left with is to parse and insert. */
async function fillRows(bed: Bed, total: number): Promise<string> {
  const config = await bed.fresh();
  const kept = eventColumns.map((name, at) => ({ name, at })).filter(({ name }) => !placeColumns.includes(name));
  await fill(config, config.topic.events, total, index => {
    const event = makeEvent(index);
    const id = eventId(event.tenant, event.messageId);
    // Quoted, since it has more digits than a number of JavaScript.
    const cells = JSON.parse(eventRow(event, { topic: '', partition: 0, offset: 0n, eventId: id, source: 'http', key: null, contentHash: JSON.stringify(contentHash(event)) })) as unknown[];
    return { topic: config.topic.events, key: Buffer.from(event.userId ?? ''), value: Buffer.from(JSON.stringify(Object.fromEntries(kept.map(({ name, at }) => [name, cells[at]])))), headers: {} };
  });
  return config.topic.events;
}
