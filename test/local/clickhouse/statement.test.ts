import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toException } from '../../../src/local/clickhouse/exception.ts';
import { describe } from '../../../src/local/clickhouse/statement.ts';

test('kind, format and number of statements', () => {
  const table: [string, string, string | undefined, boolean][] = [
    ['SELECT 1', 'SELECT', undefined, false],
    [' -- a\n/* b; */ # c\n(select 1) format JSON ;-- d', 'SELECT', 'JSON', false],
    ["SELECT 'a; FORMAT x', `b;`, \"c;\", 'it''s;', 'it\\'s;', $x$ ; $x$ FORMAT CSV SETTINGS a = 1", 'SELECT', 'CSV', false],
    ['SELECT format FROM x', 'SELECT', undefined, false],
    ['SELECT 1; SELECT 2', 'SELECT', undefined, true],
    ['SELECT 1;;', 'SELECT', undefined, false],
    ['WITH 1 AS x SELECT x', 'WITH', undefined, false],
    ['WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x', 'INSERT', undefined, false],
    ['INSERT INTO t FORMAT CSV\n1;2', 'INSERT', undefined, false],
    ['', '', undefined, false],
    ["SELECT 'open", 'SELECT', undefined, false],
  ];
  for (const [sql, kind, format, multiple] of table) {
    const seen = describe(sql);
    assert.deepEqual([seen.kind, seen.format, seen.multiple], [kind, format, multiple], sql);
  }
});

test('errors of the engine, also when it repeats itself', () => {
  const plain = toException(new Error('Code: 60. DB::Exception: Unknown table (x) here. (UNKNOWN_TABLE)'));
  assert.deepEqual([plain.code, plain.type, plain.message], [60, 'UNKNOWN_TABLE', 'Unknown table (x) here.']);
  const nested = toException(new Error('Code: 73. DB::Exception: Code: 73. DB::Exception: Unknown format N. (UNKNOWN_FORMAT) (version 26.7.2.1). (UNKNOWN_FORMAT)'));
  assert.deepEqual([nested.code, nested.type, nested.message], [73, 'UNKNOWN_FORMAT', 'Unknown format N.']);
  assert.equal(toException(new Error('boom')).code, 49);
});
