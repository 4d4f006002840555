import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { COMPATIBILITY, SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import { CompressionTypes, Kafka, logLevel } from 'kafkajs';
import type { Admin, Message, Producer } from 'kafkajs';
import { createEventAvro } from '../../src/contract/event-avro.ts';
import { eventually } from '../helpers/eventually.ts';
import { startClickHouseProxy } from '../helpers/http-proxy.ts';
import type { ClickHouseProxy } from '../helpers/http-proxy.ts';
import { packageRoot } from '../helpers/local.ts';
import { freshConfig, sharedStack } from '../helpers/shared-stack.ts';
import { startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';

const unique = randomUUID().slice(0, 8);
const topics = { avro: `orders-${unique}`, json: `clicks-${unique}`, jsonSchema: `members-${unique}`, segment: `segment-${unique}`, late: `late-${unique}` };
const kafka = new Kafka({ brokers: [sharedStack().kafkaBrokers], logLevel: logLevel.NOTHING });
const registry = new SchemaRegistry({ host: sharedStack().registryUrl });
const ours = createEventAvro(join(packageRoot, 'schemas', 'events', 'event.v1.avsc'));

let system: System;
let proxy: ClickHouseProxy;
let producer: Producer;
let admin: Admin;

before(async () => {
  admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [topics.avro, topics.json, topics.jsonSchema, topics.segment].map(topic => ({ topic, numPartitions: 3 })) });
  producer = kafka.producer({ allowAutoTopicCreation: false });
  await producer.connect();
  const { origin, pathname } = new URL(sharedStack().registryUrl);
  proxy = await startClickHouseProxy(origin);
  const config = freshConfig();
  system = await startSystem({
    ...config,
    registry: { ...config.registry, url: `${proxy.url}${pathname}` },
    topics: [
      { name: topics.avro, tenant: 'shop', format: 'avro', event: 'Order Placed', fields: { userId: 'customer.id', messageId: 'order_id', timestamp: 'placed_at' } },
      { name: topics.json, tenant: 'web', format: 'json', fields: { event: 'kind', userId: 'header:user', anonymousId: 'key', messageId: 'id', timestamp: 'ts' } },
      { name: topics.jsonSchema, tenant: 'crm', format: 'json_schema', type: 'identify', fields: { userId: 'id', email: 'contact.email' } },
      { name: topics.segment, tenant: 'seg', format: 'json', shape: 'segment' },
      { name: topics.late, tenant: 'late', format: 'json', event: 'Late', fields: { messageId: 'id' } },
    ],
  });
});
after(async () => {
  await system.close();
  await producer.disconnect();
  await admin.deleteTopics({ topics: Object.values(topics) }).catch(() => undefined);
  await admin.disconnect();
  await proxy.close();
});

const send = (topic: string, messages: Message[]): Promise<unknown> => producer.send({ topic, messages });
const rowsOf = (where: string, count: number) => eventually(() => system.query(`SELECT *, toString(properties) AS p, toString(traits) AS t FROM events WHERE ${where} ORDER BY message_id`), rows => rows.length >= count);
const lettersOf = (topic: string, count: number) =>
  eventually(() => system.query<Record<string, string>>(`SELECT code, detail, payload, payload_encoding, tenant, source, partition, offset FROM dead_letters WHERE topic = '${topic}' ORDER BY partition, offset`), rows => rows.length >= count);
const payloadOf = (letter: Record<string, string>): Buffer => Buffer.from(letter['payload'] ?? '', letter['payload_encoding'] === 'base64' ? 'base64' : 'utf8');
const register = async (subject: string, schema: object | string, type = SchemaType.AVRO): Promise<number> =>
  (await registry.register({ type, schema: typeof schema === 'string' ? schema : JSON.stringify(schema) } as Parameters<typeof registry.register>[0], { subject: `${subject}-${unique}`, compatibility: COMPATIBILITY.BACKWARD })).id;
