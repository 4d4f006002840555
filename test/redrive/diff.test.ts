import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diffLines, diffPayloads, printable, textLines } from '../../src/redrive/diff.ts';

const diff = (before: string, after: string): string[] => diffPayloads(Buffer.from(before), Buffer.from(after));

test('JSON is compared member by member, with its digits as they are', () => {
  assert.deepEqual(textLines(Buffer.from('{"a": [1, 12345678901234567890.10,{}],"b":"x, {\\"y\\"}","c":[]}')), [
    '{', '  "a": [', '    1,', '    12345678901234567890.10,', '    {}', '  ],', '  "b": "x, {\\"y\\"}",', '  "c": []', '}',
  ]);
  assert.deepEqual(diff('{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}', '{"a":1,"b":2,"c":3,"d":4,"e":50,"f":6}'), ['  …', '    "c": 3,', '    "d": 4,', '-   "e": 5,', '+   "e": 50,', '    "f": 6', '  }']);
  assert.deepEqual(diff('{"a":1}', '{"a":1}'), []);
});

test('white space alone, bytes that are no text, and text that is no JSON', () => {
  assert.match(diff('{"a":1}', '{"a": 1}').join('\n'), /^- 00000000 {2}7b 22 61 22 3a 31 7d .*\n\+ 00000000 {2}7b 22 61 22 3a 20 31 7d/);
  const before = Buffer.alloc(5_000, 0xff);
  const after = Buffer.from(before);
  after[4_000] = 0;
  const lines = diffPayloads(before, after);
  assert.equal(lines.filter(line => line.startsWith('-')).length, 1);
  assert.match(lines.find(line => line.startsWith('+')) ?? '', /^\+ 00000fa0 {2}00 ff/);
  assert.deepEqual(diff('{"a":', '{"a":1}'), ['- {"a":', '+ {', '+   "a": 1', '+ }']);
});

test('lines: insertions and deletions in the middle, and no pairing of thousands of lines', () => {
  assert.deepEqual(diffLines(['a', 'b', 'c'], ['a', 'x', 'b', 'c']), ['  a', '+ x', '  b', '  c']);
  const many = Array.from({ length: 20_000 }, (_, index) => `line ${index}`);
  const started = Date.now();
  const lines = diffLines(many, many.map(line => `${line}!`));
  assert.equal(lines.length, 61);
  assert.match(lines.at(-1) ?? '', /and 39940 more lines/);
  assert.ok(Date.now() - started < 5_000);
});

test('what a stranger sent does not steer the terminal', () => {
  assert.equal(printable('a\u001b[2J\r\u009b\u202eb'), 'a\\x1b[2J\\x0d\\x9b\\x202eb');
  assert.ok(diff('{"a":1}', 'x\u001b]0;title\u0007').every(line => !line.includes('\u001b') && !line.includes('\u0007')));
  assert.ok((diff('"a"', JSON.stringify('x'.repeat(10_000)))[1] ?? '').length < 300);
});
