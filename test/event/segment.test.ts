import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CanonicalEvent } from '../../src/event/canonical.ts';
import { readSegmentEvent } from '../../src/event/segment.ts';
import type { SegmentSource } from '../../src/event/segment.ts';

const receivedAtMs = Date.parse('2025-03-15T14:30:00Z');
const source: SegmentSource = { tenant: 'acme', dialect: 'segment', writeKeyId: 'web', receivedAtMs, newMessageId: () => 'generated' };

const read = (text: string, more: Partial<SegmentSource> = {}): ReturnType<typeof readSegmentEvent> => readSegmentEvent(JSON.parse(text), text, { ...source, ...more });
const event = (text: string, more: Partial<SegmentSource> = {}): CanonicalEvent => {
  const result = read(text, more);
  if (!result.ok) assert.fail(JSON.stringify(result));
  return result.event;
};
const refusal = (text: string): [string, string] => {
  const result = read(text);
  if (result.ok) assert.fail(`accepted: ${text}`);
  return [result.code, result.pointer];
};

test('each of the six calls', () => {
  assert.equal(event('{"type":"track","userId":"u","event":"E"}').event, 'E');
  assert.equal(event('{"type":"identify","userId":"u","traits":{"a":1}}').traits, '{"a":1}');
  const page = event('{"type":"page","anonymousId":"a","name":"Pricing","category":"Marketing","properties":{"url":"x"}}');
  assert.deepEqual([page.name, page.category, page.properties, page.userId, page.anonymousId], ['Pricing', 'Marketing', '{"url":"x"}', null, 'a']);
  assert.equal(event('{"type":"screen","userId":"u"}').type, 'screen');
  assert.equal(event('{"type":"group","userId":"u","groupId":"g"}').groupId, 'g');
  assert.equal(event('{"type":"alias","userId":"u","previousId":"p"}').previousId, 'p');
});

test('the texts keep the digits and spelling that were sent', () => {
  const text = '{"type":"track","userId":"u","event":"E","properties": {"n":12345678901234567890, "d":4500.00}}';
  assert.equal(event(text).properties, '{"n":12345678901234567890, "d":4500.00}');
  assert.equal(event(text).raw, text);
});

test('ids: a number is its decimal text as sent, null and empty are absent, 512 characters at most', () => {
  assert.equal(event('{"type":"page","userId":12345678901234567890}').userId, '12345678901234567890');
  assert.equal(event('{"type":"page","userId":null,"anonymousId":"a"}').userId, null);
  assert.equal(event('{"type":"page","userId":"","anonymousId":"a"}').userId, null);
  assert.equal(event(`{"type":"page","userId":"${'x'.repeat(512)}"}`).userId?.length, 512);
  assert.deepEqual(refusal(`{"type":"page","userId":"${'x'.repeat(513)}"}`), ['field_invalid', '/userId']);
  assert.deepEqual(refusal('{"type":"page","userId":{}}'), ['field_invalid', '/userId']);
  assert.deepEqual(refusal('{"type":"page","userId":"u","messageId":""}'), ['field_invalid', '/messageId']);
  assert.deepEqual(refusal('{"type":"page","userId":true}'), ['field_invalid', '/userId']);
});

test('what is missing or of the wrong type is refused with its pointer', () => {
  const cases: [string, string, string][] = [
    ['[]', 'not_an_object', ''],
    ['"x"', 'not_an_object', ''],
    ['{}', 'field_missing', '/type'],
    ['{"type":"tracking","userId":"u"}', 'type_unknown', '/type'],
    ['{"type":1,"userId":"u"}', 'type_unknown', '/type'],
    ['{"type":"track","event":"E"}', 'field_missing', '/userId'],
    ['{"type":"track","userId":"u"}', 'field_missing', '/event'],
    ['{"type":"track","userId":"u","event":""}', 'field_missing', '/event'],
    ['{"type":"track","userId":"u","event":7}', 'field_invalid', '/event'],
    ['{"type":"group","userId":"u"}', 'field_missing', '/groupId'],
    ['{"type":"page","userId":"u","properties":[{}]}', 'field_invalid', '/properties'],
    ['{"type":"page","userId":"u","context":"x"}', 'field_invalid', '/context'],
    ['{"type":"page","userId":"u","integrations":1}', 'field_invalid', '/integrations'],
    ['{"type":"identify","userId":"u","traits":[1]}', 'field_invalid', '/traits'],
    ['{"type":"page","userId":"u","timestamp":"2025-02-30T00:00:00Z"}', 'time_invalid', '/timestamp'],
    ['{"type":"page","userId":"u","timestamp":"2025-03-15T10:00:00"}', 'time_invalid', '/timestamp'],
    ['{"type":"page","userId":"u","timestamp":1742049000}', 'time_invalid', '/timestamp'],
    ['{"type":"page","userId":"u","sentAt":"x"}', 'time_invalid', '/sentAt'],
    ['{"type":"page","userId":"u","properties":{"a":"\\ud800"}}', 'string_invalid', '/properties/a'],
    ['{"type":"page","userId":"u","properties":{"__proto__":{}}}', 'key_forbidden', '/properties/__proto__'],
    [`{"type":"page","userId":"u","properties":${'{"a":'.repeat(64)}1${'}'.repeat(64)}}`, 'too_deep', ''],
    [`{"type":"page","userId":"u","properties":{"a":"${'x'.repeat(262_144)}"}}`, 'event_too_large', ''],
    [`{"type":"page","userId":"u","properties":{"a":"${'é'.repeat(131_072)}"}}`, 'event_too_large', ''],
  ];
  for (const [text, code, pointer] of cases) assert.deepEqual(refusal(text), [code, pointer], text.slice(0, 80));
});

