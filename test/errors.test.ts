import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { MillraceError, asError, catalogue } from '../src/errors.ts';
import { packageRoot } from './helpers/local.ts';

test('docs/errors.md lists the catalogue, both ways', () => {
  const page = readFileSync(join(packageRoot, 'docs', 'errors.md'), 'utf8');
  const rows = [...page.matchAll(/^\| `(\w+)` \| (\S+) \| (yes|no) \| (.+) \|$/gm)].map(([, code, status, again, meaning]) => [code, status, again, meaning]);
  const expected = Object.entries(catalogue).map(([code, { status, retryable, meaning }]) => [code, status === null ? '–' : String(status), retryable ? 'yes' : 'no', meaning]);
  assert.deepEqual(rows, expected);
});

test('every code is used somewhere besides the catalogue', () => {
  const src = join(packageRoot, 'src');
  const code = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.ts') && file !== 'errors.ts').map(file => readFileSync(join(src, file), 'utf8')).join('\n');
  assert.deepEqual(Object.keys(catalogue).filter(name => !code.includes(`'${name}'`)), []);
});

test('an error knows whether to try again, and keeps its cause', () => {
  const cause = new Error('inner');
  const error = new MillraceError('kafka_unavailable', 'outer', { cause, hint: 'wait' });
  assert.deepEqual([error.retryable, error.cause, error.hint, error.code], [true, cause, 'wait', 'kafka_unavailable']);
  assert.equal(new MillraceError('config_invalid', 'x').retryable, false);
  assert.equal(asError('text').message, 'text');
});
