import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import avro from 'avsc';
import fc from 'fast-check';
import { faultOfAvro } from '../../src/contract/avro-bytes.ts';
import { parseAvroSchema } from '../../src/contract/avro-schema.ts';
import { createEventAvro } from '../../src/contract/event-avro.ts';
import { readEventBytes } from '../../src/contract/event-bytes.ts';
import { packageRoot } from '../helpers/local.ts';

const { schemaText } = createEventAvro(join(packageRoot, 'schemas', 'events', 'event.v1.avsc'));
const type = avro.Type.forSchema(JSON.parse(schemaText) as avro.Schema);
const parsed = parseAvroSchema(schemaText);
assert.ok(parsed.ok);
const { node } = parsed;

const text = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 20 }), fc.constantFrom('', 'x'.repeat(100), '\ufffd', 'é'.repeat(40)));
const optional = fc.option(text, { freq: 2 });
const time = fc.oneof(fc.integer(), fc.constantFrom(0, -1, 1_750_000_000_000, 2 ** 47, 2 ** 48, 2 ** 52 + 1, -(2 ** 50)));
const event = fc.record({
  message_id: text, type: text, event: optional, user_id: optional, anonymous_id: optional, previous_id: optional, group_id: optional, email: optional, name: optional, category: optional,
  timestamp: time, sent_at: fc.option(time), received_at: fc.option(time), properties: optional, traits: optional, context: optional, integrations: optional, write_key_id: optional,
  violations: fc.array(text, { maxLength: 3 }), raw: optional,
});

test('what the schema has written is read as avsc reads it; times of another age are left to avsc', () => {
  fc.assert(fc.property(event, written => {
    const read = readEventBytes(type.toBuffer(written));
    const times = [written.timestamp, written.sent_at, written.received_at];
    if (times.every(ms => Math.abs(ms ?? 0) < 2 ** 47)) assert.deepEqual(read, { ...written });
    else if (read !== null) assert.deepEqual(read, { ...written });
    if (times.some(ms => Math.abs(ms ?? 0) >= 2 ** 49)) assert.equal(read, null);
  }), { numRuns: 1_000 });
});

test('of bytes that are spoilt nothing is read that the walk or avsc would not have', () => {
  let read = 0;
  fc.assert(fc.property(event, fc.array(fc.tuple(fc.nat(), fc.nat(255), fc.nat(2)), { minLength: 1, maxLength: 3 }), (written, changes) => {
    let bytes = type.toBuffer(written);
    for (const [seed, byte, kind] of changes) {
      const at = seed % bytes.length;
      bytes = kind === 0 ? Buffer.concat([bytes.subarray(0, at), Buffer.from([byte]), bytes.subarray(at + 1)]) : kind === 1 ? Buffer.concat([bytes.subarray(0, at), Buffer.from([byte]), bytes.subarray(at)]) : bytes.subarray(0, at + 1);
    }
    const found = readEventBytes(bytes);
    if (found === null) return;
    read++;
    assert.equal(faultOfAvro(node, bytes), null);
    assert.deepEqual(found, { ...(type.fromBuffer(bytes) as object) });
  }), { numRuns: 4_000 });
  assert.ok(read > 20, `${read} read`);
});

test('the same events in a block that says its size', () => {
  const written = { message_id: 'm', type: 'track', event: null, user_id: null, anonymous_id: null, previous_id: null, group_id: null, email: null, name: null, category: null, timestamp: 5, sent_at: null, received_at: null, properties: null, traits: null, context: null, integrations: null, write_key_id: null, violations: ['x', 'y'], raw: null };
  const bytes = type.toBuffer(written);
  // Two items, none after them, and null for raw.
  const plain = Buffer.from([4, 2, 0x78, 2, 0x79, 0, 0]);
  assert.deepEqual(bytes.subarray(-plain.length), plain);
  const until = bytes.subarray(0, -plain.length);
  assert.deepEqual(readEventBytes(Buffer.concat([until, Buffer.from([3, 8, 2, 0x78, 2, 0x79, 0, 0])]))?.violations, ['x', 'y']);
  for (const size of [0, 6, 10, 100]) assert.equal(readEventBytes(Buffer.concat([until, Buffer.from([3, size, 2, 0x78, 2, 0x79, 0, 0])])), null);
});
