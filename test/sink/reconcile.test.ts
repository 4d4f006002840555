import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { createClickHouse } from '../../src/sink/clickhouse.ts';
import type { ClickHouse } from '../../src/sink/clickhouse.ts';
import { migrate, readMigrations } from '../../src/sink/migrate.ts';
import { createReconcileTables } from '../../src/sink/reconcile-tables.ts';
import { reconcile } from '../../src/sink/reconcile.ts';
import type { ReconcileResult } from '../../src/sink/reconcile.ts';
import { feedStatement } from '../../src/sink/profile-feed.ts';
import { createProfiles } from '../../src/sink/run.ts';
import { eventually } from '../helpers/eventually.ts';
import { packageRoot } from '../helpers/local.ts';
import { sharedStack, testLog } from '../helpers/shared-stack.ts';

let clickhouse: ClickHouse;
let database: string;
beforeEach(async () => {
  database = `reconcile_${randomUUID().slice(0, 8)}`;
  const connection = { url: sharedStack().clickhouseUrl, database, timeoutMs: 20_000 };
  await migrate(connection, readMigrations(join(packageRoot, 'schemas', 'clickhouse')), testLog());
  clickhouse = createClickHouse(connection);
});
afterEach(async () => {
  await clickhouse.command(`DROP DATABASE ${database}`);
  await clickhouse.close();
});

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
/** A row of `events` as another sink would have left it, `secondsAgo`. */
const store = (n: number, partition: number, offset: number, { secondsAgo = 5, event = `it's "${n}"`, hash = 7, topic = 'events', user = '' } = {}): Promise<void> =>
  clickhouse.command(`INSERT INTO events (tenant, event_id, message_id, event, timestamp, received_at, stored_at, topic, partition, offset, raw, content_hash, user_id)
    VALUES ('te\\\\na''nt', '${id(n)}', 'm-${n}', '${event.replaceAll("'", "''")}', '2025-03-15 00:00:00.123', '2025-03-15 00:00:00', now64(3) - INTERVAL ${secondsAgo * 1_000} MILLISECOND, '${topic}', ${partition}, ${offset}, '{"hash":${hash}}', ${hash}, '${user}')`);
const outcome = (n: number, partition: number, offset: number, secondsAgo = 0): Promise<void> =>
  clickhouse.command(`INSERT INTO outcomes (topic, partition, offset, tenant, event_id, outcome, reason, at) VALUES ('events', ${partition}, ${offset}, 't', '${id(n)}', 'duplicate', 'events/9/9', now64(3) - INTERVAL ${secondsAgo} SECOND)`);
const pass = (wide = true, idsInMemory = 10): Promise<ReconcileResult> => reconcile({ tables: createReconcileTables(clickhouse, idsInMemory), log: testLog() }, wide);
const places = async (table: 'events' | 'event_ids' | 'outcomes' | 'conflicts', columns = ''): Promise<string[]> =>
  (await clickhouse.rows(`SELECT concat(toString(toUInt32(right(toString(event_id), 6))), '@', toString(partition), '/', toString(offset)${columns}) AS place FROM ${table} ORDER BY place`)).flat().map(String);

test('of two rows of one id the first stored stays; the other is a duplicate, and accounted for', async () => {
  await store(1, 0, 10, { secondsAgo: 3 });
  await store(1, 1, 20, { secondsAgo: 9 });
  await store(1, 2, 5, { secondsAgo: 1 });
  await store(2, 0, 11);
  const result = await pass();
  assert.deepEqual([result.removed, result.corrected, result.eventIds], [2, 0, [id(1)]]);
  assert.deepEqual(await places('events'), ['1@1/20', '2@0/11']);
  assert.deepEqual(await places('event_ids'), ['1@1/20', '2@0/11']);
  assert.deepEqual(await places('outcomes', ", ' ', outcome, ' ', reason"), ['1@0/10 duplicate events/1/20', '1@2/5 duplicate events/1/20']);
  assert.deepEqual(await pass(), { removed: 0, corrected: 0, repeated: 0, eventIds: [] });
  assert.deepEqual((await clickhouse.rows('SELECT removed FROM reconciliations ORDER BY removed')).flat().map(Number), [0, 2]);
});

test('thousands at once, as an operator or a fault may leave them: ClickHouse takes no statement that names them all', async () => {
  const many = (secondsAgo: number, partition: number): Promise<void> => clickhouse.command(`INSERT INTO events (tenant, event_id, event, timestamp, received_at, stored_at, topic, partition, offset, content_hash)
    SELECT 't', toUUID(concat('00000000-0000-4000-8000-', leftPad(toString(number), 12, '0'))), 'e', '2025-03-15 00:00:00', '2025-03-15 00:00:00', now64(3) - INTERVAL ${secondsAgo} SECOND, 'events', ${partition}, number, 7 FROM numbers(4500) SETTINGS insert_deduplicate = 0`);
  await many(9, 0);
  await many(5, 0);
  assert.equal((await pass(true, 2_000)).removed, 4_500);
  assert.deepEqual((await clickhouse.rows('SELECT count(), uniqExact(event_id) FROM events')).flat().map(Number), [4_500, 4_500]);
});

