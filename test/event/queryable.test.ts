import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeQueryable } from '../../src/event/queryable.ts';

test('what a JSON column can hold goes in as it is', () => {
  for (const text of [
    '{}', '{"a":1}', '{ "a" : [ 1, "x", null, {"b":1} ] }', '{"a":18446744073709551615,"b":-9223372036854775808}', '{"a":1.5e308,"b":1e-400,"c":-0}',
    '{"a":{"b":{"c":[[1],[2]]}},"b":{"a":1}}', '{"":1}', '{"a":"1e400 12345678901234567890123"}', '{"x":[{"b":1},{"b":2}]}', '{"s":"\\ud83d\\ude00"}',
  ]) assert.deepEqual(makeQueryable(text), { text, unfit: [] }, text);
});

test('members that it can not hold are left out and named', () => {
  const cases: [string, string, string[]][] = [
    ['{"a":12345678901234567890123,"b":1}', '{"b":1}', ['/a']],
    ['{"a":18446744073709551616,"b":-9223372036854775809}', '{}', ['/a', '/b']],
    ['{"a":1e400,"b":{"c":-1E+999,"d":2}}', '{"b":{"d":2}}', ['/a', '/b/c']],
    ['{"a":[1,12345678901234567890123],"b":[2]}', '{"b":[2]}', ['/a']],
    ['{"a":[{"x":[{"n":99999999999999999999}]}]}', '{}', ['/a']],
    ['{"a":{"b":1},"a.b":2}', '{"a":{"b":1}}', ['/a.b']],
    ['{"a.b":2,"a":{"b":1,"c":3}}', '{"a.b":2,"a":{"c":3}}', ['/a/b']],
    ['{"a":[{"b":{"c":1},"b.c":2}]}', '{}', ['/a']],
    ['{"a/b":1e999,"~":1e999}', '{}', ['/a~1b', '/~0']],
    ['{"a":"\\ud800","b":"\\ud83d\\ude00"}', '{"b":"\\ud83d\\ude00"}', ['/a']],
    [`{"a":${'[1,'.repeat(9)}1${']'.repeat(9)},"b":${'[1,'.repeat(8)}1${']'.repeat(8)}}`, `{"b":${'[1,'.repeat(8)}1${']'.repeat(8)}}`, ['/a']],
    [`{"a":${'[{"x":'.repeat(9)}1${'}]'.repeat(9)}}`, '{}', ['/a']],
    [`${'{"a":'.repeat(600)}1${'}'.repeat(600)}`, '{}', ['']],
  ];
  for (const [text, expected, unfit] of cases) assert.deepEqual(makeQueryable(text), { text: expected, unfit }, text.slice(0, 80));
});

test('a name given twice keeps its last value, at every level, and is no violation', () => {
  assert.deepEqual(makeQueryable('{"a":1,"b":2,"a":3}'), { text: '{"a":3,"b":2}', unfit: [] });
  assert.deepEqual(makeQueryable('{"a":{"b":1},"a":{"c":2}}'), { text: '{"a":{"c":2}}', unfit: [] });
  assert.deepEqual(makeQueryable('{"a":[{"b":1,"b":2},[{"c":1,"\\u0063":2}]]}'), { text: '{"a":[{"b":2},[{"c":2}]]}', unfit: [] });
});

test('a long name over many members is cut where the paths would grow past eight times the text', () => {
  const members = Array.from({ length: 400 }, (_, index) => `"${index}":1`).join();
  const short = `{"${'x'.repeat(20)}":{${members}}}`;
  assert.deepEqual(makeQueryable(short), { text: short, unfit: [] });
  const long = `{"first":1,"${'x'.repeat(2_000)}":{${members}}}`;
  const { text, unfit } = makeQueryable(long);
  assert.deepEqual(unfit, [`/${'x'.repeat(511)}…`]);
  assert.ok(text.startsWith('{"first":1,') && text.length < long.length);
  assert.ok(Object.keys((JSON.parse(text) as Record<string, object>)['x'.repeat(2_000)] ?? {}).length > 5);
});

test('the list of what was left out is bounded, whatever was sent', () => {
  const started = Date.now();
  const name = 'x'.repeat(60_000);
  for (const value of ['1', '1e999', '{"a":1e999}', '[1e999]']) {
    const { text, unfit } = makeQueryable(`{"${name}":{${Array.from({ length: 12_000 }, (_, index) => `"${index}":${value}`).join()}}}`);
    assert.ok(text.length < 300_000 && unfit.join('').length < 100_000);
  }
  assert.equal(makeQueryable(`{${Array.from({ length: 500 }, (_, index) => `"${index}":1e999`).join()}}`).unfit.length, 101);
  assert.ok(Date.now() - started < 5_000);
});

test('a number of two million digits costs no more than being read', () => {
  const started = performance.now();
  assert.deepEqual(makeQueryable(`{"a":${'9'.repeat(2_000_000)},"b":-${'9'.repeat(20)}}`), { text: '{}', unfit: ['/a', '/b'] });
  assert.ok(performance.now() - started < 1_000);
});