const pick = (row: Record<string, unknown> | undefined, ...columns: string[]): unknown[] => columns.map(column => row?.[column]);

const logical = (type: string, logicalType: string): object => ({ type, logicalType });
const order = {
  type: 'record', name: 'Order', namespace: 'shop', fields: [
    { name: 'order_id', type: logical('string', 'uuid') },
    { name: 'customer', type: { type: 'record', name: 'Customer', fields: [{ name: 'id', type: 'long' }, { name: 'tier', type: { type: 'enum', name: 'Tier', symbols: ['FREE', 'GOLD'] } }, { name: 'note', type: ['null', 'string'], default: null }] } },
    { name: 'placed_at', type: logical('long', 'timestamp-micros') },
    { name: 'total', type: { type: 'bytes', logicalType: 'decimal', precision: 20, scale: 2 } },
    { name: 'day', type: logical('int', 'date') },
    { name: 'at', type: logical('int', 'time-millis') },
    { name: 'exact_at', type: logical('long', 'time-micros') },
    { name: 'seen', type: logical('long', 'timestamp-millis') },
    { name: 'wall', type: logical('long', 'local-timestamp-millis') },
    { name: 'took', type: { type: 'fixed', name: 'Took', size: 12, logicalType: 'duration' } },
    { name: 'hash', type: { type: 'fixed', name: 'Hash', size: 2 } },
    { name: 'choice', type: ['null', 'int', 'string', { type: 'array', items: 'string' }] },
    { name: 'tags', type: { type: 'map', values: 'double' } },
    { name: 'minus_zero', type: 'double' },
  ],
};
const orderValue = {
  order_id: '6ba7b810-9dad-11d1-80b4-00c04fd430c8', customer: { id: 9_007_199_254_740_000, tier: 'GOLD', note: 'é' }, placed_at: 1_742_049_000_123_456, total: Buffer.from('7fffffffffffffff', 'hex'), day: 20_162,
  at: 52_200_123, exact_at: 52_200_123_456, seen: 1_742_049_000_123, wall: 1_742_049_000_123, took: Buffer.from([1, 0, 0, 0, 2, 0, 0, 0, 0xbc, 0x0b, 0, 0]), hash: Buffer.from([0xff, 0xfe]),
  choice: ['a'], tags: { one: 1, nan: NaN }, minus_zero: -0,
};
const orderJson =
  '{"order_id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","customer":{"id":9007199254740000,"tier":"GOLD","note":"é"},"placed_at":"2025-03-15T14:30:00.123456Z","total":92233720368547758.07,"day":"2025-03-15","at":"14:30:00.123","exact_at":"14:30:00.123456","seen":"2025-03-15T14:30:00.123Z","wall":"2025-03-15T14:30:00.123","took":"P1M2DT3.004S","hash":"//4=","choice":["a"],"tags":{"one":1.0,"nan":"NaN"},"minus_zero":-0.0}';

test('Avro of their own: nested, unions, enums, logical types, evolved; any key, any partition, gzip', async () => {
  const v1 = await register('orders', order);
  const v2 = await register('orders', { ...order, fields: [...order.fields, { name: 'coupon', type: ['null', 'string'], default: null }] });
  const second = { ...orderValue, order_id: 'second', coupon: 'SPRING', choice: null, tags: {} };
  await producer.send({
    topic: topics.avro, compression: CompressionTypes.GZIP,
    messages: [
      { key: null, value: await registry.encode(v1, orderValue), partition: 2 },
      { key: Buffer.from([0xff, 0x00]), value: await registry.encode(v2, second), partition: 0 },
      { key: Buffer.from([0xff, 0x01]), value: await registry.encode(v2, second), partition: 1 },
    ],
  });
  const [first, evolved] = await rowsOf(`topic = '${topics.avro}'`, 2);
  assert.deepEqual(
    pick(first, 'tenant', 'dialect', 'source', 'type', 'event', 'user_key', 'user_id', 'message_id', 'timestamp', 'partition', 'violations', 'raw'),
    ['shop', 'avro', 'kafka', 'track', 'Order Placed', '9007199254740000', '9007199254740000', orderValue.order_id, '2025-03-15 14:30:00.123', 2, ['not_a_number:/tags/nan'], orderJson],
  );
  const properties = JSON.parse(String(first?.['p'])) as Record<string, unknown>;
  assert.deepEqual([properties['customer'], properties['day'], properties['choice'], properties['tags']], [{ note: 'é', tier: 'GOLD' }, '2025-03-15', ['a'], { one: 1, nan: 'NaN' }]);
  assert.equal(properties['order_id'], undefined);
  assert.deepEqual(pick(evolved, 'message_id', 'user_key'), ['second', '9007199254740000']);
  assert.match(String(evolved?.['raw']), /"coupon":"SPRING"\}$/);
  // The same message id in another partition is a duplicate, here as anywhere.
  await eventually(() => system.query(`SELECT outcome FROM outcomes WHERE topic = '${topics.avro}'`), rows => rows.length === 1 && rows[0]?.['outcome'] === 'duplicate');
});