test('other content is a conflict, with its text kept', async () => {
  await store(1, 0, 10, { secondsAgo: 9 });
  await store(1, 1, 20, { hash: 8, event: 'another' });
  await store(1, 1, 21, { hash: 0 });
  await pass();
  assert.deepEqual(await places('outcomes', ", ' ', outcome"), ['1@1/20 conflict', '1@1/21 duplicate']);
  assert.deepEqual(await places('conflicts', ", ' ', stored_topic, toString(stored_partition), toString(stored_offset), ' ', message_id, raw"), ['1@1/20 events010 m-1{"hash":8}']);
});

test('what only the row said that went does not count in a profile any more', async () => {
  await store(1, 0, 10, { secondsAgo: 9, user: 'ada' });
  await store(1, 1, 20, { hash: 8, user: 'bob' });
  await store(2, 1, 21, { user: 'bob' });
  const profiles = createProfiles(clickhouse, testLog());
  profiles.add({ topic: 'events', partition: 0, first: 10n, last: 10n });
  profiles.add({ topic: 'events', partition: 1, first: 20n, last: 21n });
  await profiles.close();
  const users = (): Promise<unknown[][]> => clickhouse.rows('SELECT user_id, toUInt32(events) FROM users ORDER BY user_id');
  assert.deepEqual(await users(), [['ada', 1], ['bob', 2]]);
  await pass();
  assert.deepEqual(await users(), [['ada', 1], ['bob', 1]]);
});

test('profiles that were being fed when a row was removed do not get it back', async () => {
  await store(1, 0, 10, { secondsAgo: 9, user: 'ada' });
  await store(1, 1, 20, { hash: 8, user: 'bob' });
  // Has read both rows, and writes them two seconds later.
  const feeding = clickhouse.command(`${feedStatement} WHERE sleepEachRow(1) = 0 SETTINGS insert_deduplicate = 0, max_threads = 1, max_block_size = 1000`);
  await eventually(() => clickhouse.rows(`SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND current_database = currentDatabase()`), rows => Number(rows[0]?.[0]) === 1);
  assert.equal((await pass()).removed, 1);
  await feeding;
  assert.deepEqual(await clickhouse.rows('SELECT user_id, toUInt32(events) FROM users ORDER BY user_id'), [['ada', 1]]);
});

test('profiles are made anew by a later pass where a sink died after it had removed the row', async () => {
  await store(1, 0, 10, { secondsAgo: 9, user: 'ada' });
  await store(1, 1, 20, { hash: 8, user: 'bob' });
  await clickhouse.command(`${feedStatement} SETTINGS insert_deduplicate = 0`);
  const users = (): Promise<unknown[][]> => clickhouse.rows('SELECT user_id, toUInt32(events) FROM users ORDER BY user_id');
  const tables = { ...createReconcileTables(clickhouse), rebuildProfiles: () => Promise.reject(new Error('killed')) };
  await assert.rejects(reconcile({ tables, log: testLog() }), /killed/);
  assert.deepEqual([await places('events'), await users()], [['1@0/10'], [['ada', 1], ['bob', 1]]]);
  // Whoever planned it may still be at it.
  await pass();
  assert.deepEqual(await users(), [['ada', 1], ['bob', 1]]);
  await clickhouse.command('ALTER TABLE profile_rebuilds UPDATE at = at - INTERVAL 10 MINUTE WHERE 1 SETTINGS mutations_sync = 2');
  await pass();
  assert.deepEqual([await users(), await clickhouse.rows('SELECT * FROM profile_rebuilds')], [[['ada', 1]], []]);
});

test('a sink that is stopped in the middle of a removal makes the profiles anew before it goes', async () => {
  await store(1, 0, 10, { secondsAgo: 9, user: 'ada' });
  await store(1, 1, 20, { hash: 8, user: 'bob' });
  await store(2, 1, 21, { user: 'bob' });
  await clickhouse.command(`${feedStatement} SETTINGS insert_deduplicate = 0`);
  const real = createReconcileTables(clickhouse);
  const stop = new AbortController();
  // Once what is being fed has been waited for.
  const slow: typeof clickhouse = { ...clickhouse, command: async (statement, signal) => { if (statement.startsWith('DELETE FROM profile_facts')) stop.abort(new Error('closing')); await clickhouse.command(statement, signal); } };
  await reconcile({ tables: { ...real, rebuildProfiles: (rows, signal) => createReconcileTables(slow).rebuildProfiles(rows, signal) }, log: testLog() }, true, stop.signal).catch((thrown: unknown) => assert.match(String(thrown), /closing|abort/i));
  assert.ok(stop.signal.aborted);
  assert.deepEqual(await clickhouse.rows('SELECT user_id, toUInt32(events) FROM users ORDER BY user_id'), [['ada', 1], ['bob', 1]]);
});

