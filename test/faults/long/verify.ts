import { randomUUID } from 'node:crypto';
import type { ClickHouseClient } from '@clickhouse/client';
import type { Config } from '../../../src/config.ts';
import { ask } from '../../helpers/system.ts';
import { insist, kafkaOf } from './scene.ts';
import { expectHeader } from './traffic.ts';

/** A record as it stands on the topic. */
export interface Truth {
  /** partition/offset */
  place: string;
  expect: string;
  value: Buffer | null;
}

export interface Double {
  /** Tenant and message id. */
  id: string;
  places: string[];
  /** Between the two inserts, by ClickHouse's clock. */
  apartMs: number;
}

export function doubleText({ id, places, apartMs }: Double): string {
  return `${id} at ${places.join(' ')}, stored ${apartMs} ms apart`;
}

export interface Findings {
  records: number;
  distinctEvents: number;
  rows: number;
  outcomes: Record<string, number>;
  deadLetters: number;
  /** Ids that stand in `events` from two places: two sinks stored them in the same moment, or an insert outlived its sink. */
  doubles: Double[];
  /** Everything else that is not as it must be. */
  faults: string[];
}

/** Every record of the topic as it is now, without those of aborted transactions, as Kafka tells them apart. */
export async function readTopic(config: Config, timeoutMs = 60_000): Promise<Truth[]> {
  const truth: Truth[] = [];
  const ends = new Map((await insist(config, admin => admin.fetchTopicOffsets(config.topic.events))).map(({ partition, high }) => [partition, BigInt(high)]));
  const open = new Set(ends.keys());
  const consumer = kafkaOf(config).consumer({ groupId: `truth-${randomUUID()}`, maxBytesPerPartition: 4_194_304, maxWaitTimeInMs: 200, retry: { retries: 10 } });
  await consumer.connect();
  try {
    await consumer.subscribe({ topic: config.topic.events, fromBeginning: true });
    let done = (): void => undefined;
    let failed = (_error: Error): void => undefined;
    const read = new Promise<void>((resolve, reject) => {
      done = resolve;
      failed = reject;
    });
    const late = setTimeout(() => failed(new Error(`the topic was not read within ${timeoutMs} ms; still open: ${[...open].join()}`)), timeoutMs);
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        const expect = String(message.headers?.[expectHeader] ?? '');
        truth.push({ place: `${partition}/${message.offset}`, expect, value: message.value });
        // The last one is no control record: traffic.ts ends with a plain one on every partition.
        if (BigInt(message.offset) + 1n === ends.get(partition)) open.delete(partition);
        if (open.size === 0) done();
      },
    });
    try {
      await read;
    } finally {
      clearTimeout(late);
    }
  } finally {
    await consumer.disconnect();
  }
  return truth;
}

interface EventRow {
  id: string;
  place: string;
  raw_n: string;
  stored_ms: number;
}