test('plain JSON: ids and times from fields, headers and keys; each fault is a dead letter with its bytes', async () => {
  const bad: [Message, string][] = [
    [{ value: '{"kind":"Click","ts":"never"}' }, 'time_invalid'],
    [{ value: '{"kind":"Click","id":{"x":1}}' }, 'field_invalid'],
    [{ value: '{"id":"no-name"}' }, 'field_missing'],
    [{ value: '{"kind":' }, 'unreadable'],
    [{ value: Buffer.from([0x7b, 0xff, 0xfe, 0x7d]) }, 'unreadable'],
    [{ value: Buffer.from([0, 0, 0, 0, 1, 2, 3]) }, 'unreadable'],
    [{ value: '[]' }, 'not_an_object'],
    [{ value: null }, 'tombstone'],
  ];
  await send(topics.json, [
    { value: '{"kind":"Click","id":"c-1","ts":1742049000,"x":12345678901234567890.10}', key: 'visitor', headers: { user: 'ada' }, partition: 1 },
    { value: '{"kind":"Click","id":"c-2","ts":"2025-03-15T15:30:00+01:00"}', key: 'visitor', partition: 1 },
    ...bad.map(([message]) => ({ ...message, partition: 1 })),
    { value: '{"kind":"Click","id":"c-3"}', key: null, partition: 0, timestamp: '1742049000456' },
  ]);
  const [one, two, three] = await rowsOf(`topic = '${topics.json}'`, 3);
  assert.deepEqual(pick(one, 'tenant', 'dialect', 'event', 'user_key', 'user_id', 'anonymous_id', 'timestamp', 'raw'), ['web', 'json', 'Click', 'ada', 'ada', 'visitor', '2025-03-15 14:30:00.000', '{"kind":"Click","id":"c-1","ts":1742049000,"x":12345678901234567890.10}']);
  assert.deepEqual(pick(two, 'user_key', 'user_id', 'anonymous_id', 'timestamp'), ['visitor', '', 'visitor', '2025-03-15 14:30:00.000']);
  assert.deepEqual(pick(three, 'user_key', 'timestamp', 'received_at'), [three?.['event_id'], '2025-03-15 14:30:00.456', '2025-03-15 14:30:00.456']);
  const letters = await lettersOf(topics.json, bad.length);
  assert.deepEqual(letters.map(({ code }) => code), bad.map(([, code]) => code));
  assert.deepEqual(letters.map(payloadOf), bad.map(([{ value }]) => Buffer.from(value ?? '')));
  assert.deepEqual([...new Set(letters.map(({ tenant, source }) => `${tenant} ${source}`))], ['web kafka']);
});

