import assert from 'node:assert/strict';
import { test } from 'node:test';
import avro from 'avsc';
import { avroToJson } from '../../src/contract/avro-json.ts';
import { parseAvroSchema } from '../../src/contract/avro-schema.ts';
import { cpuTimeMs } from '../helpers/cpu-time.ts';

/** A field of this type with these bytes, as JSON text. */
const textOf = (type: unknown, bytes: Buffer | readonly number[], maxCharacters = 10_000): string => {
  const parsed = parseAvroSchema(JSON.stringify(type));
  assert.ok(parsed.ok, parsed.ok ? '' : parsed.detail);
  const json = avroToJson(parsed.node, Buffer.from(bytes), maxCharacters);
  return json.ok ? json.text : `${json.code}: ${json.detail}`;
};

function long(value: bigint): Buffer {
  let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n));
  const bytes: number[] = [];
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return Buffer.from([...bytes, Number(rest)]);
}
const double = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return bytes;
};
const float = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
};

test('numbers keep their digits', () => {
  for (const value of [2n ** 63n - 1n, -(2n ** 63n), 9007199254740993n, 0n, -1n]) assert.equal(textOf('long', long(value)), String(value));
  assert.equal(textOf('int', long(-(2n ** 31n))), '-2147483648');
  assert.match(textOf('int', long(2n ** 31n)), /schema_mismatch: an int is larger/);
  for (const [value, text] of [[0.1, '0.1'], [5, '5.0'], [-0, '-0.0'], [1e21, '1e+21'], [1e-7, '1e-7'], [Number.MAX_VALUE, '1.7976931348623157e+308']] as const) assert.equal(textOf('double', double(value)), text);
  for (const [value, text] of [[0.1, '0.1'], [16777216, '16777216.0'], [3.4028234663852886e38, '3.4028235e+38'], [1 / 3, '0.33333334'], [5, '5.0']] as const) assert.equal(textOf('float', float(value)), text);
});

test('NaN and infinities are strings, and noted by place', () => {
  const parsed = parseAvroSchema('{"type":"record","name":"R","fields":[{"name":"a/b","type":{"type":"array","items":"double"}}]}');
  assert.ok(parsed.ok);
  const json = avroToJson(parsed.node, Buffer.concat([long(3n), double(NaN), double(1), double(-Infinity), long(0n)]), 1_000);
  assert.deepEqual(json, { ok: true, text: '{"a/b":["NaN",1.0,"-Infinity"]}', notNumbers: ['/a~1b/0', '/a~1b/2'] });
});

test('logical types', () => {
  const logical = (type: string | object, logicalType: string, rest: object = {}): unknown => ({ ...(typeof type === 'string' ? { type } : type), logicalType, ...rest });
  const fixed = (size: number): object => ({ type: 'fixed', name: 'F', size });
  const cases: [unknown, Buffer | number[], string][] = [
    [logical('bytes', 'decimal', { precision: 4, scale: 2 }), [4, 0x04, 0xe2], '12.50'],
    [logical('bytes', 'decimal', { precision: 4, scale: 2 }), [2, 0xff], '-0.01'],
    [logical('bytes', 'decimal', { precision: 4 }), [2, 0x80], '-128'],
    [logical(fixed(16), 'decimal', { precision: 38, scale: 10 }), Buffer.from('0000000000000000abcdef0123456789', 'hex'), '1237981373.8877118345'],
    [logical('bytes', 'decimal', { precision: 4, scale: 2 }), [0], 'schema_mismatch: a decimal has 1 to 128 bytes, not 0'],
    [logical('bytes', 'decimal', { precision: 4, scale: 5 }), [2, 0xff], '"/w=="'],
    [logical('bytes', 'decimal', { precision: 1e9, scale: 1e9 }), [2, 0xff], '"/w=="'],
    [logical('int', 'date'), long(20_162n), '"2025-03-15"'],
    [logical('int', 'date'), long(-719_162n), '"0001-01-01"'],
    [logical('int', 'date'), long(-719_163n), '-719163'],
    [logical('int', 'date'), long(2_932_896n), '"9999-12-31"'],
    [logical('int', 'time-millis'), long(52_200_123n), '"14:30:00.123"'],
    [logical('int', 'time-millis'), long(86_400_000n), '86400000'],
    [logical('long', 'time-micros'), long(52_200_123_456n), '"14:30:00.123456"'],
    [logical('long', 'timestamp-millis'), long(1_742_049_000_123n), '"2025-03-15T14:30:00.123Z"'],
    [logical('long', 'timestamp-micros'), long(1_742_049_000_123_456n), '"2025-03-15T14:30:00.123456Z"'],
    [logical('long', 'timestamp-nanos'), long(1_742_049_000_123_456_789n), '"2025-03-15T14:30:00.123456789Z"'],
    [logical('long', 'timestamp-micros'), long(-1n), '"1969-12-31T23:59:59.999999Z"'],
    [logical('long', 'timestamp-millis'), long(2n ** 62n), String(2n ** 62n)],
    [logical('long', 'local-timestamp-micros'), long(1_742_049_000_000_000n), '"2025-03-15T14:30:00.000000"'],
    [logical('string', 'uuid'), Buffer.concat([long(4n), Buffer.from('abcd')]), '"abcd"'],
    [logical(fixed(16), 'uuid'), Buffer.from('6ba7b8109dad11d180b400c04fd430c8', 'hex'), '"6ba7b810-9dad-11d1-80b4-00c04fd430c8"'],
    [logical(fixed(12), 'duration'), [1, 0, 0, 0, 2, 0, 0, 0, 0xbc, 0x0b, 0, 0], '"P1M2DT3.004S"'],
    [logical('int', 'made-up'), long(7n), '7'],
    [logical('string', 'date'), [0], '""'],
    [fixed(3), [0xff, 0xfe, 0x00], '"//4A"'],
  ];
  for (const [type, bytes, text] of cases) assert.equal(textOf(type, bytes), text, JSON.stringify(type));
});

