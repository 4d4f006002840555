import assert from 'node:assert/strict';
import { test } from 'node:test';
import { elementSpans, findFault, isDeeperThan, memberSpans, smells } from '../../src/event/json-text.ts';

const slices = (text: string): Record<string, string> =>
  Object.fromEntries([...memberSpans(text, 0)].map(([name, [start, end]]) => [name, text.slice(start, end)]));

test('member spans are the exact texts of the members', () => {
  assert.deepEqual(slices('{"a":1,"b":"x"}'), { a: '1', b: '"x"' });
  assert.deepEqual(slices(' { "a" : 1.0e2 , "b" : [ 1 , {"c":"}"} ] } '), { a: '1.0e2', b: '[ 1 , {"c":"}"} ]' });
  assert.deepEqual(slices('{}'), {});
  assert.deepEqual(slices('{ }'), {});
  assert.deepEqual(slices('{"a":"\\\\","b":"\\"","c":"\\\\\\""}'), { a: '"\\\\"', b: '"\\""', c: '"\\\\\\""' });
  assert.deepEqual(slices('{"n":12345678901234567890123,"d":0.10000000000000000001}'), { n: '12345678901234567890123', d: '0.10000000000000000001' });
});

test('escaped names are read, and of duplicates the last wins, as in JSON.parse', () => {
  assert.deepEqual(slices('{"\\u0061":1}'), { a: '1' });
  assert.deepEqual(slices('{"a":1,"a":2}'), { a: '2' });
  assert.deepEqual(slices('{"a":1,"\\u0061":[3]}'), { a: '[3]' });
});

test('spans agree with JSON.parse on generated values', () => {
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return seed % below;
  };
  const strings = ['', 'a', '"', '\\', '\\"', '{', ']', ',', ':', '\n', 'é', '😀', '\u0000'];
  const value = (depth: number): unknown => {
    const kind = random(depth > 3 ? 4 : 6);
    if (kind === 0) return random(1000) / 8;
    if (kind === 1) return strings[random(strings.length)];
    if (kind === 2) return null;
    if (kind === 3) return random(2) === 0;
    if (kind === 4) return Array.from({ length: random(4) }, () => value(depth + 1));
    return Object.fromEntries(Array.from({ length: random(4) }, (_, index) => [`${strings[random(strings.length)]}${index}`, value(depth + 1)]));
  };
  for (let round = 0; round < 500; round++) {
    const object = { a: value(0), b: value(0), 'c"\\': value(0) };
    const text = JSON.stringify(object, null, random(3));
    assert.deepEqual(Object.fromEntries(Object.entries(slices(text)).map(([name, slice]) => [name, JSON.parse(slice) as unknown])), object);
    const list = [value(0), value(0), value(0)];
    const listText = JSON.stringify(list, null, random(3));
    assert.deepEqual(elementSpans(listText, 0).map(([start, end]) => JSON.parse(listText.slice(start, end)) as unknown), list);
  }
});

test('depth is counted outside of strings', () => {
  assert.equal(isDeeperThan('{"a":[{"b":1}]}', 3), false);
  assert.equal(isDeeperThan('{"a":[{"b":1}]}', 2), true);
  assert.equal(isDeeperThan('{"a":"[[[[{{{{\\"[["}', 1), false);
  assert.equal(isDeeperThan('['.repeat(65), 64), true);
});

test('what no event may hold is found, with its pointer', () => {
  const fault = (text: string): unknown => (smells(text) ? findFault(JSON.parse(text)) : 'no smell');
  assert.deepEqual(fault('{"a":{"b/c":["x","\\ud800"]}}'), { code: 'string_invalid', pointer: '/a/b~1c/1' });
  assert.deepEqual(fault('{"a":"\\uDE00"}'), { code: 'string_invalid', pointer: '/a' });
  assert.deepEqual(fault('{"\\ud83d":1}'), { code: 'string_invalid', pointer: '' });
  assert.deepEqual(fault('{"a":{"__proto__":{"x":1}}}'), { code: 'key_forbidden', pointer: '/a/__proto__' });
  // Each of its letters may be escaped, alone.
  for (let at = 0; at < 9; at++) {
    for (const hex of [(letter: string) => letter, (letter: string) => letter.toUpperCase()]) {
      const spelled = `${'__proto__'.slice(0, at)}\\u00${hex('__proto__'.charCodeAt(at).toString(16))}${'__proto__'.slice(at + 1)}`;
      assert.deepEqual(fault(`{"a":{"${spelled}":1}}`), { code: 'key_forbidden', pointer: '/a/__proto__' }, spelled);
    }
  }
  assert.equal(fault('{"a":"\\ud83d\\ude00 __proto__"}'), null);
  assert.equal(fault('{"a":"😀"}'), 'no smell');
});
