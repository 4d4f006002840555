import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { readMigrations } from '../src/sink/migrate.ts';
import { packageRoot } from './helpers/local.ts';

const pages = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'src/README.md', 'schemas/README.md', 'examples/README.md', ...readdirSync(join(packageRoot, 'docs'), { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.md')).map(file => `docs/${file}`)];
const read = (page: string): string => readFileSync(join(packageRoot, page), 'utf8');

test('every link between pages leads somewhere', () => {
  for (const page of pages) {
    for (const [, target = ''] of read(page).matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)) {
      if (!/^https?:/.test(target)) assert.ok(existsSync(join(packageRoot, dirname(page), target)), `${page} links ${target}`);
    }
  }
});

test('every npm script that a page names is there, and every script is named', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const named = new Set<string>();
  for (const page of pages) {
    for (const [, script] of read(page).matchAll(/npm run (?:-s )?([a-z:-]+)/g)) named.add(script ?? '');
    for (const [, script] of read(page).matchAll(/npm (start|test)\b/g)) named.add(script ?? '');
  }
  assert.deepEqual([...named].sort(), Object.keys(scripts).sort());
});

test('docs/tables.md names every table and view', () => {
  const tables = readMigrations(join(packageRoot, 'schemas', 'clickhouse')).flatMap(({ statements }) => statements).flatMap(statement => /^CREATE (?:TABLE|VIEW) (\w+)/.exec(statement)?.[1] ?? []);
  const listed = [...read('docs/tables.md').matchAll(/^\| `(\w+)` \|/gm)].map(match => match[1]);
  assert.deepEqual(listed.sort(), [...tables, 'migrations'].sort());
});
