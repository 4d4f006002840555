import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import avro from 'avsc';
import { cursorOf, faultOfAvro, readLong } from '../../src/contract/avro-bytes.ts';
import { parseAvroSchema } from '../../src/contract/avro-schema.ts';
import { createEventAvro } from '../../src/contract/event-avro.ts';
import { cpuTimeMs } from '../helpers/cpu-time.ts';
import { packageRoot } from '../helpers/local.ts';

const codec = createEventAvro(join(packageRoot, 'schemas', 'events', 'event.v1.avsc'));
const schema = JSON.parse(codec.schemaText) as { fields: object[] };
const frame = Buffer.from([0, 0, 0, 0, 1]);
const event = {
  message_id: 'm', type: 'track', event: 'E', user_id: null, anonymous_id: null, previous_id: null, group_id: null, email: null, name: null, category: null, timestamp: 5, sent_at: null,
  received_at: null, properties: null, traits: null, context: null, integrations: null, write_key_id: null, violations: ['x'], raw: null,
};

function long(value: bigint): Buffer {
  let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n));
  const bytes: number[] = [];
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return Buffer.from([...bytes, Number(rest)]);
}

/** The writer's fields as ours, and before them one of its own, which a reader skips. */
const withExtra = (type: unknown): string => JSON.stringify({ ...schema, fields: [{ name: 'extra', type }, ...schema.fields] });
const whole = avro.Type.forSchema(schema as avro.Schema).toBuffer(event);
const untilViolations = whole.subarray(0, whole.length - 5);

const bombs: [string, string, Buffer][] = [
  ['violations: 2^60 items', codec.schemaText, Buffer.concat([untilViolations, long(2n ** 60n)])],
  ['violations: 100 million items', codec.schemaText, Buffer.concat([untilViolations, long(100_000_000n)])],
  ['violations: -2^60 items and a size', codec.schemaText, Buffer.concat([untilViolations, long(-(2n ** 60n)), long(4n), Buffer.from([0, 0, 0, 0])])],
  ['violations: a block of a size that lies', codec.schemaText, Buffer.concat([untilViolations, long(-1n), long(9n), long(1n), Buffer.from('x'), Buffer.from([0, 0])])],
  ['violations: a block that is larger than it says', codec.schemaText, Buffer.concat([untilViolations, long(-1n), long(1n), long(1n), Buffer.from('x'), Buffer.from([0, 0])])],
  ['message_id: 2^60 bytes', codec.schemaText, long(2n ** 60n)],
  ['message_id: -1 bytes', codec.schemaText, long(-1n)],
  ['message_id: an integer without end', codec.schemaText, Buffer.alloc(40, 0xff)],
  ['a skipped array of strings', withExtra({ type: 'array', items: 'string' }), long(2n ** 40n)],
  ['a skipped array of nulls', withExtra({ type: 'array', items: 'null' }), Buffer.concat([long(2n ** 60n), long(0n), whole])],
  ['a skipped array of empty records', withExtra({ type: 'array', items: { type: 'record', name: 'Empty', fields: [] } }), Buffer.concat([long(2n ** 60n), long(0n), whole])],
  ['a skipped array of empty fixed', withExtra({ type: 'array', items: { type: 'fixed', name: 'None', size: 0 } }), Buffer.concat([long(2n ** 60n), long(0n), whole])],
  ['a skipped map', withExtra({ type: 'map', values: 'null' }), long(2n ** 60n)],
  ['a skipped block that jumps back', withExtra({ type: 'array', items: 'int' }), Buffer.concat([long(-1n), long(-3n), whole])],
  ['a skipped array in an array', withExtra({ type: 'array', items: { type: 'array', items: 'null' } }), Buffer.concat([long(3n), long(2n ** 50n), long(0n), whole])],
  ['skipped bytes', withExtra('bytes'), long(2n ** 62n)],
  ['a skipped fixed', withExtra({ type: 'fixed', name: 'Huge', size: 2 ** 50 }), whole],
  ['a skipped union without such a branch', withExtra(['null', 'int']), long(2n ** 50n)],
  ['a skipped record that holds itself', withExtra({ type: 'record', name: 'Self', fields: [{ name: 'self', type: 'Self' }] }), whole],
  ['a skipped list that holds itself', withExtra({ type: 'record', name: 'Node', fields: [{ name: 'next', type: ['null', 'Node'] }] }), Buffer.alloc(100_000, 2)],
  ['a skipped record of 2^40 nulls', withExtra(Array.from({ length: 40 }).reduce((type: unknown, _none, level) => ({ type: 'record', name: `R${level}`, fields: [{ name: 'a', type }, { name: 'b', type: level === 0 ? 'null' : `R${level - 1}` }] }), 'null')), whole],
];

for (const [name, writer, payload] of bombs) {
  test(`refused at once: ${name}`, () => {
    codec.decode(Buffer.concat([frame, payload]), writer);
    const started = cpuTimeMs();
    const result = codec.decode(Buffer.concat([frame, payload]), writer);
    const elapsedMs = cpuTimeMs() - started;
    assert.equal(result.ok, false);
    assert.ok(elapsedMs < 100, `${elapsedMs} ms`);
  });
}

