import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createJsonSchemas } from '../../src/contract/json-schema.ts';

const faultOf = (schema: object, value: unknown): string | null => createJsonSchemas().faultOf({ ok: true, kind: 'json', references: [], text: JSON.stringify(schema) }, value);

test('what does not fit is named; what fits is no fault', () => {
  const schema = { type: 'object', properties: { a: { type: 'string', pattern: '^a+$' }, b: { type: 'array', uniqueItems: true } } };
  assert.equal(faultOf(schema, { a: 'aaa', b: [1, 2] }), null);
  assert.match(faultOf(schema, { a: 'b' }) ?? '', /^\/a must match pattern/);
  assert.match(faultOf(schema, { b: [[1], [1]] }) ?? '', /^\/b must NOT have duplicate items/);
  assert.match(faultOf({ type: 'nonsense' }, {}) ?? '', /does not compile/);
});

test('a value that is made to keep a pattern or a comparison busy is a fault soon', () => {
  const began = performance.now();
  assert.match(faultOf({ properties: { a: { pattern: '^(a+)+$' } } }, { a: `${'a'.repeat(40)}!` }) ?? '', /takes too long/);
  assert.match(faultOf({ properties: { a: { uniqueItems: true } } }, { a: Array.from({ length: 30_000 }, (_, index) => [index]) }) ?? '', /takes too long/);
  assert.ok(performance.now() - began < 10_000);
});
