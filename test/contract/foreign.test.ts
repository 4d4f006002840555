import assert from 'node:assert/strict';
import { test } from 'node:test';
import avro from 'avsc';
import { createForeignReader } from '../../src/contract/foreign.ts';
import { inlineReferences } from '../../src/contract/avro-references.ts';
import { epochMs } from '../../src/contract/map-event.ts';
import type { TopicMapping } from '../../src/contract/mapping.ts';
import type { ReadRecord } from '../../src/contract/read-record.ts';
import type { WriterSchema } from '../../src/contract/registry.ts';
import { recordMessageId } from '../../src/event/identity.ts';

const frame = (id: number, payload: Buffer | string): Buffer => Buffer.concat([Buffer.from([0, 0, 0, 0, id]), Buffer.from(payload)]);
const at = 1_742_049_000_000;

interface Given { value: Buffer | string | null; key?: Buffer | string | null; headers?: Record<string, string>; schemas?: Record<number, WriterSchema> }

const read = async (mapping: Omit<TopicMapping, 'name' | 'tenant'>, { value, key = null, headers = {}, schemas = {} }: Given): Promise<ReadRecord> => {
  const unknown: WriterSchema = { ok: false, code: 'schema_unknown', detail: 'unknown' };
  const registry = { register: () => Promise.reject(new Error('not asked')), writerSchema: (id: number) => Promise.resolve(schemas[id] ?? unknown), ping: () => Promise.resolve() };
  const reader = createForeignReader({ name: 'orders', tenant: 'acme', ...mapping }, registry);
  const [found] = await reader.read([{ topic: 'orders', partition: 1, offset: 5n, timestampMs: at, key: key === null ? null : Buffer.from(key), value: value === null ? null : Buffer.from(value), header: name => headers[name] ?? null }]);
  return found ?? assert.fail();
};
const eventOf = async (...given: Parameters<typeof read>) => {
  const found = await read(...given);
  assert.ok(found.ok, JSON.stringify(found));
  return found;
};
const refusal = async (...given: Parameters<typeof read>): Promise<string> => {
  const found = await read(...given);
  return found.ok ? 'read' : `${found.code}: ${found.detail} [${found.messageId ?? ''}]`;
};

test('mapped fields leave, the rest stays to the letter, nested ones too', async () => {
  const value = ' {"customer":{"id":12345678901234567890,"mail":"a@b.c","plan":"x"},"order.id":"o-1","at":"2025-03-15T14:30:00.123456+01:00","total":99.90,"only":{"gone":1},"__proto_":0,"dup":1,"dup":2}\n';
  const { event, source, key } = await eventOf({ format: 'json', event: 'Order Placed', fields: { userId: 'customer.id', email: 'customer.mail', messageId: 'order.id', timestamp: 'at', category: 'only.gone' } }, { value, key: Buffer.from([0xff]) });
  assert.deepEqual(
    [event.userId, event.email, event.messageId, event.timestampMs, event.category, event.type, event.event, event.tenant, event.dialect, source, key, event.receivedAtMs],
    ['12345678901234567890', 'a@b.c', 'o-1', Date.parse('2025-03-15T13:30:00.123Z'), '1', 'track', 'Order Placed', 'acme', 'json', 'kafka', null, at],
  );
  assert.equal(event.properties, '{"customer":{"plan":"x"},"total":99.90,"__proto_":0,"dup":2}');
  assert.equal(event.raw, value.trim());
});

test('headers and keys; what is missing has its default', async () => {
  const mapping = { format: 'json', fields: { event: 'header:kind', userId: 'key', messageId: 'header:id', timestamp: 'header:at', anonymousId: 'nobody' } } as const;
  const { event } = await eventOf(mapping, { value: '{"a":1,"nobody":null}', key: 'ada', headers: { kind: 'Shipped', id: 'h-1', at: '1742049000' } });
  assert.deepEqual([event.event, event.userId, event.messageId, event.timestampMs, event.anonymousId, event.properties], ['Shipped', 'ada', 'h-1', at, null, '{"a":1}']);
  const bare = await eventOf({ format: 'json', event: 'E', fields: { userId: 'u', messageId: 'm', timestamp: 't' } }, { value: '{"u":"","m":""}' });
  assert.deepEqual([bare.event.userId, bare.event.timestampMs], [null, at]);
  assert.equal(bare.event.messageId, recordMessageId({ topic: 'orders', partition: 1, offset: 5n }, at, Buffer.from('{"u":"","m":""}')));
});

test('a topic of users or groups fills traits', async () => {
  const { event } = await eventOf({ format: 'json', type: 'group', fields: { groupId: 'id', userId: 'owner' } }, { value: '{"id":7,"owner":"ada","plan":"x"}' });
  assert.deepEqual([event.type, event.groupId, event.userId, event.traits, event.properties, event.event], ['group', '7', 'ada', '{"plan":"x"}', null, null]);
});