test('JSON Schema: valid ones are users, others dead letters; Segment-shaped JSON needs no mapping', async () => {
  const schema = { $schema: 'http://json-schema.org/draft-07/schema#', type: 'object', properties: { id: { type: 'integer' }, contact: { type: 'object', properties: { email: { type: 'string' } } } }, required: ['id'] };
  const id = await register('members', schema, SchemaType.JSON);
  const framed = (text: string): Buffer => Buffer.concat([Buffer.from([0]), Buffer.from([id >>> 24, id >>> 16, id >>> 8, id]), Buffer.from(text)]);
  const invalid = framed('{"id":"seven"}');
  const avroId = await register('not-json', order);
  await send(topics.jsonSchema, [{ value: await registry.encode(id, { id: 7, contact: { email: 'a@b.c', phone: 1 } }), partition: 0 }, { value: invalid, partition: 0 }, { value: await registry.encode(avroId, orderValue), partition: 0 }, { value: '{"id":7}', partition: 0 }]);
  await send(topics.segment, [{ value: '{"type":"page","userId":"u","name":"Home","messageId":"s-1"}' }]);
  const [member] = await rowsOf(`topic = '${topics.jsonSchema}'`, 1);
  assert.deepEqual(pick(member, 'tenant', 'dialect', 'type', 'user_id', 'email', 't', 'raw'), ['crm', 'json_schema', 'identify', '7', 'a@b.c', '{"contact":{"phone":1}}', '{"id":7,"contact":{"email":"a@b.c","phone":1}}']);
  assert.match(String(member?.['message_id']), new RegExp(`^record/${topics.jsonSchema}/0/0/`));
  const letters = await lettersOf(topics.jsonSchema, 3);
  assert.deepEqual(letters.map(({ code }) => code), ['schema_mismatch', 'schema_mismatch', 'unreadable']);
  assert.match(letters[0]?.['detail'] ?? '', /\/id must be integer/);
  assert.deepEqual(payloadOf(letters[0] ?? {}), invalid);
  const [page] = await rowsOf(`topic = '${topics.segment}'`, 1);
  assert.deepEqual(pick(page, 'tenant', 'type', 'name', 'message_id'), ['seg', 'page', 'Home', 's-1']);
});

