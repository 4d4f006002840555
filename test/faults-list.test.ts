import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from './helpers/local.ts';

test('test/faults/README.md names tests that are there, for each fault from 1 to 28', () => {
  const page = readFileSync(join(packageRoot, 'test', 'faults', 'README.md'), 'utf8');
  const lines = [...page.matchAll(/^\| (\d+) \| .+? \| (.+) \|$/gm)].map(([, number, cell = '']) => ({ number: Number(number), tests: [...cell.matchAll(/`([\w/-]+)` “(.+?)”(?=<br>|$)/g)].map(([, file = '', name = '']) => ({ file, name })), cell }));
  assert.deepEqual(lines.slice(0, 28).map(({ number }) => number), Array.from({ length: 28 }, (_, index) => index + 1));
  for (const { number, tests, cell } of lines) {
    assert.equal(tests.length, cell === 'none yet' ? 0 : cell.split('<br>').length, `line ${number}`);
    for (const { file, name } of tests) {
      const path = join(packageRoot, 'test', `${file}.test.ts`);
      assert.ok(existsSync(path), `line ${number} names ${path}`);
      assert.ok(["'", '`', '"'].some(quote => readFileSync(path, 'utf8').includes(`test(${quote}${name}`)), `line ${number}: ${file} has no test “${name}”`);
    }
  }
});