test('records, unions, enums, maps and lists, as avsc writes them', () => {
  const schema = {
    type: 'record', name: 'Order', namespace: 'shop', fields: [
      { name: 'customer', type: { type: 'record', name: 'Customer', fields: [{ name: 'id', type: 'long' }, { name: 'name', type: ['null', 'string'] }] } },
      { name: 'state', type: { type: 'enum', name: 'State', symbols: ['NEW', 'PAID'] } },
      { name: 'tags', type: { type: 'map', values: ['null', 'int', 'Customer'] } },
      { name: 'lines', type: { type: 'array', items: 'Customer' } },
      { name: 'nothing', type: 'null' },
    ],
  };
  const value = avro.Type.forSchema(schema as avro.Schema, { wrapUnions: true }).toBuffer({
    customer: { id: 7, name: { string: 'Ada "é" 😀' } }, state: 'PAID', tags: { __proto__x: { int: 1 }, none: null, who: { 'shop.Customer': { id: 8, name: null } } }, lines: [{ id: 1, name: null }], nothing: null,
  });
  const text = textOf(schema, value);
  assert.equal(text, '{"customer":{"id":7,"name":"Ada \\"é\\" 😀"},"state":"PAID","tags":{"__proto__x":1,"none":null,"who":{"id":8,"name":null}},"lines":[{"id":1,"name":null}],"nothing":null}');
});

test('what grows beyond an event is refused early: long names over items that have no bytes', () => {
  const type = { type: 'array', items: { type: 'record', name: 'R', fields: [{ name: 'x'.repeat(1_000), type: 'null' }] } };
  const started = cpuTimeMs();
  assert.match(textOf(type, Buffer.concat([long(40_000n), long(0n)]), 262_144), /^event_too_large: .* \(\/259\/x+…\)$/);
  assert.ok(cpuTimeMs() - started < 100);
  assert.match(textOf({ type: 'array', items: 'null' }, Buffer.concat([long(2n ** 60n), long(0n)]), 1e9), /^schema_mismatch: it claims more items/);
  const deep = { type: 'record', name: 'Node', fields: [{ name: 'n', type: ['null', 'Node'] }] };
  assert.match(textOf(deep, Buffer.concat([Buffer.alloc(100, 2), Buffer.from([0])])), /^too_deep/);
});

test('2,000 mutated values of every kind: each is JSON or a result, none takes long', () => {
  const schema = {
    type: 'record', name: 'All', fields: [
      { name: 'a', type: { type: 'array', items: ['null', 'long', { type: 'map', values: { type: 'bytes', logicalType: 'decimal', precision: 30, scale: 9 } }] } },
      { name: 'b', type: { type: 'array', items: { type: 'record', name: 'Empty', fields: [] } } },
      { name: 'c', type: { type: 'long', logicalType: 'timestamp-micros' } }, { name: 'd', type: 'double' }, { name: 'e', type: 'string' }, { name: 'f', type: { type: 'int', logicalType: 'date' } },
      { name: 'g', type: { type: 'enum', name: 'E', symbols: ['X', 'Y'] } }, { name: 'h', type: { type: 'fixed', name: 'D', size: 12, logicalType: 'duration' } }, { name: 'i', type: ['null', 'All'] },
    ],
  };
  const flat = { a: [null, { long: 5 }, { map: { k: Buffer.alloc(20, 9) } }], b: [{}, {}], c: 1e15, d: 1.5, e: 'é'.repeat(30), f: 9, g: 'Y', h: Buffer.alloc(12, 1), i: null };
  const seed = avro.Type.forSchema(schema as avro.Schema, { wrapUnions: true }).toBuffer({ ...flat, i: { All: flat } });
  const parsed = parseAvroSchema(JSON.stringify(schema));
  assert.ok(parsed.ok);
  let state = 42;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  let slowestMs = 0;
  let read = 0;
  for (let round = 0; round < 2_000; round++) {
    let value = Buffer.from(seed);
    for (let change = random(3); change >= 0; change--) {
      const at = random(value.length);
      if (random(3) > 0) value[at] = random(256);
      else value = Buffer.concat([value.subarray(0, at), long(BigInt(random(2 ** 31)) * BigInt(random(2 ** 31)) * (random(2) === 0 ? 1n : -1n)), value.subarray(at)]);
    }
    const started = cpuTimeMs();
    const json = avroToJson(parsed.node, value, 262_144);
    slowestMs = Math.max(slowestMs, cpuTimeMs() - started);
    if (json.ok) {
      read++;
      JSON.parse(json.text);
    }
  }
  assert.ok(read > 100 && read < 1_900, `${read} read`);
  assert.ok(slowestMs < 50, `${slowestMs} ms`);
});
