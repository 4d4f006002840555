import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CanonicalEvent } from '../../src/event/canonical.ts';
import { canonicalJson, contentHash } from '../../src/event/content.ts';
import { readSegmentEvent } from '../../src/event/segment.ts';

const read = (text: string, more: { receivedAtMs?: number; ip?: string; userAgent?: string } = {}): CanonicalEvent => {
  const result = readSegmentEvent(JSON.parse(text), text, { tenant: 't', dialect: 'segment', writeKeyId: 'k', receivedAtMs: 1_000_000, newMessageId: () => 'generated', ...more });
  assert.ok(result.ok, JSON.stringify(result));
  return result.event;
};

test('the same value has one spelling', () => {
  const same = [
    ['{"b":1,"a":{"d":null,"c":[1,{"y":2,"x":1}]}}', ' { "a" : {"c":[ 1 , {"x":1,"y":2} ],"d":null }, "b":1}\n'],
    ['["\\u0061\\/é","a"]', '["a/\\u00e9","a"]'],
    ['[1.50,100,-0.0,0.001]', '[1.5,1e2,-0,1e-3]'],
    ['[1.0000000000000000,1e25,120e-2]', '[1,10000000000000000000000000,1.2]'],
    ['{"a":1,"a":2}', '{"a":2}'],
    ['{"\\u0061":true}', '{"a":true}'],
    ['{"10":1,"9":2,"b":"\\u0062"}', '{"b":"b","9":2,"10":1}'],
    ['{"__proto__":1,"a":"\\u0062"}', '{"a":"b","__proto__":1}'],
  ] as const;
  for (const [a, b] of same) assert.equal(canonicalJson(a), canonicalJson(b));
  const other = [
    ['[1,2]', '[2,1]'],
    ['9007199254740993', '9007199254740992'],
    ['0.10000000000000000001', '0.1'],
    ['1e400', '1e401'],
    ['"1"', '1'],
    ['[[1],2]', '[[1,2]]'],
    ['{"a":[]}', '{"a":{}}'],
  ] as const;
  for (const [a, b] of other) assert.notEqual(canonicalJson(a), canonicalJson(b));
  assert.equal(canonicalJson('12345678901234567890.10'), '12345678901234567890.10');
});

test('a retry says the same: other sentAt, receipt, address, user agent, order of keys', () => {
  const event = '{"type":"track","messageId":"m","userId":"u","event":"E","timestamp":"2025-01-01T00:00:00.000Z","properties":{"a":1,"b":2},"sentAt":"2025-01-01T00:00:01Z"}';
  const again = '{"sentAt":"2025-01-01T00:09:01Z","messageId":"m","type":"track","properties":{"b":2,"a":1.0},"event":"E","userId":"u","timestamp":"2025-01-01T01:00:00.000+01:00","context":{}}';
  const first = contentHash(read(event, { receivedAtMs: Date.parse('2025-01-01T00:00:01Z') }));
  assert.match(first, /^\d{1,20}$/);
  assert.equal(contentHash(read(again, { receivedAtMs: Date.parse('2025-01-01T02:00:00Z'), ip: '::1', userAgent: 'curl' })), first);
});

test('a time that was not sent says nothing; one that was, does', () => {
  const event = '{"type":"track","messageId":"m","userId":"u","event":"E"}';
  assert.equal(contentHash(read(event, { receivedAtMs: 1 })), contentHash(read(event, { receivedAtMs: 2 })));
  const timed = (time: string): string => contentHash(read(`{"type":"track","messageId":"m","userId":"u","event":"E","timestamp":"${time}"}`));
  assert.notEqual(timed('2025-01-01T00:00:00Z'), timed('2025-01-01T00:00:00.001Z'));
  assert.notEqual(timed('2025-01-01T00:00:00Z'), contentHash(read(event)));
});

test('the time that RudderStack’s SDKs send counts as sent, also where the client’s clock was corrected', () => {
  const at = (more: string, receivedAtMs: number): string => contentHash(read(`{"type":"track","messageId":"m","userId":"u","event":"E"${more}}`, { receivedAtMs }));
  const received = Date.parse('2025-01-02T00:00:00Z');
  const sent = '"originalTimestamp":"2025-01-01T00:00:00Z"';
  assert.equal(at(`,${sent},"sentAt":"2025-01-01T00:00:01Z"`, received), at(`,"sentAt":"2025-01-01T09:00:01Z",${sent}`, received + 60_000));
  assert.equal(at(`,${sent}`, received), at(',"timestamp":"2025-01-01T00:00:00Z"', received));
  assert.notEqual(at(`,${sent},"sentAt":"2025-01-01T00:00:01Z"`, received), at('', received));
});

test('a number that is called timestamp and is not the event’s time does not make a retry a conflict', () => {
  const foreign = (receivedAtMs: number): CanonicalEvent => ({ ...read('{"type":"track","messageId":"m","userId":"u","event":"E"}', { receivedAtMs }), dialect: 'json', raw: '{"id":1,"timestamp":77}' });
  assert.equal(contentHash(foreign(1)), contentHash(foreign(2)));
});

test('the same event as Avro, without raw text, and as JSON', () => {
  const json = read('{"type":"track","messageId":"m","userId":"u","event":"E","timestamp":"2025-01-01T00:00:00Z","properties":{"n":1.0}}', { ip: '::1' });
  assert.equal(contentHash({ ...json, raw: null, dialect: 'avro', context: null, integrations: '{}', properties: '{ "n": 1 }' }), contentHash(json));
});

test('each field counts', () => {
  const base = read('{"type":"track","messageId":"m","userId":"u","event":"E"}');
  const changes: Partial<CanonicalEvent>[] = [
    { type: 'page' }, { event: 'F' }, { userId: 'v' }, { userId: null, anonymousId: 'u' }, { anonymousId: 'a' }, { previousId: 'p' }, { groupId: 'g' }, { email: 'e' }, { name: 'n' }, { category: 'c' },
    { properties: '{"a":1}' }, { traits: '{"a":1}' }, { context: '{"a":1}' }, { integrations: '{"a":1}' },
  ];
  const hashes = new Set([base, ...changes.map(change => ({ ...base, ...change }))].map(contentHash));
  assert.equal(hashes.size, changes.length + 1);
  // What says where, by whom and when it came does not.
  assert.equal(contentHash({ ...base, tenant: 'x', messageId: 'y', writeKeyId: 'z', sentAtMs: 5, receivedAtMs: 7, timestampMs: 7, violations: ['v'] }), contentHash(base));
});
