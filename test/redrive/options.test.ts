import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { conditionOf } from '../../src/redrive/filter.ts';
import { parseRedriveOptions, redriveHelp, redriveOptions } from '../../src/redrive/options.ts';
import { packageRoot } from '../helpers/local.ts';

const parse = (...args: string[]) => parseRedriveOptions(args);
const condition = (...args: string[]) => {
  const parsed = parse(...args);
  assert.ok(parsed.ok === true);
  return conditionOf(parsed.options.filter);
};

test('conditions are bound, never written into the statement', () => {
  assert.deepEqual(condition(), { sql: 'status = {status: String}', params: { status: 'open' } });
  const odd = "x' OR 1=1 --";
  const { sql, params } = condition('--code', odd, '--code', 'b', '--tenant', odd, '--topic', odd, '--message-id', odd, '--status', 'redriven', '--since', '2026-01-01T00:00:00Z', '--until', '2026-01-02T00:00:00+01:00');
  assert.ok(!sql.includes('1=1'));
  assert.deepEqual(params, { status: 'redriven', code: [odd, 'b'], tenant: [odd], topic: [odd], message_id: [odd], since: '1767225600000', until: '1767308400000' });
  assert.match(sql, /code IN \{code: Array\(String\)\} AND tenant IN [^]* AND at >= fromUnixTimestamp64Milli\(\{since: Int64\}\) AND at < /);
  assert.match(condition('--where', 'a = 1 -- b').sql, /id IN \(\nSELECT id FROM dead_letters WHERE \(\na = 1 -- b\n\)\n\)$/);
});

test('what is not understood is named, all of it', () => {
  const reason = (...args: string[]): string => {
    const parsed = parse(...args);
    return parsed.ok === false ? parsed.reason : '';
  };
  assert.equal(reason('--nonsense'), "Unknown option '--nonsense'");
  assert.match(reason('extra'), /Unexpected argument 'extra'/);
  assert.match(reason('--code'), /--code/);
  assert.deepEqual(reason('--since', 'yesterday', '--until', '2026-02-30T00:00:00Z', '--limit', '0', '--samples', 'x', '--id', 'x', '--status', 'lost', '--where', ' ', '--dismiss', '--patch', 'a').split('\n').map(line => /^--\w+/.exec(line)?.[0]).sort(),
    ['--dismiss', '--id', '--limit', '--samples', '--since', '--status', '--until', '--where']);
  assert.deepEqual(parse('--help'), { ok: 'help' });
});

test('--help and docs/dead-letters.md name every option', () => {
  const page = readFileSync(join(packageRoot, 'docs', 'dead-letters.md'), 'utf8');
  for (const name of Object.keys(redriveOptions)) {
    assert.ok(redriveHelp.includes(`--${name}`), name);
    assert.ok(page.includes(`--${name}`), name);
  }
  for (const [, name = ''] of page.matchAll(/`--([a-z-]+)/g)) assert.ok(name in redriveOptions, name);
});
