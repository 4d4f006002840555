import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { measureNotices } from '../src/measure.ts';
import { createMetrics } from '../src/metrics.ts';
import { notices } from '../src/notices.ts';
import type { NoticeName } from '../src/notices.ts';
import { note } from '../src/telemetry.ts';
import { packageRoot } from './helpers/local.ts';
import { parseScrape } from './helpers/prometheus.ts';
import { keepingLog } from './helpers/topic-scene.ts';

const all: readonly (readonly [string, { level: string; is: string; fields: readonly string[]; limitBy?: readonly string[] }])[] = Object.entries(notices);

test('docs/log.md lists the notices, both ways', () => {
  const page = readFileSync(join(packageRoot, 'docs', 'log.md'), 'utf8');
  const rows = [...page.matchAll(/^\| `(\w+)` \| (\w+) \| (.+?) \| (.+?) \|$/gm)].map(([, ...cells]) => cells);
  assert.deepEqual(rows, all.map(([name, { level, is, fields, limitBy }]) => [name, level, is, [...fields, ...(limitBy === undefined ? [] : ['times'])].map(field => `\`${field}\``).join(', ')]));
});

test('every line above debug is a notice, and every notice is told by something', () => {
  const src = join(packageRoot, 'src');
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.ts') && file !== 'notices.ts').map(file => ({ file, code: readFileSync(join(src, file), 'utf8') }));
  assert.deepEqual(files.filter(({ file, code }) => file !== 'telemetry.ts' && /\blog\.(info|warn|error|fatal|child)\(/.test(code)).map(({ file }) => file), ['local/class-data.ts'], 'it silences the parts that it starts');
  const told = files.map(({ code }) => code).join('\n');
  assert.deepEqual(all.map(([name]) => name).filter(name => !told.includes(`'${name}'`)), []);
  for (const [name, { fields, limitBy = [] }] of all) assert.deepEqual(limitBy.filter(field => !fields.includes(field)), [], name);
});

test('a notice is a line and a count; below the log’s level it is a count', async () => {
  const { log, lines } = keepingLog();
  const metrics = createMetrics();
  log.level = 'warn';
  measureNotices(metrics, log);
  // A role that shares both counts nothing twice.
  measureNotices(metrics, log);
  note(log, 'topic_made', { topic: 't', partitions: 3 });
  note(log, 'topic_gone', { topic: 't' });
  note(log, 'topic_gone', { topic: 't' });
  assert.deepEqual(lines.map(({ level, event, topic, msg }) => [level, event, topic, msg]), Array(2).fill([40, 'topic_gone', 't', notices.topic_gone.is]));
  const values = parseScrape((await metrics.exposition()).body);
  const count = (notice: NoticeName): number | undefined => values.get(`millrace_notices_total{notice="${notice}"}`);
  assert.deepEqual([count('topic_made'), count('topic_gone'), count('topic_there')], [1, 2, 0]);
});

test('ten thousand refusals a second are one line at once, and then one in ten seconds with their number', context => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const { log, lines } = keepingLog();
  const refuse = (key: string, times: number): void => {
    for (let index = 0; index < times; index++) note(log, 'request_refused', { dialect: 'segment', key, code: 'unauthorized', requestId: `${key}-${index}` });
  };
  const told = (): unknown[] => lines.splice(0).map(({ key, times, requestId }) => [key, times, requestId]);
  refuse('a', 10_000);
  refuse('b', 1);
  assert.deepEqual(told(), [['a', 1, 'a-0'], ['b', 1, 'b-0']]);
  context.mock.timers.tick(10_000);
  assert.deepEqual(told(), [['a', 9_999, 'a-9999']]);
  refuse('a', 2);
  assert.deepEqual(told(), []);
  context.mock.timers.tick(10_000);
  assert.deepEqual(told(), [['a', 2, 'a-1']]);
  context.mock.timers.tick(20_000);
  assert.deepEqual(told(), []);
  // After a quiet while the next one is told at once.
  refuse('a', 1);
  assert.deepEqual(told(), [['a', 1, 'a-0']]);
  context.mock.timers.tick(20_000);
});