test('a mapped field of a wrong type is refused with its place, and what is no event with its reason', async () => {
  const json = { format: 'json', event: 'E', fields: { userId: 'user.id', messageId: 'm', timestamp: 'at' } } as const;
  const cases: [Parameters<typeof read>[0], Given, RegExp][] = [
    [json, { value: '{"m":"1","user":{"id":{"x":1}}}' }, /^field_invalid: userId is a string or a number \(\/user\/id\) \[1\]$/],
    [json, { value: '{"m":"1","user":{"id":true}}' }, /^field_invalid: .*\(\/user\/id\)/],
    [json, { value: `{"m":"${'x'.repeat(513)}"}` }, /^field_invalid: messageId has at most 512/],
    [json, { value: '{"at":"yesterday","m":2}' }, /^time_invalid: .*\(\/at\) \[2\]$/],
    [json, { value: '{"at":"2025-02-30T00:00:00Z"}' }, /^time_invalid/],
    [json, { value: '{"at":[1]}' }, /^time_invalid/],
    [json, { value: '{"at":1e300}' }, /^time_invalid/],
    [json, { value: '[1]' }, /^not_an_object/],
    [json, { value: '{"a":' }, /^unreadable/],
    [json, { value: frame(1, '{"a":1}') }, /^unreadable/],
    [json, { value: Buffer.from([0x7b, 0xff, 0x7d]) }, /^unreadable: .*UTF-8/],
    [json, { value: null }, /^tombstone/],
    [json, { value: '{"a":{"__proto__":1}}' }, /^key_forbidden: .*\(\/a\/__proto__\)/],
    [json, { value: '{"a":"\\ud800"}' }, /^string_invalid/],
    [json, { value: `{"a":${'['.repeat(64)}${']'.repeat(64)}}` }, /^too_deep/],
    [json, { value: `{"a":"${'x'.repeat(262_144)}"}` }, /^event_too_large/],
    [{ format: 'json', fields: { event: 'kind' } }, { value: '{"a":1}' }, /^field_missing: .*\(kind\)/],
    [{ format: 'json', event: 'E', fields: { userId: 'key' } }, { value: '{}', key: Buffer.from([0xc3, 0x28]) }, /^field_invalid: .*key/],
    [{ format: 'json', event: 'E', fields: { messageId: 'header:id' } }, { value: '{}', headers: { id: 'a\ufffd' } }, /^field_invalid: .*header id/],
    [{ format: 'avro', event: 'E' }, { value: '{"a":1}' }, /^unreadable: .*not framed/],
    [{ format: 'avro', event: 'E' }, { value: frame(9, 'x') }, /^schema_unknown/],
    [{ format: 'avro', event: 'E' }, { value: frame(1, 'x'), schemas: { 1: { ok: true, kind: 'json', text: '{}', references: [] } } }, /^schema_mismatch: .*JSON/],
    [{ format: 'avro', event: 'E' }, { value: frame(1, '\u0002'), schemas: { 1: { ok: true, kind: 'avro', text: '"long"' } } }, /^not_an_object/],
    [{ format: 'avro', event: 'E' }, { value: frame(1, 'x'), schemas: { 1: { ok: true, kind: 'avro', text: '{"type":"nonsense"}' } } }, /^schema_mismatch: not an Avro schema/],
  ];
  for (const [mapping, given, expected] of cases) assert.match(await refusal(mapping, given), expected);
});

test('Avro: ids that are longs, a timestamp of its own type, framed keys, NaN, a map with a hostile name', async () => {
  const text = JSON.stringify({
    type: 'record', name: 'Order', fields: [
      { name: 'id', type: 'long' }, { name: 'at', type: { type: 'long', logicalType: 'timestamp-micros' } }, { name: 'price', type: 'double' }, { name: 'tags', type: { type: 'map', values: 'int' } },
    ],
  });
  const schemas: Record<number, WriterSchema> = { 1: { ok: true, kind: 'avro', text }, 2: { ok: true, kind: 'avro', text: '{"type":"record","name":"Key","fields":[{"name":"user","type":"string"}]}' } };
  const encode = (value: object): Buffer => frame(1, avro.Type.forSchema(JSON.parse(text) as avro.Schema).toBuffer(value));
  const key = frame(2, avro.Type.forSchema({ type: 'record', name: 'Key', fields: [{ name: 'user', type: 'string' }] }).toBuffer({ user: 'ada' }));
  const mapping = { format: 'avro', event: 'E', fields: { messageId: 'id', timestamp: 'at', userId: 'key.user' } } as const;
  const { event } = await eventOf(mapping, { value: encode({ id: 42, at: 1_742_049_000_123_456, price: NaN, tags: { a: 1 } }), key, schemas });
  assert.deepEqual([event.messageId, event.timestampMs, event.userId, event.properties, event.violations, event.dialect], ['42', 1_742_049_000_123, 'ada', '{"price":"NaN","tags":{"a":1}}', ['not_a_number:/price'], 'avro']);
  assert.equal(event.raw, '{"id":42,"at":"2025-03-15T14:30:00.123456Z","price":"NaN","tags":{"a":1}}');
  const hostile = Buffer.concat([encode({ id: 42, at: 1, price: 1, tags: {} }).subarray(0, -1), Buffer.from([2, 18]), Buffer.from('__proto__'), Buffer.from([2, 0])]);
  assert.match(await refusal(mapping, { value: hostile, key, schemas }), /^key_forbidden: .*\(\/tags\/__proto__\)/);
});

