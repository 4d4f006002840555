import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import avro from 'avsc';
import { createEventAvro, framedSchemaId } from '../../src/contract/event-avro.ts';
import type { CanonicalEvent } from '../../src/event/canonical.ts';
import { packageRoot } from '../helpers/local.ts';

const schemaPath = join(packageRoot, 'schemas', 'events', 'event.v1.avsc');
const codec = createEventAvro(schemaPath);
const event: CanonicalEvent = {
  tenant: 'acme', dialect: 'segment', messageId: 'm', type: 'track', event: 'E', userId: 'u', anonymousId: null, previousId: null, groupId: null, email: null,
  name: null, category: null, timestampMs: 1_742_049_000_123, sentAtMs: null, receivedAtMs: 1_742_049_001_000, properties: '{"a":1.0}', traits: null,
  context: '{}', integrations: null, writeKeyId: 'web', violations: ['x'], raw: '{"é":"😀"}',
};

test('an event comes back as it went in; tenant and dialect travel as headers', () => {
  const value = codec.encode(event, 7);
  assert.equal(framedSchemaId(value), 7);
  const decoded = codec.decode(value, codec.schemaText);
  assert.deepEqual(decoded, { ok: true, part: { ...event, tenant: '', dialect: '' }, plain: { properties: null, traits: null, context: '{}', integrations: null } });
});

test('a value larger than the buffer at hand is whole, and values do not share bytes', () => {
  const big = { ...event, raw: 'x'.repeat(300_000) };
  const first = codec.encode(big, 7);
  const second = codec.encode(event, 8);
  const decoded = codec.decode(first, codec.schemaText);
  assert.equal(decoded.ok && decoded.part.raw?.length, 300_000);
  assert.equal(framedSchemaId(second), 8);
  assert.equal(framedSchemaId(first), 7);
});

test('an older schema without optional fields, and a newer one with more, are read', () => {
  const schema = JSON.parse(readFileSync(schemaPath, 'utf8')) as { fields: { name: string }[] };
  const required = new Set(['message_id', 'type', 'timestamp', 'user_id']);
  const older = { ...schema, fields: schema.fields.filter(({ name }) => required.has(name)) };
  const newer = { ...schema, fields: [...schema.fields, { name: 'shoe_size', type: 'int' }] };
  const frame = Buffer.from([0, 0, 0, 0, 1]);
  const oldValue = avro.Type.forSchema(older as avro.Schema).toBuffer({ message_id: 'm', type: 'page', timestamp: 5, user_id: 'u' });
  const fromOld = codec.decode(Buffer.concat([frame, oldValue]), JSON.stringify(older));
  assert.ok(fromOld.ok);
  assert.deepEqual([fromOld.part.userId, fromOld.part.receivedAtMs, fromOld.part.violations], ['u', null, []]);
  const newValue = avro.Type.forSchema(newer as avro.Schema).toBuffer({
    message_id: 'm', type: 'page', event: null, user_id: 'u', anonymous_id: null, previous_id: null, group_id: null, email: null, name: null, category: null, timestamp: 5, sent_at: null,
    received_at: 6, properties: null, traits: null, context: null, integrations: null, write_key_id: null, violations: [], raw: null, shoe_size: 43,
  });
  assert.equal(codec.decode(Buffer.concat([frame, newValue]), JSON.stringify(newer)).ok, true);
});

test('what does not fit is a result, not a fault', () => {
  const value = codec.encode(event, 7);
  assert.equal(codec.decode(value.subarray(0, 20), codec.schemaText).ok, false);
  assert.equal(codec.decode(Buffer.concat([value, Buffer.from([1])]), codec.schemaText).ok, false);
  assert.equal(codec.decode(value, '{"type":"record","name":"Other","fields":[{"name":"x","type":"int"}]}').ok, false);
  assert.equal(codec.decode(codec.encode({ ...event, properties: '[1]' }, 7), codec.schemaText).ok, false);
  assert.equal(codec.decode(codec.encode({ ...event, properties: '{"a":' }, 7), codec.schemaText).ok, false);
  assert.equal(codec.decode(codec.encode({ ...event, type: 'nonsense' as 'track' }, 7), codec.schemaText).ok, false);
  assert.equal(framedSchemaId(Buffer.from([0, 0, 0, 0, 1])), null);
  assert.equal(framedSchemaId(Buffer.from('{"a":1}')), null);
});
