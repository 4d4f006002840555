import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { contentHash } from '../../src/event/content.ts';
import { deadLetterId } from '../../src/event/dead-letter.ts';
import type { DeadLetter } from '../../src/event/dead-letter.ts';
import { createClickHouse } from '../../src/sink/clickhouse.ts';
import type { ClickHouse } from '../../src/sink/clickhouse.ts';
import { createEventTables } from '../../src/sink/event-tables.ts';
import type { EventTables, StorableEvent } from '../../src/sink/event-tables.ts';
import { migrate, readMigrations } from '../../src/sink/migrate.ts';
import { createStoreDeadLetters, findLetters } from '../../src/sink/store-dead-letters.ts';
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
const store = (events: readonly StorableEvent[], token: string, replay = false, buried: DeadLetter[] = [], tables: EventTables = createEventTables(clickhouse)): Promise<void> =>
  createStoreEvents({
    tables,
    read: async () => events.map(({ event, eventId, source }) => ({ ok: true, event, eventId, source, key: null })),
    bury: async letters => void buried.push(...letters),
    findLetters: (ids, ended) => findLetters(clickhouse, ids, ended),
    suppressions: { refresh: async () => undefined, has: () => false },
    makeSingle: async () => undefined,
    profiles: { add: () => undefined },
    onStored: () => undefined,
    log: testLog(),
  })({ ...place, records: events.map(({ offset }) => ({ offset, key: null, value: Buffer.from('v'), timestampMs: 1, header: () => null, headers: () => [] })), token, replay });
const replay = (events: readonly StorableEvent[], token: string, buried?: DeadLetter[]): Promise<void> => store(events, token, true, buried);
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

test('a replay that finds a part of its rows, with their view failed before, gives event_ids no id that events lacks', async () => {
  await clickhouse.command('ALTER TABLE event_ids_of_events MODIFY QUERY SELECT event_id, topic, partition, offset, stored_at, content_hash + throwIf(1) AS content_hash FROM events');
  await assert.rejects(createEventTables(clickhouse).insertEvents(place, [storable('a', 0n)], 'used'));
  await clickhouse.command('ALTER TABLE event_ids_of_events MODIFY QUERY SELECT event_id, topic, partition, offset, stored_at, content_hash FROM events');
  // It dies with its insert: what that left is all there is, since the record of b may be compacted away before the next.
  const dying = { ...createEventTables(clickhouse), insertEvents: async (...insert: Parameters<EventTables['insertEvents']>) => { await createEventTables(clickhouse).insertEvents(...insert); throw new Error('killed'); } };
  await assert.rejects(store([storable('a', 0n), storable('b', 1n)], 'used', true, [], dying), /killed/);
  const [stored, ids] = [await rows('events'), await rows('event_ids')];
  assert.deepEqual(ids.filter(id => !stored.includes(id)), []);
});

test('of a plan that is in place in part, an insert that comes late counts once, though whoever came after brings other rows', async () => {
  const tables = createEventTables(clickhouse);
  await tables.insertEvents(place, [storable('a', 0n)], 'of a plan before');
  let late = (): Promise<unknown> => Promise.resolve();
  const slow = { ...tables, insertEvents: async (...insert: Parameters<EventTables['insertEvents']>) => { late = () => tables.insertEvents(...insert); throw new Error('no answer'); } };
  const events = [storable('a', 0n), storable('b', 1n), storable('c', 2n)];
  await assert.rejects(store(events, 'planned', true, [], slow), /no answer/);
  // Meanwhile one of its ids is stored from elsewhere.
  await tables.insertEvents({ ...place, partition: 1 }, [storable('c', 7n)], 'elsewhere');
  await store(events, 'planned', true);
  await late();
  assert.deepEqual((await clickhouse.rows("SELECT concat(toString(partition), '/', toString(offset)) AS place FROM events ORDER BY place")).flat(), ['0/0', '0/1', '1/7']);
});

test('what is dropped because another sink used the token, between the look-up and the insert, is inserted under a token of its own', async () => {
  const tables = createEventTables(clickhouse);
  let late: Promise<unknown> | null = null;
  const overtaken = { ...tables, insertEvents: async (...insert: Parameters<EventTables['insertEvents']>) => { await (late ??= tables.insertEvents(place, [storable('a', 0n)], 'planned')); return tables.insertEvents(...insert); } };
  await store([storable('a', 0n), storable('b', 1n)], 'planned', true, [], overtaken);
  assert.deepEqual([await rows('events'), await rows('event_ids'), await rows('outcomes')], [['0/0', '0/1'], ['0/0', '0/1'], []]);
  assert.deepEqual((await clickhouse.rows('SELECT count() FROM events')).flat().map(Number), [2]);
});

