import assert from 'node:assert/strict';
import { test } from 'node:test';
import { batchSpans, elementSpans, findFault, isDeeperThan, memberSpans, nesting, objectSpans, smells } from '../../src/event/json-text.ts';

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

    const raw = objectSpans(`  ${text} `, 2);
    assert.equal(raw.end, 2 + text.length);
    assert.deepEqual([...raw.spans].map(([name, [start, end]]) => [name, text.slice(start, end)]), Object.entries(slices(text)).filter(([, slice]) => /^[[{\d-]/.test(slice)));
    const batch = JSON.stringify({ before: value(0), list, after: value(0) }, null, random(3));
    const { members, elements } = batchSpans(batch, 'list', 3);
    assert.deepEqual(members, memberSpans(batch, 0));
    assert.deepEqual(elements.map(element => JSON.parse(element.text) as unknown), list);
    for (const element of elements) assert.deepEqual(element.spans, element.text.startsWith('{') ? objectSpans(element.text, 0).spans : null);
  }
});

test('a batch: of duplicate members the last is meant; too many elements, or too many members of one, are not kept', () => {
  const texts = (text: string, most = 2): string[] => batchSpans(text, 'batch', most).elements.map(element => element.text);
  assert.deepEqual(texts(' { "batch" : [ 1 , {"a":[2]} ] , "b" : 3 } '), ['1', '{"a":[2]}']);
  assert.deepEqual(texts('{"batch":[1],"b\\u0061tch":[2]}'), ['2']);
  assert.deepEqual(texts('{"batch":[1],"batch":{}}'), []);
  assert.deepEqual(texts('{"batch":[1,2,3],"batch":[4]}'), ['4']);
  assert.deepEqual(texts('{"batch":[1,2,3]}'), []);
  const wide = (count: number): string => JSON.stringify(Object.fromEntries(Array.from({ length: count }, (_, n) => [`m${n}`, n])));
  const [fits, over] = batchSpans(`{"batch":[${wide(32)},${wide(33)}]}`, 'batch', 2).elements;
  assert.deepEqual([fits?.spans?.size, over?.spans], [32, null]);
});

test('depth is counted outside of strings', () => {
  for (const [text, depth] of [['7', 0], ['{"a":[{"b":1}],"c":{}}', 3], ['{"a":"\\\\","b":[1]}', 2], ['{"a":"\\"[[","b":1}', 1], ['"[[[', 0], ['[][[]][]', 2], ['[[[[', 4]] as const) assert.equal(nesting(text, 9), depth, text);
  assert.equal(nesting('[[[[[[', 3), 4);
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
  assert.deepEqual(fault('{"a":{"\\u005f_proto__":1}}'), { code: 'key_forbidden', pointer: '/a/__proto__' });
  // Any letter of it may be an escape.
  for (const at of [0, 1, 2, 3, 4, 5, 6, 7, 8]) {
    for (const hex of ['__proto__'.charCodeAt(at).toString(16).padStart(4, '0'), '__proto__'.charCodeAt(at).toString(16).padStart(4, '0').toUpperCase()]) {
      assert.deepEqual(fault(`{"a":{"${'__proto__'.slice(0, at)}\\u${hex}${'__proto__'.slice(at + 1)}":1}}`), { code: 'key_forbidden', pointer: '/a/__proto__' }, `${at} ${hex}`);
    }
  }
  assert.equal(fault('{"a":"\\ud83d\\ude00 __proto__"}'), null);
  assert.equal(fault('{"a":"😀"}'), 'no smell');
});
