import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';
import { eventId, eventIdText } from '../../src/event/identity.ts';
import { createClickHouse } from '../../src/sink/clickhouse.ts';
import { findEvent } from '../../src/sink/find-event.ts';
import { eventually } from '../helpers/eventually.ts';
import { freshConfig, sharedStack } from '../helpers/shared-stack.ts';
import { startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';
import { writeKey } from '../helpers/write-key.ts';

/* What GET /v1/events/{event_id} says once the sink knows, of events of any dialect and of records of direct producers. */

let system: System;
before(async () => {
  const config = freshConfig();
  system = await startSystem({ ...config, writeKeys: [...config.writeKeys, writeKey('another', 'another', 'another')] });
});
after(() => system.close());

type Answer = Record<string, unknown> & { copies?: Record<string, unknown>[] };

async function receipt(messageId: string, key = 'dev'): Promise<{ status: number; body: Answer }> {
  const response = await fetch(`${system.door.url}/v1/events/${eventIdText(eventId('dev', messageId))}`, { headers: { authorization: `Bearer ${key}` } });
  return { status: response.status, body: (await response.json()) as Answer };
}

const track = (messageId: string, event: string, more: object = {}): object => ({ type: 'track', userId: 'u', event, messageId, ...more });
const places = (where: string): Promise<Record<string, unknown>[]> => system.query(`SELECT topic, partition, toString(offset) AS offset, toString(event_id) AS id FROM ${where}`);

test('stored, with the records of the same id that came after it: duplicates, and conflicts', async () => {
  await system.post('/api/v1/events', track('r-1', 'Once'));
  const stored = await eventually(() => receipt('r-1'), ({ body }) => body['status'] === 'stored');
  assert.equal(stored.body.copies, undefined);
  await system.post('/api/v1/events', track('r-1', 'Once'));
  await eventually(() => receipt('r-1'), ({ body }) => body.copies?.length === 1);
  await system.post('/api/v1/events', track('r-1', 'Other'));
  const { status, body } = await eventually(() => receipt('r-1'), found => found.body.copies?.length === 2);
  const [row] = await places(`events WHERE message_id = 'r-1'`);
  assert.deepEqual([status, body['topic'], body['partition'], body['offset'], body['stored_at']], [200, row?.['topic'], row?.['partition'], row?.['offset'], stored.body['stored_at']]);
  const outcomes = await places(`outcomes WHERE event_id = '${String(row?.['id'])}' ORDER BY offset DESC`);
  const { id: _, ...place } = row ?? {};
  assert.deepEqual(body.copies?.map(({ received_at: at, ...copy }) => ({ ...copy, at: typeof at })), outcomes.map(({ id: _id, ...at }, index) => ({ status: index === 0 ? 'conflict' : 'duplicate', ...at, duplicate_of: place, at: 'string' })));
  assert.equal((await receipt('r-1', 'another')).status, 404);
});

test('dead-lettered, by the door and by the sink, with the reason; mended and sent again it is stored', async () => {
  const bad = { type: 'track', userId: 'u', messageId: 'r-2' };
  await system.post('/api/v1/events/batch', { batch: [bad, track('r-other', 'Fine')] });
  const { body } = await eventually(() => receipt('r-2'), ({ status }) => status === 200);
  const [letter] = await system.query(`SELECT toString(id) AS id, detail FROM dead_letters WHERE message_id = 'r-2'`);
  assert.deepEqual([body['status'], body['code'], body['detail'], body['dead_letter_id'], body['dead_letter_status'], 'topic' in body], ['dead_lettered', 'field_missing', letter?.['detail'], letter?.['id'], 'open', false]);
  assert.equal((await receipt('r-2', 'another')).status, 404);
  await system.post('/api/v1/events/batch', { batch: [{ ...bad, event: 'Mended' }] });
  await eventually(() => receipt('r-2'), found => found.body['status'] === 'stored');

  const producer = new Kafka({ brokers: sharedStack().kafkaBrokers.split(','), logLevel: logLevel.NOTHING }).producer();
  await producer.connect();
  await producer.send({ topic: system.config.topic.events, messages: [{ key: 'k', value: 'nothing readable', headers: { tenant: 'dev', 'message-id': 'r-3' } }] });
  await producer.disconnect();
  const unreadable = await eventually(() => receipt('r-3'), ({ status }) => status === 200);
  const [place] = await places(`(SELECT *, id AS event_id FROM dead_letters WHERE message_id = 'r-3')`);
  assert.deepEqual([unreadable.body['status'], unreadable.body['code'], unreadable.body['topic'], unreadable.body['partition'], unreadable.body['offset']], ['dead_lettered', 'unreadable', place?.['topic'], place?.['partition'], place?.['offset']]);
});

test('suppressed, dropped with the reason, and a duplicate whose stored row is gone', async () => {
  await system.command(`INSERT INTO outcomes (topic, partition, offset, tenant, event_id, outcome, reason) VALUES
    ('t', 1, 7, 'dev', '${eventId('dev', 'r-4')}', 'suppressed', 'the user was erased'), ('t', 1, 9007199254740993, 'dev', '${eventId('dev', 'r-5')}', 'dropped', 'mask-email'),
    ('t', 1, 9, 'dev', '${eventId('dev', 'r-6')}', 'duplicate', 'a/topic/with/slashes/3/5')`);
  const of = async (messageId: string): Promise<Answer> => {
    const { event_id: _, received_at: at, ...rest } = (await receipt(messageId)).body;
    assert.match(String(at), /^20\d\d-\d\d-\d\dT[\d:.]+Z$/);
    return rest;
  };
  assert.deepEqual(await of('r-4'), { status: 'suppressed', topic: 't', partition: 1, offset: '7', reason: 'the user was erased' });
  assert.deepEqual(await of('r-5'), { status: 'dropped', topic: 't', partition: 1, offset: '9007199254740993', reason: 'mask-email' });
  assert.deepEqual(await of('r-6'), { status: 'duplicate', topic: 't', partition: 1, offset: '9', duplicate_of: { topic: 'a/topic/with/slashes', partition: 3, offset: '5' } });
  assert.equal((await receipt('r-4', 'another')).status, 404);
});

test('the question reads by primary keys and indexes, not whole tables', async () => {
  const { clickhouse: { database } } = system.config;
  const clickhouse = createClickHouse({ url: sharedStack().clickhouseUrl, database, timeoutMs: 30_000 });
  try {
    // 25 granules each, of which a look-up may read few.
    await clickhouse.command(`INSERT INTO outcomes (topic, partition, offset, tenant, event_id, outcome) SELECT 'many', 0, number, 'dev', generateUUIDv4(number), 'duplicate' FROM numbers(204800)`);
    await clickhouse.command(`INSERT INTO dead_letters (id, tenant, at, code, message_id) SELECT generateUUIDv4(number), 'dev', now64(3), 'tombstone', toString(number) FROM numbers(204800)`);
    const asked: string[] = [];
    await findEvent({ ...clickhouse, rows: (statement, params, signal) => {
      asked.push(statement);
      return clickhouse.rows(statement, params, signal);
    } }, 'dev', eventId('dev', 'nobody'));
    const tables: Record<string, boolean> = {};
    for (const statement of asked) {
      const plan = (await clickhouse.rows(`EXPLAIN indexes = 1 ${statement}`, { tenant: 'dev', id: eventId('dev', 'nobody'), hex: eventId('dev', 'nobody').replaceAll('-', ''), at: '2026-01-01 00:00:00.000' })).map(([line]) => String(line));
      for (const [index, line] of plan.entries()) {
        if (!/Name: event_ids/.test(line)) continue;
        const table = plan.slice(0, index).map(before => /ReadFromMergeTree \(\w+\.(\w+)\)/.exec(before)?.[1]).findLast(name => name !== undefined) ?? '';
        const [, read, of] = /Granules: (\d+)\/(\d+)/.exec(plan.slice(index).join(' ')) ?? [];
        tables[table] = Number(of) >= 25 && Number(read) <= 5;
      }
    }
    assert.deepEqual(tables, { outcomes: true, dead_letters: true });
  } finally {
    await clickhouse.close();
  }
});