test('what is dropped because the token was used by rows that a reconciliation took away since is stored all the same', async () => {
  // Two ids of one batch: the first time only one was to be stored, and afterwards it was found elsewhere, too.
  await createEventTables(clickhouse).insertEvents(place, [storable('b', 1n)], 'planned');
  await clickhouse.command('ALTER TABLE events DELETE WHERE offset = 1 SETTINGS mutations_sync = 2');
  await clickhouse.command('ALTER TABLE event_ids DELETE WHERE offset = 1 SETTINGS mutations_sync = 2');
  await createEventTables(clickhouse).insertEvents({ ...place, partition: 1 }, [storable('b', 7n)], 'elsewhere');
  await replay([storable('a', 0n), storable('b', 1n)], 'planned');
  assert.deepEqual([await rows('events'), await rows('event_ids'), await rows('outcomes')], [['0/0', '1/7'], ['0/0', '1/7'], ['0/1']]);
});

test('rows that ClickHouse drops again and again are never passed over', async () => {
  const tables = createEventTables(clickhouse);
  const dropping = { ...tables, insertEvents: async () => new Map() };
  await assert.rejects(store([storable('a', 0n)], 'planned', true, [], dropping), { code: 'clickhouse_unavailable' });
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

test('what a contract refused is no row: by itself and beside its neighbours; another one of its id may be', async () => {
  const [broken, flagged, sound] = [storable('a', 0n), storable('b', 1n), storable('a', 2n)];
  const violations = [{ kind: 'other', pointer: '/properties/x', message: 'm' }] as const;
  broken.event = { ...broken.event, judged: { version: 7, action: 'reject', violations } };
  flagged.event = { ...flagged.event, judged: { version: 8, action: 'flag', violations } };
  const buried: DeadLetter[] = [];
  for (let round = 0; round < 2; round++) await replay([broken, flagged, sound], 'mixed', buried);
  assert.deepEqual(await rows('events'), ['0/1', '0/2']);
  assert.deepEqual((await clickhouse.rows('SELECT offset, outcome, reason FROM outcomes')).map(row => row.map(String)), [['0', 'dead_lettered', 'contract_violation']]);
  assert.deepEqual(buried.map(({ code, judged }) => [code, judged?.version, judged?.action, judged?.eventId]), [['contract_violation', 7, 'reject', broken.eventId]]);
  assert.deepEqual(await clickhouse.rows('SELECT event_id, contract_version, kind, pointer, message, action FROM violations'), [[flagged.eventId, 8, 'other', '/properties/x', 'm', 'flag']]);
});

test('a sink that died between a letter and its outcome, and comes back with other contracts, also under a new plan: the record stays a letter', async () => {
  const events = [storable('a', 0n), storable('b', 1n)];
  const judged = { version: 1, action: 'reject', violations: [{ kind: 'other', pointer: '', message: 'm' }], eventId: events[0]?.eventId ?? '', type: 'track', event: 'e' } as const;
  const letter: DeadLetter = {
    id: deadLetterId({ topic: 'events', partition: 0, offset: 0n }, 1), attempt: null, tenant: 't', atMs: 1, code: 'contract_violation', detail: '', payload: Buffer.from('v'), tombstone: false,
    source: 'kafka', writeKeyId: null, messageId: 'a', place: { topic: 'events', partition: 0, offset: 0n }, origin: null, judged,
  };
  await createStoreDeadLetters(clickhouse)({ topic: 'dead', partition: 0, token: 'dead', replay: false, signal, records: [{ offset: 0n, value: null, letter }] });
  const buried: DeadLetter[] = [];
  await replay(events, 'planned', buried);
  assert.deepEqual([await rows('events'), await rows('outcomes'), buried.map(({ id }) => id)], [['0/1'], ['0/0'], [letter.id]]);
  await replay([storable('a', 5n)], 'again', buried);
  assert.deepEqual([await rows('events'), buried.length], [['0/1', '0/5'], 1]);
});