test('what is true passes: blocks with their size, nulls in an array, members that a reader skips', () => {
  const violations = Buffer.concat([long(-2n), long(4n), long(1n), Buffer.from('x'), long(1n), Buffer.from('y'), long(0n), long(0n)]);
  const sized = codec.decode(Buffer.concat([frame, untilViolations, violations]), codec.schemaText);
  assert.deepEqual(sized.ok && sized.part.violations, ['x', 'y']);
  const type = { type: 'record', name: 'Extra', fields: [{ name: '__proto__', type: { type: 'map', values: ['null', 'double'] } }, { name: 'nulls', type: { type: 'array', items: 'null' } }] };
  const writer = withExtra(type);
  const payload = avro.Type.forSchema({ type: 'record', name: 'Both', fields: [{ name: 'extra', type: { type: 'array', items: 'null' } }] }).toBuffer({ extra: Array(500).fill(null) });
  const map = Buffer.concat([long(1n), long(9n), Buffer.from('__proto__'), long(1n), Buffer.alloc(8), long(0n)]);
  const skipped = codec.decode(Buffer.concat([frame, map, payload, whole]), writer);
  assert.equal(skipped.ok && skipped.part.messageId, 'm');
});

test('a string that is no UTF-8 is refused, not mended', () => {
  const payload = Buffer.concat([long(2n), Buffer.from([0xc3, 0x28]), whole.subarray(2)]);
  assert.deepEqual(codec.decode(Buffer.concat([frame, payload]), codec.schemaText), { ok: false, detail: 'a string is not UTF-8' });
});

test('2,000 mutated values: each is a result, none takes long, and what avsc then reads is what was walked', () => {
  const extra = { type: 'record', name: 'Extra', fields: [{ name: 'list', type: { type: 'array', items: ['null', 'string', { type: 'map', values: 'long' }] } }, { name: 'kind', type: { type: 'enum', name: 'Kind', symbols: ['A', 'B'] } }, { name: 'nested', type: { type: 'array', items: { type: 'array', items: 'bytes' } } }] };
  const writer = withExtra(extra);
  const type = avro.Type.forSchema(JSON.parse(writer) as avro.Schema, { wrapUnions: true });
  const wrapped = Object.fromEntries(Object.entries(event).map(([name, value]) => [name, value !== null && name === 'event' ? { string: value } : value]));
  const seed = type.toBuffer({ ...wrapped, extra: { list: [null, { string: 'é'.repeat(50) }, { map: { a: 1, b: 2 ** 40 } }], kind: 'B', nested: [[Buffer.alloc(20, 7)], []] } });
  assert.equal(codec.decode(Buffer.concat([frame, seed]), writer).ok, true);
  let state = 20_250_315;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  let slowestMs = 0;
  let refused = 0;
  for (let round = 0; round < 2_000; round++) {
    let value = Buffer.from(seed);
    for (let change = random(4); change >= 0; change--) {
      const at = random(value.length);
      const choice = random(4);
      if (choice === 0) value[at] = random(256);
      else if (choice === 1) value = value.subarray(0, at);
      else if (choice === 2) value = Buffer.concat([value.subarray(0, at), long(BigInt(random(2 ** 31)) ** BigInt(1 + random(2)) * (random(2) === 0 ? 1n : -1n)), value.subarray(at)]);
      else value = Buffer.concat([value.subarray(0, at), Buffer.alloc(random(12), 0xff), value.subarray(at)]);
      if (value.length === 0) value = Buffer.from([0]);
    }
    const started = cpuTimeMs();
    const result = codec.decode(Buffer.concat([frame, value]), writer);
    slowestMs = Math.max(slowestMs, cpuTimeMs() - started);
    if (!result.ok) refused++;
  }
  assert.ok(refused > 1_000 && refused < 2_000, `${refused} refused`);
  assert.ok(slowestMs < 50, `${slowestMs} ms`);
});

test('longs keep every digit', () => {
  for (const value of [0n, -1n, 63n, -64n, 2n ** 31n, 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n)]) assert.equal(readLong(cursorOf(long(value))), value);
});

test('schemas: names, namespaces, recursion; what is no schema is a result', () => {
  const text = '{"type":"record","name":"a.R","fields":[{"name":"e","type":{"type":"enum","name":"E","symbols":["X"]}},{"name":"again","type":"E"},{"name":"full","type":"a.E"},{"name":"next","type":["null","R"]},{"name":"typed","type":{"type":"E"}}]}';
  const parsed = parseAvroSchema(text);
  assert.ok(parsed.ok);
  assert.equal(faultOfAvro(parsed.node, Buffer.from([0, 0, 0, 0, 0])), null);
  assert.equal(faultOfAvro(parsed.node, Buffer.from([0, 0, 0, 2, 0, 0, 0, 0, 0, 0])), null);
  assert.match(faultOfAvro(parsed.node, Buffer.from([2, 0, 0, 0, 0])) ?? '', /enum/);
  for (const faulty of ['{', '"nothing"', '{"type":"record","name":"R"}', '{"type":"fixed","name":"F"}', 'null', '{"type":"record","name":"R","fields":[{"name":"x","type":"S"}]}', '['.repeat(5_000) + ']'.repeat(5_000)]) {
    assert.equal(parseAvroSchema(faulty).ok, false, faulty.slice(0, 50));
  }
});
