import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { contentHash } from '../../src/event/content.ts';
import { createClickHouse } from '../../src/sink/clickhouse.ts';
import type { ClickHouse } from '../../src/sink/clickhouse.ts';
import { createEventTables } from '../../src/sink/event-tables.ts';
import type { StorableEvent } from '../../src/sink/event-tables.ts';
import { migrate, readMigrations } from '../../src/sink/migrate.ts';
import { createStoreEvents } from '../../src/sink/store-events.ts';
import { packageRoot } from '../helpers/local.ts';
import { sharedStack, testLog } from '../helpers/shared-stack.ts';
import { eventReading } from '../simulation/records.ts';

let clickhouse: ClickHouse;
let database: string;
beforeEach(async () => {
  database = `store_${randomUUID().slice(0, 8)}`;
  const connection = { url: sharedStack().clickhouseUrl, database, timeoutMs: 20_000 };
  await migrate(connection, readMigrations(join(packageRoot, 'schemas', 'clickhouse')), testLog());
  clickhouse = createClickHouse(connection);
});
afterEach(async () => {
  await clickhouse.command(`DROP DATABASE ${database}`);
  await clickhouse.close();
});

const signal = new AbortController().signal;
const place = { topic: 'events', partition: 0, signal };
const storable = (messageId: string, offset: bigint): StorableEvent => {
  const reading = eventReading(messageId, 0, false);
  assert.ok(reading.ok);
  return { ...reading, offset, key: null, contentHash: contentHash(reading.event) };
};
/** Stores these as a batch that nobody stored before; or as a replay of a plan. */
const store = (events: readonly StorableEvent[], token: string, replay = false): Promise<void> =>
  createStoreEvents({
    tables: createEventTables(clickhouse),
    read: async () => events.map(({ event, eventId, source }) => ({ ok: true, event, eventId, source, key: null })),
    bury: async () => undefined,
    suppressions: { refresh: async () => undefined, has: () => false },
    makeSingle: async () => undefined,
    profiles: { feed: async () => undefined, settle: async () => undefined },
    onStored: () => undefined,
    log: testLog(),
  })({ ...place, records: events.map(({ offset }) => ({ offset, key: null, value: Buffer.from('v'), timestampMs: 1, header: () => null, headers: () => [] })), token, replay });
const replay = (events: readonly StorableEvent[], token: string): Promise<void> => store(events, token, true);
const rows = async (table: 'events' | 'event_ids' | 'outcomes'): Promise<string[]> =>
  (await clickhouse.rows(`SELECT DISTINCT concat(toString(partition), '/', toString(offset)) AS place FROM ${table} ORDER BY place`)).flat().map(String);

test('ClickHouse itself: other rows under a token whose view had failed give event_ids ids that events lacks', async () => {
  const tables = createEventTables(clickhouse);
  await clickhouse.command('ALTER TABLE event_ids_of_events MODIFY QUERY SELECT event_id, topic, partition, offset, stored_at, content_hash + throwIf(1) AS content_hash FROM events');
  await assert.rejects(tables.insertEvents(place, [storable('a', 0n)], 'used'));
  await clickhouse.command('ALTER TABLE event_ids_of_events MODIFY QUERY SELECT event_id, topic, partition, offset, stored_at, content_hash FROM events');
  await tables.insertEvents(place, [storable('b', 1n)], 'used');
  assert.deepEqual([await rows('events'), await rows('event_ids')], [['0/0'], ['0/1']]);
  // So a replay that finds the id of its own record does not take it for stored.
  await replay([storable('a', 0n), storable('b', 1n)], 'used');
  assert.deepEqual([await rows('events'), await rows('event_ids'), await rows('outcomes')], [['0/0', '0/1'], ['0/0', '0/1'], []]);
});

test('a replay takes for stored what stands at its place with another time, from a topic that was made again', async () => {
  const before = storable('a', 0n);
  await createEventTables(clickhouse).insertEvents(place, [{ ...before, event: { ...before.event, timestampMs: before.event.timestampMs - 86_400_000 } }], 'before');
  await replay([before], 'after');
  assert.deepEqual((await clickhouse.rows('SELECT count() FROM events')).flat().map(Number), [1]);
});

test('rows that were deleted without their ids are stored again, where the group was set back to just behind what was left', async () => {
  const events = [storable('a', 0n), storable('b', 1n), storable('c', 2n)];
  await store(events, 'first');
  await clickhouse.command('ALTER TABLE events DELETE WHERE offset >= 1 SETTINGS mutations_sync = 2');
  await store(events.slice(1), 'second');
  assert.deepEqual([await rows('events'), await rows('outcomes')], [['0/0', '0/1', '0/2'], []]);
});
