import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';
import { eventId } from '../../src/event/identity.ts';
import { eventually } from '../helpers/eventually.ts';
import { freshConfig, sharedStack } from '../helpers/shared-stack.ts';
import { startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';

let system: System;
before(async () => {
  system = await startSystem(freshConfig());
});
after(() => system.close());

const settled = async (count: number): Promise<void> => {
  await eventually(() => system.query<{ n: number }>('SELECT (SELECT count() FROM events) + (SELECT count() FROM outcomes) AS n'), ([row]) => Number(row?.n) >= count);
};
let expected = 0;

test('an event of each type arrives with its columns', async () => {
  const id = (name: string): string => `types-${name}`;
  const common = { timestamp: '2025-03-15T14:30:00.123+01:00', context: { ip: '203.0.113.42', locale: 'en-US' }, integrations: { All: false } };
  const events = [
    { type: 'track', userId: 'user_123', event: 'Order Completed', messageId: id('track'), properties: { order_id: 'ord_456', total: 99.99, products: [{ sku: 'a', price: 29.99 }] }, ...common },
    { type: 'identify', userId: 'user_123', anonymousId: 'anon_1', messageId: id('identify'), traits: { plan: 'enterprise', company: { id: 'c' }, gone: null }, ...common },
    { type: 'page', anonymousId: 'anon_1', name: 'Pricing', category: 'Marketing', messageId: id('page'), properties: { url: 'https://x.example/' }, ...common },
    { type: 'screen', userId: 'user_123', name: 'Settings', messageId: id('screen'), ...common },
    { type: 'group', userId: 'user_123', groupId: 'comp_456', messageId: id('group'), traits: { name: 'Acme' }, ...common },
    { type: 'alias', userId: 'user_123', previousId: 'anon_1', messageId: id('alias'), ...common },
  ];
  for (const event of events) {
    const { status, body } = await system.post('/api/v1/events', event);
    assert.deepEqual([status, body], [200, { success: true, message_id: event.messageId }]);
  }
  await settled((expected += events.length));
  const rows = await system.query(`SELECT *, toString(properties) AS p, toString(traits) AS t, toString(integrations) AS i, properties.total AS total, traits.company.id AS company
    FROM events WHERE message_id LIKE 'types-%' ORDER BY message_id`);
  const of = (name: string): Record<string, unknown> => rows.find(row => row['message_id'] === id(name)) ?? assert.fail(name);
  const pick = (name: string, ...columns: string[]): unknown[] => columns.map(column => of(name)[column]);
  assert.deepEqual(
    pick('track', 'tenant', 'dialect', 'source', 'write_key_id', 'type', 'event', 'user_key', 'user_id', 'anonymous_id', 'timestamp', 'sent_at', 'total', 'violations', 'topic'),
    ['dev', 'segment', 'http', 'dev', 'track', 'Order Completed', 'user_123', 'user_123', '', '2025-03-15 13:30:00.123', null, 99.99, [], system.config.topic.events],
  );
  assert.equal(of('track')['event_id'], eventId('dev', id('track')));
  assert.equal(of('track')['raw'], JSON.stringify(events[0]));
  assert.deepEqual(JSON.parse(String(of('track')['p'])), { order_id: 'ord_456', total: 99.99, products: [{ sku: 'a', price: 29.99 }] });
  assert.deepEqual(of('track')['i'], '{"All":false}');
  assert.deepEqual(pick('identify', 'type', 'user_id', 'anonymous_id', 'company'), ['identify', 'user_123', 'anon_1', 'c']);
  assert.deepEqual(pick('page', 'user_key', 'user_id', 'anonymous_id', 'name', 'category'), ['anon_1', '', 'anon_1', 'Pricing', 'Marketing']);
  assert.deepEqual(pick('screen', 'name', 'p'), ['Settings', '{}']);
  assert.deepEqual(pick('group', 'group_id', 't'), ['comp_456', '{"name":"Acme"}']);
  assert.deepEqual(pick('alias', 'previous_id'), ['anon_1']);
});

test('a batch of 500 sent twice is 500 rows and 500 duplicates', async () => {
  const run = randomUUID();
  const batch = Array.from({ length: 500 }, (_, index) => ({ type: 'track', userId: `u${index % 40}`, event: 'Twice', messageId: `${run}-${index}` }));
  for (let round = 0; round < 2; round++) {
    const { status, body } = await system.post('/api/v1/events/batch', { batch });
    assert.deepEqual([status, body], [200, { received: 500, accepted: 500, rejected: 0, errors: [] }]);
  }
  await settled((expected += 1000));
  const [row] = await system.query<Record<string, number>>(`SELECT count() AS n, uniqExact(event_id) AS ids FROM events WHERE event = 'Twice'`);
  assert.deepEqual(row, { n: 500, ids: 500 });
  const [outcomes] = await system.query<Record<string, number>>(`SELECT count() AS n, uniqExact(event_id) AS ids FROM outcomes WHERE outcome = 'duplicate'`);
  assert.deepEqual(outcomes, { n: 500, ids: 500 });
});

test('the same message id in other content, and at once in one batch, is one row: the first', async () => {
  const one = { type: 'track', userId: 'same', event: 'First', messageId: 'same-id' };
  const { body } = await system.post('/api/v1/events/batch', { batch: [one, { ...one, event: 'Second' }] });
  assert.equal(body['accepted'], 2);
  await system.post('/api/v1/events', { ...one, event: 'Third', userId: 'another' });
  await settled((expected += 3));
  assert.deepEqual(await system.query(`SELECT event FROM events WHERE message_id = 'same-id'`), [{ event: 'First' }]);
  const conflicts = await system.query<Record<string, string>>(`SELECT c.message_id AS message_id, JSONExtractString(c.raw, 'event') AS event, (c.stored_topic, c.stored_partition, c.stored_offset) = (e.topic, e.partition, e.offset) AS of_the_stored,
    o.outcome, o.reason = concat(e.topic, '/', toString(e.partition), '/', toString(e.offset)) AS reason_names_it
    FROM conflicts AS c JOIN events AS e ON c.event_id = e.event_id JOIN outcomes AS o ON (o.topic, o.partition, o.offset) = (c.topic, c.partition, c.offset) ORDER BY event`);
  assert.deepEqual(conflicts, ['Second', 'Third'].map(event => ({ message_id: 'same-id', event, of_the_stored: 1, outcome: 'conflict', reason_names_it: 1 })));
});

test('the same message id in other content from another tenant is another event; a retry with another sentAt is no conflict', async () => {
  const one = { type: 'track', userId: 'retry', event: 'Once', messageId: 'retry-id', timestamp: '2025-01-01T00:00:00Z', properties: { a: 1, b: 2 } };
  await system.post('/api/v1/events', { ...one, sentAt: new Date().toISOString() });
  await system.post('/api/v1/events', { ...one, properties: { b: 2, a: 1 }, sentAt: new Date(Date.now() + 1_000).toISOString() }, { authorization: `Basic ${Buffer.from('dev:').toString('base64')}`, 'user-agent': 'another' });
  await settled((expected += 2));
  assert.deepEqual(await system.query(`SELECT outcome FROM outcomes WHERE event_id = '${eventId('dev', 'retry-id')}'`), [{ outcome: 'duplicate' }]);
  const kafka = new Kafka({ brokers: sharedStack().kafkaBrokers.split(','), logLevel: logLevel.NOTHING });
  const producer = kafka.producer();
  await producer.connect();
  await producer.send({ topic: system.config.topic.events, messages: [{ key: 'x', value: JSON.stringify({ ...one, event: 'Of another' }), headers: { tenant: 'another' } }] });
  await producer.disconnect();
  await settled((expected += 1));
  assert.deepEqual(await system.query(`SELECT tenant, event FROM events WHERE message_id = 'retry-id' ORDER BY tenant`), [{ tenant: 'another', event: 'Of another' }, { tenant: 'dev', event: 'Once' }]);
});

test('the events of an erased user that were received before are dropped, and say so', async () => {
  await system.command(`INSERT INTO suppressions (tenant, user_id, received_before) VALUES ('dev', 'erased', now64(3) + INTERVAL 1 HOUR), ('another', 'kept', now64(3) + INTERVAL 1 HOUR)`);
  await eventually(async () => {
    await system.post('/api/v1/events/batch', { batch: [{ type: 'page', userId: 'erased', name: 'P' }, { type: 'page', anonymousId: 'erased', name: 'P' }, { type: 'page', userId: 'kept', name: 'P' }] });
    await settled((expected += 3));
    return system.query<{ n: string }>(`SELECT count() AS n FROM outcomes WHERE outcome = 'suppressed'`);
  }, ([row]) => Number(row?.n) >= 2);
  const rows = await system.query<{ user_key: string; n: string }>(`SELECT user_key, count() AS n FROM events WHERE user_key IN ('erased', 'kept') GROUP BY user_key`);
  assert.ok(rows.some(({ user_key }) => user_key === 'kept'));
});

test('the same message ids for two users, in two partitions at the same moment, are one row each', async () => {
  const run = randomUUID();
  const batch = Array.from({ length: 400 }, (_, index) => ({ type: 'page', userId: `race-${index}`, name: 'Race', messageId: `${run}-${index >> 1}` }));
  const { body } = await system.post('/api/v1/events/batch', { batch });
  assert.equal(body['accepted'], 400);
  await settled((expected += 400));
  const [row] = await system.query<Record<string, number>>(`SELECT count() AS n, uniqExact(event_id) AS ids FROM events WHERE name = 'Race'`);
  assert.deepEqual(row, { n: 200, ids: 200 });
});

test('values that a JSON column can not hold stay in raw and are named; their neighbours are whole', async () => {
  const properties = '{"huge":12345678901234567890123,"ok":9007199254740993,"e":1e400,"dup":1,"dup":2,"a":{"b":1},"a.b":2,"date":"2024-01-01","<script>":"\' OR 1=1 --"}';
  const text = `{"type":"track","userId":"odd","event":"Odd","messageId":"odd-1","timestamp":"0001-01-01T00:00:00Z","properties":${properties}}`;
  const { status } = await system.post('/api/v1/events', text);
  assert.equal(status, 200);
  await settled((expected += 1));
  const [row] = await system.query(`SELECT raw, toString(properties) AS p, violations, timestamp FROM events WHERE message_id = 'odd-1'`);
  assert.equal(row?.['raw'], text);
  assert.equal(row['p'], '{"<script>":"\' OR 1=1 --","a":{"b":1},"date":"2024-01-01","dup":2,"ok":9007199254740993}');
  assert.deepEqual(row['violations'], ['not_queryable:/properties/huge', 'not_queryable:/properties/e', 'not_queryable:/properties/a.b', 'not_queryable:/timestamp']);
});

test('arrays of mixed types keep each element as it was', async () => {
  const properties = '{"a":[true,0],"b":[false,"x",1.5],"c":[18446744073709551615,-1],"d":[null,[1,"y"],{"k":true}]}';
  const { status } = await system.post('/api/v1/events', `{"type":"track","userId":"arrays","event":"Arrays","messageId":"arrays-1","properties":${properties}}`);
  assert.equal(status, 200);
  await settled((expected += 1));
  assert.deepEqual(await system.query(`SELECT toString(properties) AS p, violations FROM events WHERE message_id = 'arrays-1'`), [{ p: properties, violations: [] }]);
});

test('direct producers: plain JSON of Segment’s shape, and what can not be read becomes a dead letter', async () => {
  const kafka = new Kafka({ brokers: [sharedStack().kafkaBrokers], logLevel: logLevel.NOTHING });
  const producer = kafka.producer();
  await producer.connect();
  const frame = Buffer.concat([Buffer.from([0, 0, 0, 0xff, 0xff]), Buffer.from('x')]);
  const cut = Buffer.from([0, 0, 0, 0, 1, 2, 3]);
  const values: (Buffer | string | null)[] = [
    '{"type":"track","userId":"direct","event":"Direct","messageId":"direct-1"}',
    '{"type":"track","userId":"direct","event":"Direct"}',
    'neither', '{"type":"track"', '{"type":"track","userId":"direct"}', frame, cut, Buffer.from([0x7b, 0xff, 0xfe]), null,
  ];
  await producer.send({ topic: system.config.topic.events, messages: values.map(value => ({ key: 'direct', value })) });
  await producer.disconnect();
  await settled((expected += values.length));

  const rows = await system.query(`SELECT tenant, source, dialect, user_id, message_id FROM events WHERE event = 'Direct' ORDER BY message_id`);
  assert.equal(rows.length, 2);
  assert.deepEqual(rows[0], { tenant: 'dev', source: 'kafka', dialect: 'json', user_id: 'direct', message_id: 'direct-1' });
  assert.match(String(rows[1]?.['message_id']), new RegExp(`^record/${system.config.topic.events}/\\d+/\\d+/`));

  const letters = await eventually(
    () => system.query<Record<string, string>>(`SELECT code, payload, payload_encoding, tenant, source, topic, status, id FROM dead_letters ORDER BY offset`),
    found => found.length === 7,
  );
  assert.deepEqual(letters.map(({ code }) => code), ['unreadable', 'unreadable', 'field_missing', 'schema_unknown', 'schema_mismatch', 'unreadable', 'tombstone']);
  assert.deepEqual(letters.map(({ payload, payload_encoding }) => (payload_encoding === 'base64' ? Buffer.from(payload ?? '', 'base64') : Buffer.from(payload ?? ''))), values.slice(2).map(value => Buffer.from(value ?? '')));
  assert.deepEqual([...new Set(letters.map(({ status, topic, source }) => `${status} ${topic} ${source}`))], [`open ${system.config.topic.events} kafka`]);
  const outcomes = await system.query<Record<string, string>>(`SELECT event_id FROM outcomes WHERE outcome = 'dead_lettered'`);
  assert.deepEqual(outcomes.map(row => row['event_id']).sort(), letters.map(({ id }) => id).sort());
});

test('bad input is answered with its status and reaches neither topic nor table', async () => {
  const rowsBefore = await system.query('SELECT count() AS n FROM events');
  const good = { type: 'track', userId: 'u', event: 'E', messageId: 'never' };
  const cases: [unknown, Record<string, string> | undefined, number, string][] = [
    ['{"type":', undefined, 400, 'malformed_json'],
    ['', undefined, 400, 'malformed_json'],
    ['[]', undefined, 400, 'not_an_object'],
    [new Uint8Array([0x7b, 0xff, 0x7d]), undefined, 400, 'malformed_json'],
    [{ type: 'track', event: 'E' }, undefined, 400, 'field_missing'],
    [{ ...good, type: 'nonsense' }, undefined, 400, 'type_unknown'],
    [{ ...good, timestamp: 'yesterday' }, undefined, 400, 'time_invalid'],
    [good, {}, 401, 'unauthorized'],
    [good, { authorization: `Basic ${Buffer.from('nobody:').toString('base64')}` }, 401, 'unauthorized'],
    [good, { authorization: 'Bearer nobody' }, 401, 'unauthorized'],
    [good, { authorization: 'Basic !!!' }, 401, 'unauthorized'],
  ];
  for (const [body, headers, status, code] of cases) {
    const answer = await system.post('/api/v1/events', body, headers);
    assert.deepEqual([answer.status, answer.body['code']], [status, code], JSON.stringify(body));
    assert.equal((answer.body['error'] as Record<string, unknown>)['request_id'], answer.headers.get('x-request-id'));
    if (status === 401) assert.match(answer.headers.get('www-authenticate') ?? '', /^Basic /);
  }
  const ready = await fetch(`${system.door.url}/readyz`);
  assert.equal(ready.status, 200);
  // A good event sent last is stored, so everything before it would be by now.
  await system.post('/api/v1/events', { ...good, messageId: 'after-bad' });
  await settled((expected += 1));
  const rowsAfter = await system.query('SELECT count() AS n FROM events');
  assert.equal(Number(rowsAfter[0]?.['n']), Number(rowsBefore[0]?.['n']) + 1);
});

test('what a batch has refused is a dead letter, with its bytes and its reason', async () => {
  const bad = '{"type":"track","messageId":"refused-1","properties":{"n":1.50},"userId":"refused"}';
  const answer = await system.post('/api/v1/events/batch', `{"batch":[{"type":"page","userId":"fine","messageId":"refused-0"},${bad}]}`);
  assert.deepEqual([answer.status, answer.body['accepted'], answer.body['rejected']], [200, 1, 1]);
  const [letter] = await eventually(() => system.query(`SELECT code, detail, payload, payload_encoding, source, tenant, write_key_id, message_id, topic, status FROM dead_letters WHERE message_id = 'refused-1'`), rows => rows.length === 1);
  assert.deepEqual(letter, {
    code: 'field_missing', detail: 'a track event needs its name in event (/event)', payload: bad, payload_encoding: 'utf8', source: 'http', tenant: 'dev', write_key_id: 'dev', message_id: 'refused-1', topic: '', status: 'open',
  });
});
