import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileContractSchema, faultsOfContractSchema } from '../../src/contract/contract-schema.ts';

const faults = (text: string): string[] => faultsOfContractSchema(text).map(({ line, message }) => `${line}: ${message}`);

test('every fault of a schema, by line and pointer', () => {
  assert.deepEqual(faults(`{
  "type": "objekt",
  "required": "total",
  "properties": {
    "a/b": { "minimum": "1" },
    "list": { "items": [ { "type": "string" } ] }
  }
}`), ['2: /type must be equal to one of the allowed values: array, boolean, integer, null, number, object, string', '2: /type must be array', '3: /required must be array', '5: /properties/a~1b/minimum must be number', '6: /properties/list/items must be object,boolean']);
  assert.deepEqual(faults(`{
  "requierd": ["a"],
  "x-owner": "shop",
  "properties": {
    "a": { "format": "e-mail" },
    "b": { "type": "string", "patern": "x" },
    "c": { "pattern": "^(?=x)" },
    "d": { "pattern": "(a)\\\\1" },
    "e": { "pattern": "(" }
  }
}`).map(fault => fault.replace(/: error parsing.*/, '')), [
    '2: "requierd" is no keyword of JSON Schema (a note of your own begins with x-)',
    '5: /properties/a has the format "e-mail", which is not known',
    '6: "patern" is no keyword of JSON Schema (a note of your own begins with x-)',
    '7: the pattern "^(?=x)" cannot be used',
    '8: the pattern "(a)\\\\1" cannot be used',
    '9: the pattern "(" cannot be used',
  ]);
});

test('nothing is fetched, drafts are two, and what is no schema says so', () => {
  assert.deepEqual(faults('{\n"properties": {"a": {"$ref": "https://example.com/a.json"}}}'), ['2: $ref "https://example.com/a.json" leads nowhere: a contract\'s schema stands alone, and nothing is fetched']);
  assert.match(faults('{"$ref": "#/$defs/none"}')[0] ?? '', /^1: \$ref "#\/\$defs\/none" leads nowhere/);
  assert.match(faults('{"$ref": "other.json"}')[0] ?? '', /^1: \$ref "other.json" leads nowhere/);
  assert.deepEqual(faults('{\n"$schema": "http://json-schema.org/draft-04/schema#"}'), ['2: /$schema is "http://json-schema.org/draft-04/schema#": a contract is JSON Schema 2020-12 or draft-07']);
  assert.deepEqual(faults('{"$async": true}'), ['1: /$async is not supported']);
  assert.deepEqual(faults('true'), ['1: is no JSON object']);
  assert.match(faults('{\n\n"a": }')[0] ?? '', /^3: is no JSON: /);
  assert.match(faults('{\n\n"a": 1')[0] ?? '', /^3: is no JSON: /);
});

test('sound schemas of both drafts have no fault, whatever their $id', () => {
  for (const $schema of [undefined, 'https://json-schema.org/draft/2020-12/schema', 'http://json-schema.org/draft-07/schema#', 'http://json-schema.org/draft-07/schema']) {
    const text = JSON.stringify({ $schema, $id: 'https://shop.example/order.json', title: 'Order', description: 'd', examples: [{}], type: 'object', properties: { a: { $ref: '#/definitions/x' }, x: { nullable: true, type: 'string' } }, definitions: { x: { $id: 'x.json', type: 'string', format: 'uri', pattern: '\\p{L}' } }, required: ['a'] });
    assert.deepEqual([faults(text), faults(text)], [[], []]);
    assert.equal(compileContractSchema(text, false)({ a: 'https://é' }), false);
    assert.equal(compileContractSchema(text, true)({ a: 'https://a.example' }), true);
  }
});

test('a schema that no value comes out of is a fault; two patterns for one property are none', () => {
  for (const schema of [{ $ref: '#' }, { allOf: [{ $ref: '#' }] }, { $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } }, $ref: '#/$defs/a' }]) assert.deepEqual(faults(JSON.stringify(schema)), ['1: leads into itself without end']);
  assert.deepEqual(faults('{"properties":{"next":{"$ref":"#"}}}'), []);
  assert.deepEqual(faults('{"properties":{"a1":{"type":"string"}},"patternProperties":{"^a":{"type":"string"}}}'), []);
});

test('a pattern says the same of a short text and of a long one, and what JavaScript says', () => {
  const characters = ['a', '0', '_', 'é', 'K', ' ', '\t', '\v', '\n', '\r', '\0', '\u0085', '\u00a0', '\u1680', '\u180e', '\u2000', '\u200a', '\u200b', '\u2028', '\u2029', '\u202f', '\u205f', '\u3000', '\ufeff', '😀', '[', '.', '\\'];
  for (const pattern of ['^\\s+$', '^\\S+$', '^.+$', '^[\\s]+$', '^[\\S]+$', '^[^\\s]+$', '^[^\\S]+$', '^[.\\s]+$', '^[\\w\\S]+$', '^\\w+$', '^\\W+$', '^\\.+$', '^[\\]\\s]+$', '^\\[+$', '^[^]+$', '^\\\\+$', '^\\ud83d\\ude00+$', '^\\p{L}+$']) {
    const validate = compileContractSchema(JSON.stringify({ pattern }), false);
    const own = new RegExp(pattern, 'u');
    for (const character of characters) for (const text of [character, character.repeat(70)]) assert.equal(validate(text), own.test(text), `${pattern} of ${text.length} ${JSON.stringify(character)}`);
  }
  // What is RE2's alone stays as it is there.
  assert.equal(compileContractSchema('{"pattern":"^(?s).$"}', false)('\n'), true);
});

test('every format answers in a time that grows with its text', () => {
  const formats = ['date', 'time', 'date-time', 'iso-time', 'iso-date-time', 'duration', 'uri', 'uri-reference', 'uri-template', 'url', 'email', 'hostname', 'ipv4', 'ipv6', 'regex', 'uuid', 'json-pointer', 'json-pointer-uri-fragment', 'relative-json-pointer', 'byte', 'password', 'binary'];
  const long = 100_000;
  const texts = ['a', 'a.', 'a-', '1', '1:', 'a@', '%41', '/', '{a}', '(a', 'A=', ':', '\u00fc', ' '].flatMap(unit => ['', 'x@', 'http://', 'P1'].map(head => `${head}${unit.repeat(long / unit.length)}!`));
  for (const format of formats) {
    const validate = compileContractSchema(JSON.stringify({ format }), false);
    for (const text of texts) {
      const began = performance.now();
      validate(text);
      assert.ok(performance.now() - began < 500, `${format} of ${text.slice(0, 20)}: ${performance.now() - began} ms`);
    }
  }
});