test('the message id is the sender’s, else a new one; a refusal names it', () => {
  assert.equal(event('{"type":"page","userId":"u","messageId":"m"}').messageId, 'm');
  assert.equal(event('{"type":"page","userId":"u"}').messageId, 'generated');
  const refused = read('{"type":"page","messageId":"m"}');
  assert.equal(refused.ok ? '' : refused.messageId, 'm');
});

test('a timestamp is kept, defaults to receipt, and is shifted where the client’s clock is wrong by over 5 minutes', () => {
  const at = (text: string): string => new Date(event(text).timestampMs).toISOString();
  assert.equal(at('{"type":"page","userId":"u"}'), '2025-03-15T14:30:00.000Z');
  assert.equal(at('{"type":"page","userId":"u","timestamp":"2020-01-01T00:00:00Z"}'), '2020-01-01T00:00:00.000Z');
  assert.equal(at('{"type":"page","userId":"u","timestamp":"2025-03-15T14:20:00Z","sentAt":"2025-03-15T14:26:00Z"}'), '2025-03-15T14:20:00.000Z');
  assert.equal(at('{"type":"page","userId":"u","timestamp":"2025-03-15T10:00:00Z","sentAt":"2025-03-15T10:30:00Z"}'), '2025-03-15T14:00:00.000Z');
  assert.equal(at('{"type":"page","userId":"u","timestamp":"2025-03-15T18:00:00Z","sentAt":"2025-03-15T18:30:00Z"}'), '2025-03-15T14:00:00.000Z');
});

test('RudderStack’s originalTimestamp is the time where there is no timestamp', () => {
  const at = (times: string): string => new Date(event(`{"type":"page","userId":"u",${times}}`).timestampMs).toISOString();
  assert.equal(at('"originalTimestamp":"2020-01-02T03:04:05.005678901Z"'), '2020-01-02T03:04:05.005Z');
  assert.equal(at('"timestamp":null,"originalTimestamp":"2020-01-02T03:04:05Z"'), '2020-01-02T03:04:05.000Z');
  assert.equal(at('"timestamp":"2021-01-01T00:00:00Z","originalTimestamp":"2020-01-02T03:04:05Z"'), '2021-01-01T00:00:00.000Z');
  assert.equal(at('"originalTimestamp":"2025-03-15T10:00:00Z","sentAt":"2025-03-15T10:30:00Z"'), '2025-03-15T14:00:00.000Z');
  for (const none of ['"yesterday"', '7', 'null']) assert.equal(at(`"originalTimestamp":${none}`), '2025-03-15T14:30:00.000Z');
});

test('an empty array is an empty object, as PHP writes it; the raw text stays', () => {
  const text = '{"type":"identify","userId":"u","traits":[],"properties":[],"integrations":[],"context":[]}';
  const { traits, properties, integrations, context, raw } = event(text, { defaults: { context: '{"a":1}', integrations: '{"All":false}', sentAt: null } });
  assert.deepEqual({ traits, properties, integrations, context, raw }, { traits: '{}', properties: '{}', integrations: '{}', context: '{}', raw: text });
});

test('traits of an identify may stand in its context', () => {
  assert.equal(event('{"type":"identify","userId":"u","context":{"traits":{"plan":"pro"}}}').traits, '{"plan":"pro"}');
  assert.equal(event('{"type":"identify","userId":"u","traits":{"a":1},"context":{"traits":{"plan":"pro"}}}').traits, '{"a":1}');
  assert.equal(event('{"type":"track","userId":"u","event":"E","context":{"traits":{"plan":"pro"}}}').traits, null);
});

test('ip and user agent are defaults of the context, a batch’s context the default of its events', () => {
  const seen = { ip: '203.0.113.9', userAgent: 'curl "8"' };
  assert.equal(event('{"type":"page","userId":"u"}', seen).context, '{"ip":"203.0.113.9","userAgent":"curl \\"8\\""}');
  assert.equal(event('{"type":"page","userId":"u","context":{}}', seen).context, '{"ip":"203.0.113.9","userAgent":"curl \\"8\\""}');
  assert.equal(event('{"type":"page","userId":"u","context":{ "ip":"1.1.1.1"}}', seen).context, '{"userAgent":"curl \\"8\\"", "ip":"1.1.1.1"}');
  const defaults = { context: '{"library":"x"}', integrations: '{"All":false}', sentAt: '2025-03-15T14:29:59Z' };
  const batched = event('{"type":"page","userId":"u"}', { defaults });
  assert.deepEqual([batched.context, batched.integrations, batched.sentAtMs], ['{"library":"x"}', '{"All":false}', receivedAtMs - 1000]);
});