/** Compares what the topic says with what the tables hold: multisets of ids and of places, and the bytes of the dead letters. */
export async function verify(config: Config, clickhouse: ClickHouseClient, truth: readonly Truth[], acknowledged: ReadonlySet<string>): Promise<Findings> {
  const faults: string[] = [];
  const fault = (text: string): void => void faults.push(text);
  const topic = config.topic.events;
  const rows = await ask<EventRow>(clickhouse, `
    SELECT concat(tenant, ' ', message_id) AS id, concat(toString(partition), '/', toString(offset)) AS place, JSONExtractRaw(raw, 'properties', 'n') AS raw_n, toFloat64(toUnixTimestamp64Milli(stored_at)) AS stored_ms FROM events WHERE topic = '${topic}'`);
  const outcomes = await ask<{ place: string; outcome: string }>(clickhouse, `SELECT concat(toString(partition), '/', toString(offset)) AS place, outcome FROM outcomes WHERE topic = '${topic}'`);
  const letters = await ask<{ place: string; code: string; payload: string; payload_encoding: string }>(clickhouse, `
    SELECT concat(toString(partition), '/', toString(offset)) AS place, code, payload, payload_encoding FROM dead_letters WHERE topic = '${topic}'`);
  const unmatched = await ask<{ n: number; m: number }>(clickhouse, `
    SELECT (SELECT count() FROM events WHERE event_id NOT IN (SELECT event_id FROM event_ids)) AS n, (SELECT count() FROM event_ids WHERE event_id NOT IN (SELECT event_id FROM events)) AS m`);

  const faceless = await ask<{ place: string }>(clickhouse, `
    SELECT concat(toString(partition), '/', toString(offset)) AS place FROM events
    WHERE topic = '${topic}' AND (user_id != '' OR anonymous_id != '' OR email != '') AND event_id NOT IN (SELECT event_id FROM profile_facts WHERE kind = 'event')`);

  const onTopic = new Map(truth.map(record => [record.place, record]));
  if (onTopic.size !== truth.length) fault(`the topic was read wrongly: ${truth.length} records at ${onTopic.size} places`);
  for (const place of acknowledged) if (!onTopic.has(place)) fault(`acknowledged by Kafka and not on the topic: ${place}`);
  for (const { expect, place } of truth) if (expect === 'aborted' || expect === '') fault(`on the topic, as "${expect}": ${place}`);

  // Ids: each that was sent, once; none that was not.
  const expected = new Set(truth.filter(({ expect }) => expect.startsWith('event ')).map(({ expect }) => expect.slice('event '.length)));
  const owns = new Set(truth.filter(({ expect }) => expect === 'own').map(({ place }) => place));
  const byId = groupBy(rows, ({ id }) => id);
  const doubles: Double[] = [];
  for (const id of expected) if (!byId.has(id)) fault(`lost: ${id}, sent at ${truth.filter(({ expect }) => expect === `event ${id}`).map(({ place }) => place).join(' ')}`);
  for (const [id, found] of byId) {
    const places = found.map(({ place }) => place);
    if (found.length > 1) {
      // Where it is the same partition, one sink after the other had it: no race excuses that.
      const spread = new Set(places.map(place => place.split('/')[0])).size === places.length;
      if (spread) doubles.push({ id, places, apartMs: Math.max(...found.map(row => row.stored_ms)) - Math.min(...found.map(row => row.stored_ms)) });
      else fault(`twice: ${id} at ${places.join(' ')}`);
    }
    if (!expected.has(id) && !(found.length === 1 && owns.has(places[0] ?? '') && id.startsWith(`dev record/${topic}/${places[0]}/`))) fault(`in events, and nobody sent it: ${id} at ${places.join(' ')}`);
  }

  // Places: each record of the topic ends in exactly one way.
  const doubled = new Set(doubles.flatMap(({ places }) => places));
  const rowsAt = groupBy(rows, ({ place }) => place);
  const outcomesAt = groupBy(outcomes, ({ place }) => place);
  const lettersAt = groupBy(letters, ({ place }) => place);
  for (const { place, expect, value } of truth) {
    const [row, ...moreRows] = rowsAt.get(place) ?? [];
    const [outcome, ...moreOutcomes] = outcomesAt.get(place) ?? [];
    const [letter, ...moreLetters] = lettersAt.get(place) ?? [];
    if (moreRows.length > 0) fault(`${moreRows.length + 1} rows of events for one record: ${place} (${expect})`);
    if (moreOutcomes.length > 0) fault(`${moreOutcomes.length + 1} outcomes for one record: ${place} (${expect}): ${[outcome, ...moreOutcomes].map(found => found?.outcome).join()}`);
    if (moreLetters.length > 0) fault(`${moreLetters.length + 1} dead letters for one record: ${place} (${expect})`);
    if (row === undefined && outcome === undefined) fault(`unaccounted for: ${place} (${expect})`);
    if (row !== undefined && outcome !== undefined && !doubled.has(place)) fault(`stored, and ${outcome.outcome} too: ${place} (${expect})`);
    if (expect.startsWith('poison ')) {
      if (outcome?.outcome !== 'dead_lettered' || letter === undefined) fault(`poison without a dead letter: ${place} (${expect}), outcome ${outcome?.outcome}, letter ${letter?.code}`);
      else if (letter.code !== expect.slice('poison '.length)) fault(`a dead letter of another reason: ${place} (${expect}) is ${letter.code}`);
      else if (!Buffer.from(letter.payload, letter.payload_encoding === 'base64' ? 'base64' : 'utf8').equals(value ?? Buffer.alloc(0))) fault(`a dead letter of other bytes: ${place}`);
    } else if (letter !== undefined || outcome?.outcome === 'dead_lettered') fault(`a good record among the dead letters: ${place} (${expect})`);
    if (row !== undefined && expect.startsWith('event ')) {
      if (row.id !== expect.slice('event '.length)) fault(`a row of another record: ${place} is ${row.id}, sent ${expect}`);
      // In Avro too the properties stand as their JSON text.
      else if (!new RegExp(`"n":${row.raw_n}\\D`).test(value?.toString('latin1') ?? '')) fault(`a row of other content: ${place} has n = ${row.raw_n}`);
    }
  }
  for (const [what, places] of [['row', rowsAt], ['outcome', outcomesAt], ['dead letter', lettersAt]] as const) {
    for (const place of places.keys()) if (!onTopic.has(place)) fault(`a ${what} of a record that is not on the topic: ${place}`);
  }
  if (Number(unmatched[0]?.n) > 0) fault(`${unmatched[0]?.n} rows of events lack their id in event_ids`);
  if (Number(unmatched[0]?.m) > 0) fault(`${unmatched[0]?.m} ids in event_ids have no row in events`);

  for (const { place } of faceless) fault(`in no profile: the row of ${place}`);

  const kinds: Record<string, number> = {};
  for (const { outcome } of outcomes) kinds[outcome] = (kinds[outcome] ?? 0) + 1;
  return { records: truth.length, distinctEvents: expected.size + owns.size, rows: rows.length, outcomes: kinds, deadLetters: letters.length, doubles, faults };
}

function groupBy<T>(list: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of list) {
    const name = key(item);
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [item]);
    else group.push(item);
  }
  return groups;
}
