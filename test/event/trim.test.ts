import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseJson } from '../../src/contract/read-record.ts';
import { createBodyReader } from '../../src/door/body.ts';
import { canonicalJson } from '../../src/event/content.ts';
import { trimJson, trimOf } from '../../src/event/trim.ts';
import { profileAddress } from '../../src/sink/profile-links.ts';

test('only these characters, and only at the ends', () => {
  assert.equal(trimJson(' \t\r\n{ "a" : 1 }\n \t'), '{ "a" : 1 }');
  assert.deepEqual([trimJson(' \n '), trimJson(''), trimJson('\u00a0 1 \v')], ['', '', '\u00a0 1 \v']);
  assert.deepEqual([trimOf('0010200', '0'), trimOf('000', '0'), trimOf('7', '0')], ['102', '', '7']);
});

test('a long run of spaces or zeros within a text costs no more than its length', async () => {
  const run = 50_000;
  const started = performance.now();
  await createBodyReader()(Buffer.from(`{${' '.repeat(run)}}`), undefined);
  parseJson(Buffer.from(`{${' '.repeat(run)}}`));
  canonicalJson(`{"a":1${'0'.repeat(run)}1}`);
  profileAddress(`a${' '.repeat(run)}b`);
  assert.ok(performance.now() - started < 1_000);
});
