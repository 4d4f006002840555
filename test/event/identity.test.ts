import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { eventId, eventIdText, recordMessageId } from '../../src/event/identity.ts';

test('an event id is the first 128 bits of SHA-256(tenant, 0x00, message id)', () => {
  const expected = createHash('sha256').update(Buffer.from('acme\0m-1')).digest('hex').slice(0, 32);
  assert.equal(eventId('acme', 'm-1').replaceAll('-', ''), expected);
  assert.match(eventId('acme', 'm-1'), /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/);
  assert.equal(eventIdText(eventId('acme', 'm-1')), `evt_${expected}`);
});

test('tenants do not share ids', () => {
  assert.notEqual(eventId('a', 'b'), eventId('ab', ''));
  assert.notEqual(eventId('a', 'm'), eventId('b', 'm'));
});

test('a record without a message id is its own by place, time and value', () => {
  const place = { topic: 't', partition: 1, offset: 5n };
  const id = recordMessageId(place, 1000, Buffer.from('{}'));
  assert.equal(id, recordMessageId(place, 1000, Buffer.from('{}')));
  assert.notEqual(id, recordMessageId(place, 1001, Buffer.from('{}')));
  assert.notEqual(id, recordMessageId({ ...place, offset: 6n }, 1000, Buffer.from('{}')));
  assert.notEqual(id, recordMessageId(place, 1000, Buffer.from('{ }')));
});