test('a row whose record has an outcome gives way, whenever it was stored: an insert that came late', async () => {
  await store(1, 0, 10, { secondsAgo: 9 });
  await outcome(1, 0, 10);
  await store(1, 1, 20);
  await pass();
  assert.deepEqual(await places('events'), ['1@1/20']);
  assert.deepEqual(await places('outcomes'), ['1@0/10']);
});

test('the same place twice: one row stays and nothing is accounted', async () => {
  await store(1, 0, 10, { secondsAgo: 9 });
  await store(1, 0, 10, { secondsAgo: 4 });
  await pass();
  assert.deepEqual([await places('events'), await places('event_ids'), await places('outcomes')], [['1@0/10'], ['1@0/10', '1@0/10'], []]);
});

test('rows that nothing tells apart: a copy takes their place', async () => {
  await clickhouse.command(`INSERT INTO events (tenant, event_id, message_id, timestamp, received_at, stored_at, topic, partition, offset, properties) SELECT 't', '${id(1)}', 'm', '2025-01-01 00:00:00', '2025-01-01 00:00:00', now64(3) - INTERVAL 5 SECOND, 'events', 0, 10, '{"a":{"b":[1,"x"]}}' FROM numbers(2)`);
  assert.equal((await pass()).removed, 0);
  assert.equal((await pass()).removed, 2);
  assert.deepEqual(await places('events'), ['1@0/10']);
  assert.deepEqual((await clickhouse.rows('SELECT toJSONString(properties) FROM events')).flat(), ['{"a":{"b":["1","x"]}}']);
  assert.deepEqual(await places('outcomes'), []);
});

test('an outcome of a record that is in events after all is removed, but not in its first minute', async () => {
  await store(1, 0, 10);
  await store(2, 0, 11);
  await outcome(1, 0, 10, 90);
  await outcome(2, 0, 11, 5);
  await outcome(3, 0, 12, 90);
  assert.equal((await pass()).corrected, 1);
  assert.deepEqual(await places('outcomes'), ['2@0/11', '3@0/12']);
  assert.deepEqual(await places('events'), ['1@0/10', '2@0/11']);
});

test('of outcomes and conflicts that say the same of one record the first stays', async () => {
  const conflict = (n: number, partition: number, offset: number, secondsAgo: number): Promise<void> =>
    clickhouse.command(`INSERT INTO conflicts (tenant, event_id, topic, partition, offset, raw, at) VALUES ('t', '${id(n)}', 'events', ${partition}, ${offset}, '{}', now64(3) - INTERVAL ${secondsAgo} SECOND)`);
  for (const secondsAgo of [30, 20, 5]) await outcome(1, 0, 10, secondsAgo);
  for (const secondsAgo of [30, 20]) await conflict(2, 0, 11, secondsAgo);
  await outcome(2, 0, 11, 30);
  await outcome(3, 0, 10, 20);
  // Another thing is said of this one.
  await clickhouse.command(`INSERT INTO outcomes (topic, partition, offset, tenant, event_id, outcome, reason) VALUES ('events', 0, 11, 't', '${id(2)}', 'conflict', '')`);
  const [first] = await clickhouse.rows(`SELECT min(at) FROM outcomes WHERE event_id = '${id(1)}'`);
  assert.equal((await pass(false)).repeated, 3);
  assert.deepEqual(await places('outcomes', ", ' ', outcome"), ['1@0/10 duplicate', '2@0/11 conflict', '2@0/11 duplicate', '3@0/10 duplicate']);
  assert.deepEqual(await places('conflicts'), ['2@0/11']);
  assert.deepEqual((await clickhouse.rows(`SELECT at FROM outcomes WHERE event_id = '${id(1)}'`))[0], first);
  assert.equal((await pass()).repeated, 0);
});