test('JSON Schema: checked against it, in either draft; one that does not compile, or bites itself', async () => {
  const mapping = { format: 'json_schema', event: 'E', fields: { messageId: 'id' } } as const;
  const schema = (text: string, references: { name: string; text: string }[] = []): Record<number, WriterSchema> => ({ 1: { ok: true, kind: 'json', text, references } });
  const body = '{"type":"object","properties":{"id":{"type":"string"},"n":{"type":"integer","default":1,"minimum":0}},"required":["id"]}';
  for (const draft of ['http://json-schema.org/draft-07/schema#', 'https://json-schema.org/draft/2020-12/schema', 'https://json-schema.org/draft/2019-09/schema', 'http://json-schema.org/draft-04/schema#', '']) {
    const schemas = schema(draft === '' ? body : body.replace('{', `{"$schema":"${draft}",`));
    const { event } = await eventOf(mapping, { value: frame(1, '{"id":"a","big":12345678901234567890.10}'), schemas });
    assert.deepEqual([event.messageId, event.properties, event.dialect], ['a', '{"big":12345678901234567890.10}', 'json_schema']);
    assert.match(await refusal(mapping, { value: frame(1, '{"id":"a","n":-1}'), schemas }), /^schema_mismatch: \/n must be >= 0/);
    assert.match(await refusal(mapping, { value: frame(1, '{"n":1}'), schemas }), /^schema_mismatch: the value must have required property 'id'/);
  }
  assert.match(await refusal(mapping, { value: frame(1, '{}'), schemas: schema('{"type":"nonsense"}') }), /^schema_mismatch: its JSON Schema does not compile/);
  assert.match(await refusal(mapping, { value: frame(1, '{}'), schemas: schema('{"$ref":"https://elsewhere.example/x.json"}') }), /^schema_mismatch: its JSON Schema does not compile/);
  assert.match(await refusal(mapping, { value: frame(1, '{}'), schemas: schema('no json') }), /^schema_mismatch/);
  assert.match(await refusal(mapping, { value: frame(1, '{}'), schemas: schema('{"required":["toString"]}') }), /^schema_mismatch: .*toString/);
  const referring = schema('{"properties":{"id":{"$ref":"id.json"}}}', [{ name: 'id.json', text: '{"type":"string","maxLength":1}' }]);
  assert.match(await refusal(mapping, { value: frame(1, '{"id":"ab"}'), schemas: referring }), /^schema_mismatch: \/id/);
  assert.equal((await eventOf({ format: 'json_schema', shape: 'segment' }, { value: frame(1, '{"type":"page","messageId":"p"}'), schemas: schema('true') })).event.type, 'page');
});

test('an Avro schema that refers to others stands alone', () => {
  const money = '{"type":"record","name":"Money","namespace":"shared","fields":[{"name":"amount","type":"long"},{"name":"state","type":"shared.State"}]}';
  const text = '{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"net","type":"shared.Money"},{"name":"gross","type":["null","shared.Money"]}]}';
  const whole = inlineReferences(text, new Map([['shared.State', '{"type":"enum","name":"State","namespace":"shared","symbols":["A"]}'], ['shared.Money', money]]));
  const order = avro.Type.forSchema(JSON.parse(whole) as avro.Schema).fromBuffer(Buffer.from([14, 0, 2, 16, 0])) as object;
  assert.equal(JSON.stringify(order), '{"net":{"amount":7,"state":"A"},"gross":{"amount":8,"state":"A"}}');
});

test('a number of time says its unit by its size', () => {
  const cases: [string, number | null][] = [['1742049000', at], ['1742049000.123', at + 123], ['1742049000123', at + 123], ['1742049000123456', at + 123], ['1742049000123999999', at + 123], ['-1', -1_000], ['0', 0], ['1.742049e9', at], ['99999999999999999999999999', null], ['1e400', null]];
  for (const [text, ms] of cases) assert.equal(epochMs(text), ms, text);
});