test('the events topic: older and newer versions of our schema, JSON Schema, Protobuf, a bomb', async () => {
  const { events } = system.config.topic;
  const schema = JSON.parse(ours.schemaText) as { fields: { name: string }[] };
  const older = { ...schema, fields: schema.fields.filter(({ name }) => ['message_id', 'type', 'timestamp', 'user_id'].includes(name)) };
  const newer = {
    ...schema,
    fields: [
      { name: 'device', type: { type: 'record', name: 'Device', fields: [{ name: 'id', type: 'string' }, { name: 'seen', type: logical('long', 'timestamp-millis') }] }, default: { id: '', seen: 0 } },
      ...schema.fields,
      { name: 'scores', type: { type: 'array', items: 'double' }, default: [] },
      { name: 'labels', type: { type: 'map', values: ['null', 'string'] }, default: {} },
      { name: 'kind', type: { type: 'enum', name: 'Kind', symbols: ['A', 'B'], default: 'A' }, default: 'A' },
      { name: 'price', type: ['null', { type: 'bytes', logicalType: 'decimal', precision: 9, scale: 2 }], default: null },
    ],
  };
  const full = { message_id: 'v2', type: 'track', event: 'New', user_id: 'u', anonymous_id: null, previous_id: null, group_id: null, email: null, name: null, category: null, timestamp: 1_742_049_000_123, sent_at: null, received_at: null, properties: '{"a":1.50}', traits: null, context: null, integrations: null, write_key_id: null, violations: [], raw: null };
  const v0 = await register('events-v0', older);
  const v2 = await register('events-v2', newer);
  const json = await register('events-json', { type: 'object', required: ['type'], properties: { properties: { type: 'object', properties: { n: { type: 'number' } } } } }, SchemaType.JSON);
  const proto = await register('events-proto', 'syntax = "proto3"; message Event { string id = 1; }', SchemaType.PROTOBUF);
  const frame = (id: number, payload: string | Buffer): Buffer => Buffer.concat([Buffer.from([0, id >>> 24, id >>> 16, id >>> 8, id]), Buffer.from(payload)]);
  const text = '{"type":"track","userId":"j","event":"Framed","messageId":"v-json","properties":{"n":12345678901234567890.10}}';
  const bomb = frame(v0, Buffer.from([2, 0x6d, 10, ...Buffer.from('track'), 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]));
  const v2Value = await registry.encode(v2, { ...full, device: { id: 'd', seen: 5 }, scores: [1, 2], labels: { a: null, b: 'x' }, kind: 'B', price: Buffer.from([1]) });
  const huge = Buffer.concat([v2Value.subarray(0, -8), Buffer.from([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])]);
  const invalid = frame(json, '{"type":"track","userId":"j","event":"Framed","properties":{"n":"x"}}');
  const started = Date.now();
  await send(events, [
    { key: 'k', partition: 0, value: await registry.encode(v0, { message_id: 'v0', type: 'page', timestamp: 1_742_049_000_123, user_id: 'u' }) },
    { key: 'k', partition: 0, value: bomb },
    { key: 'k', partition: 0, value: huge },
    { key: 'k', partition: 0, value: invalid },
    { key: 'k', partition: 0, value: frame(proto, Buffer.from([0, 10, 1, 65])) },
    { key: 'k', partition: 0, value: v2Value },
    { key: 'k', partition: 0, value: frame(json, text) },
  ]);
  const rows = await rowsOf(`topic = '${events}'`, 3);
  assert.ok(Date.now() - started < 10_000);
  assert.deepEqual(rows.map(row => pick(row, 'message_id', 'dialect', 'type', 'user_id')), [['v-json', 'json_schema', 'track', 'j'], ['v0', 'avro', 'page', 'u'], ['v2', 'avro', 'track', 'u']]);
  assert.equal(rows[0]?.['raw'], text);
  assert.equal(rows[2]?.['p'], '{"a":1.5}');
  const letters = await lettersOf(events, 4);
  assert.deepEqual(letters.map(({ code }) => code), Array(4).fill('schema_mismatch'));
  assert.deepEqual(letters.map(payloadOf).slice(0, 3), [bomb, huge, invalid]);
  assert.match(letters[3]?.['detail'] ?? '', /PROTOBUF, which is not supported/);
});

test('a registry that is down costs nothing: the partition waits, others go on, and then it is stored', async () => {
  const id = await register('orders-outage', { ...order, namespace: 'outage' });
  const refused: string[] = [];
  proxy.judge = statement => {
    refused.push(statement);
    return 'refuse';
  };
  await send(topics.avro, [{ value: await registry.encode(id, { ...orderValue, order_id: 'outage' }), partition: 0 }]);
  await send(topics.json, [{ value: '{"kind":"Click","id":"meanwhile"}', partition: 0 }]);
  await rowsOf(`message_id = 'meanwhile'`, 1);
  await eventually(() => refused.length, count => count >= 2);
  assert.deepEqual(await system.query(`SELECT message_id FROM events WHERE message_id = 'outage'`), []);
  proxy.judge = () => 'pass';
  await rowsOf(`message_id = 'outage'`, 1);
  assert.deepEqual(await system.query(`SELECT code FROM dead_letters WHERE topic = '${topics.avro}'`), []);
});

test('a topic that does not exist is waited for, never made, and read from its beginning when it comes', async () => {
  assert.equal((await admin.listTopics()).includes(topics.late), false);
  assert.equal(system.sink?.joined(), true);
  await admin.createTopics({ topics: [{ topic: topics.late, numPartitions: 1 }] });
  await eventually(() => send(topics.late, [{ value: '{"id":"l-1"}' }]).then(() => true, () => false), Boolean);
  const [row] = await rowsOf(`topic = '${topics.late}'`, 1);
  assert.deepEqual(pick(row, 'tenant', 'event', 'message_id'), ['late', 'Late', 'l-1']);
});