test('outcomes of one moment that nothing tells apart: a copy takes their place; and thousands at once', async () => {
  await clickhouse.command(`INSERT INTO outcomes (topic, partition, offset, tenant, event_id, outcome, reason, at) SELECT 'events', 0, 10, 't', '${id(1)}', 'duplicate', '', now64(3) - INTERVAL 5 SECOND FROM numbers(2)`);
  assert.equal((await pass()).repeated, 0);
  assert.equal((await pass()).repeated, 2);
  assert.deepEqual(await places('outcomes'), ['1@0/10']);
  for (const secondsAgo of [9, 5]) {
    await clickhouse.command(`INSERT INTO outcomes (topic, partition, offset, tenant, event_id, outcome, reason, at)
      SELECT 'events', 1, number, 't', toUUID(concat('00000000-0000-4000-8000-', leftPad(toString(number), 12, '0'))), 'duplicate', '', now64(3) - INTERVAL ${secondsAgo} SECOND FROM numbers(4500) SETTINGS insert_deduplicate = 0`);
  }
  assert.equal((await pass(true, 2_000)).repeated, 4_500);
  assert.deepEqual((await clickhouse.rows('SELECT count() FROM outcomes')).flat().map(Number), [4_501]);
});

test('what differs is not taken for a repeat, also of the same moment: one of each is left', async () => {
  const at = (seconds: number): string => `now64(3) - INTERVAL ${seconds} SECOND`;
  await clickhouse.command(`INSERT INTO outcomes (topic, partition, offset, tenant, event_id, outcome, reason, at) SELECT 'it\\'s', 0, 10, 't', '${id(1)}', one.1, '', one.2
    FROM (SELECT arrayJoin([('duplicate', t1), ('duplicate', t1), ('duplicate', t2), ('conflict', t1), ('conflict', t2)]) AS one FROM (SELECT ${at(9)} AS t1, ${at(5)} AS t2)) SETTINGS insert_deduplicate = 0`);
  await pass();
  assert.deepEqual(await places('outcomes', ", ' ', outcome"), ['1@0/10 conflict', '1@0/10 duplicate']);
});

test('twins that are older than the next pass would look are single after it all the same', async () => {
  await clickhouse.command('INSERT INTO reconciliations (checked_until, removed, corrected) SELECT now64(3) - INTERVAL 1 HOUR, 0, 0');
  await clickhouse.command(`INSERT INTO outcomes (topic, partition, offset, tenant, event_id, outcome, reason, at) SELECT 'events', 0, 10, 't', '${id(1)}', 'duplicate', '', now64(3) - INTERVAL 50 MINUTE FROM numbers(2)`);
  await clickhouse.command(`INSERT INTO events (tenant, event_id, timestamp, received_at, stored_at, topic, partition, offset) SELECT 't', '${id(2)}', '2025-01-01 00:00:00', '2025-01-01 00:00:00', now64(3) - INTERVAL 50 MINUTE, 'events', 0, 11 FROM numbers(2)`);
  for (let passes = 0; passes < 2; passes++) await pass();
  assert.deepEqual([await places('outcomes'), await places('events')], [['1@0/10'], ['2@0/11']]);
});

test('a pass looks back from the last one, and a crash before its end costs nothing', async () => {
  await pass();
  await store(1, 0, 10, { secondsAgo: 600 });
  await store(1, 1, 20, { secondsAgo: 1 });
  // A narrow pass sees only what was stored just now, and says nothing of how far was looked.
  assert.equal((await pass(false)).removed, 0);
  // As if a pass had died after accounting for the loser.
  await outcome(1, 1, 20);
  assert.equal((await pass()).removed, 1);
  assert.deepEqual([await places('events'), await places('outcomes')], [['1@0/10'], ['1@1/20']]);
});

test('a row that lacked its id for long, and was stored from elsewhere meanwhile', async () => {
  await pass();
  await store(1, 0, 10, { secondsAgo: 3_000 });
  await clickhouse.command('TRUNCATE TABLE event_ids');
  await store(1, 1, 20, { secondsAgo: 1 });
  assert.equal((await pass()).removed, 0);
  await clickhouse.command(`INSERT INTO event_ids (event_id, topic, partition, offset, stored_at) VALUES ('${id(1)}', 'events', 0, 10, now64(3))`);
  assert.equal((await pass()).removed, 1);
  assert.deepEqual([await places('events'), await places('event_ids'), await places('outcomes')], [['1@0/10'], ['1@0/10'], ['1@1/20']]);
});

test('two passes at once leave one row each', async () => {
  await Promise.all(Array.from({ length: 12 }, (_, n) => [store(n, 0, n), store(n, 1, n, { secondsAgo: 4 })]).flat());
  await Promise.all([pass(), pass()]);
  assert.deepEqual(await places('events'), Array.from({ length: 12 }, (_, n) => `${n}@0/${n}`).sort());
  assert.deepEqual([...new Set(await places('outcomes'))], Array.from({ length: 12 }, (_, n) => `${n}@1/${n}`).sort());
});
