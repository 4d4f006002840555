import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicalJson, contentHash, plainTexts, scannedContentHash } from '../../src/event/content.ts';
import { spellPlain } from '../../src/event/plain-json.ts';
import { makeQueryable } from '../../src/event/queryable.ts';

/* What a scan says of a text must be what those say who look closer. */

function agree(text: string): void {
  const spelled = spellPlain(text);
  if (spelled === null) return;
  const value: unknown = JSON.parse(text);
  assert.ok(typeof value === 'object' && value !== null && !Array.isArray(value), text);
  assert.equal(spelled, canonicalJson(text), text);
  assert.deepEqual(makeQueryable(text), { text, unfit: [] });
}

test('plain texts, and how they are spelled', () => {
  const cases: [string, string][] = [
    ['{}', '{}'],
    ['{"a":1,"b":"x","c":[],"d":{},"e":null,"f":true,"g":false}', '{"a":1,"b":"x","c":[],"d":{},"e":null,"f":true,"g":false}'],
    ['{"b":1,"a":{"z":[{"y":1,"x":[2,{"c":1,"b":0}]},3],"k":-2}}', '{"a":{"k":-2,"z":[{"x":[2,{"b":0,"c":1}],"y":1},3]},"b":1}'],
    ['{"a":[1,{"a":1},{"b":1,"a":2},4]}', '{"a":[1,{"a":1},{"a":2,"b":1},4]}'],
    ['{"é":"ü, {}","a":"€"}', '{"a":"€","é":"ü, {}"}'],
    ['{"n":0,"m":0.00001,"l":-1.5,"k":123456789012345,"j":1234567.12345678}', '{"j":1234567.12345678,"k":123456789012345,"l":-1.5,"m":0.00001,"n":0}'],
  ];
  for (const [text, spelled] of cases) {
    assert.equal(spellPlain(text), spelled);
    agree(text);
  }
});

test('what is odd', () => {
  const nested = (levels: number, open: string, close: string): string => `{"a":${open.repeat(levels)}1${close.repeat(levels)}}`;
  for (const text of [
    '', '[]', '1', '"a"', '{', '{}x', '{"a"}', '{"a":}', '{"a":1,}', '{,}', '{"a":1 }', ' {}', '{"a":1}\n', '{"a":1,"a":2}', '{"b":1,"a":2,"a":3}', '{"":1}', '{"a.b":1}', '{"1":1}', '{"a":"\\n"}', '{"\\u0061":1}', '{"a":"\n"}', '{"a":"\ud83d"}',
    '{"a":01}', '{"a":-0}', '{"a":-}', '{"a":1.}', '{"a":.5}', '{"a":1.0}', '{"a":1e3}', '{"a":0.000001}', '{"a":+1}', '{"a":1234567890123456}', '{"a":12345678.12345678}', '{"a":0.00}', '{"a":tru}', '{"a":nul', '{"a":[1,]}', '{"a":[1', '{"a":[}', '{"a":"b', "{'a':1}",
    nested(9, '[', ']'), nested(40, '{"a":', '}'), `{${Array.from({ length: 201 }, (_, index) => `"n${index}":1`).join()}}`, `{"${'n'.repeat(2_000)}":{${Array.from({ length: 150 }, (_, index) => `"n${index}":{"a":1}`).join()}}}`,
  ]) assert.equal(spellPlain(text), null, text.slice(0, 60));
});

test('any text: what is called plain is valid, fits the column, and is spelled as others spell it', () => {
  const name = fc.oneof(fc.constantFrom('a', 'b', 'c', 'a.b', '', '1', '__proto__', 'constructor', 'é'), fc.string({ maxLength: 4 }));
  const { value } = fc.letrec(tie => ({
    value: fc.oneof({ depthSize: 'small' }, fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.nat(9_999).map(cents => cents / 100), fc.string({ unit: 'binary', maxLength: 6 }), fc.constantFrom(null, true, false, 'x', '9'.repeat(20)), fc.array(tie('value'), { maxLength: 3 }), tie('object')),
    object: fc.array(fc.tuple(name, tie('value')), { maxLength: 5 }).map(members => Object.fromEntries(members)),
  }));
  const object = fc.array(fc.tuple(name, value), { maxLength: 6 }).map(members => JSON.stringify(Object.fromEntries(members)));
  let plain = 0;
  fc.assert(fc.property(object, text => {
    if (spellPlain(text) !== null) plain++;
    agree(text);
  }), { numRuns: 3_000 });
  assert.ok(plain > 300, `${plain} plain texts`);
  // Spoilt: a character taken away, doubled, or another in its place.
  fc.assert(fc.property(object, fc.nat(), fc.constantFrom('', '"', ',', ':', '0', '.', '-', '{', '}', '[', ']', 'a', 'e', '\\', ' '), fc.boolean(), (text, seed, other, isPut) => {
    const at = seed % text.length;
    agree(text.slice(0, at) + other + text.slice(isPut ? at : at + 1));
  }), { numRuns: 6_000 });
});

test('a content hash is the same, whether the texts were scanned or are odd', () => {
  const event = {
    tenant: 't', dialect: 'avro', messageId: 'm', type: 'track' as const, event: 'E', userId: 'u', anonymousId: null, previousId: null, groupId: null, email: null, name: null, category: null,
    timestampMs: 1, sentAtMs: null, receivedAtMs: 2, writeKeyId: null, violations: [], raw: null,
    properties: '{"b":1,"a":[{"d":1,"c":2}]}', traits: '{}', context: '{"userAgent":"x","os":{"version":"1","name":"n"},"ip":"::1"}', integrations: null,
  };
  const hash = contentHash(event);
  assert.equal(scannedContentHash(event, { properties: null, traits: null, context: null, integrations: null }), hash);
  assert.equal(contentHash({ ...event, properties: event.properties.replace('{', '{ '), context: event.context.replace('{', '{ '), traits: '{ }' }), hash);
  assert.equal(plainTexts(event).context, '{"os":{"name":"n","version":"1"}}');
  assert.equal(plainTexts({ ...event, context: '{"ip":"::1"}' }).context, '{}');
  assert.notEqual(contentHash({ ...event, context: '{"os":{"version":"1","name":"n","ip":"::1"},"ip":"::1"}' }), hash, 'only the outermost are added by the door');
});
