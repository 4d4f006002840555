import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseReplayOptions, replayHelp, replayOptions } from '../../src/replay/options.ts';
import { countsText, planText, progressText } from '../../src/replay/report.ts';
import { packageRoot } from '../helpers/local.ts';

const parse = (...args: string[]) => parseReplayOptions(args);
const reason = (...args: string[]): string => {
  const parsed = parse(...args);
  return parsed.ok === false ? parsed.reason : '';
};
const named = (...args: string[]): unknown[] => reason(...args).split('\n').map(line => /^--\w+/.exec(line)?.[0]);
const plain = { fromMs: null, toMs: null, topics: [], fresh: false, keep: false, profiles: false, yes: false };

test('what is understood', () => {
  assert.deepEqual(parse(), { ok: true, options: plain });
  assert.deepEqual(parse('--from', '2026-11-01T00:00:00Z', '--to', '2026-11-02T00:00:00+01:00', '--topic', 'a', '--topic', 'b', '--topic', 'a', '--fresh', '--keep', '--yes'), {
    ok: true,
    options: { ...plain, fromMs: Date.UTC(2026, 10, 1), toMs: Date.UTC(2026, 10, 1, 23), topics: ['a', 'b'], fresh: true, keep: true, yes: true },
  });
  assert.deepEqual(parse('--profiles', '--fresh'), { ok: true, options: { ...plain, profiles: true, fresh: true } });
  assert.deepEqual(parse('--help'), { ok: 'help' });
});

test('what is not understood is named, all of it', () => {
  assert.equal(reason('--form', 'x'), "Unknown option '--form'");
  assert.match(reason('extra'), /Unexpected argument 'extra'/);
  assert.deepEqual(named('--from', 'yesterday', '--to', '2026-02-30T00:00:00Z', '--keep'), ['--from', '--to', '--keep']);
  assert.deepEqual(named('--from', '2026-11-01T00:00:00Z', '--to', '2026-11-01T00:00:00Z'), ['--from']);
  assert.match(reason('--profiles', '--from', '2026-11-01T00:00:00Z', '--topic', 'a', '--keep', '--fresh'), /--from has [^]*--topic has [^]*--keep has/);
});

test('--help and docs/replay.md name every option', () => {
  const page = readFileSync(join(packageRoot, 'docs', 'replay.md'), 'utf8');
  for (const name of Object.keys(replayOptions)) {
    assert.match(replayHelp, new RegExp(`--${name}\\b`));
    assert.match(page, new RegExp(`--${name}\\b`), name);
  }
  for (const [, name = ''] of page.matchAll(/`--([a-z-]+)/g)) assert.ok(name in replayOptions, `--${name} in docs/replay.md`);
});

test('what it says before, meanwhile and after', () => {
  const range = { topic: 'events', partition: 0, from: 5n, to: 15n };
  const said = planText([{ topic: 'events', ranges: [range, { ...range, partition: 1, to: 5n }] }, { topic: 'gone', ranges: null }], { ...plain, fromMs: Date.UTC(2026, 10, 1) });
  assert.match(said, /^Offsets from 2026-11-01T00:00:00\.000Z to now[^\n]*\n +10 {2}events, 1 of 2 partitions\n +- {2}gone \(there is no such topic\)\n/);
  assert.equal(progressText(5_000n, 20_000n, 4_000, 2_000), '[######                  ] 25% 5000 of 20000 offsets, 2000 records/s');
  assert.equal(progressText(0n, 0n, 0, 0), '[########################] 100% 0 of 0 offsets, 0 records/s');
  const counts = { read: 10, added: 2, present: 3, duplicate: 1, conflict: 0, deadLettered: 0, suppressed: 0 };
  assert.equal(countsText(counts, { fresh: false, copied: null, seconds: 1.25 }).replaceAll(/ {2,}/g, ' '), ' 10 records read in 1.3 s\n 2 rows added\n 3 rows were there\n 4 had their outcome\n 1 duplicates that were not known\n');
  assert.equal(countsText(counts, { fresh: true, copied: 7, seconds: 1 }).replaceAll(/ {2,}/g, ' '), ' 10 records read in 1.0 s\n 2 rows made anew\n 7 rows copied\n');
});
