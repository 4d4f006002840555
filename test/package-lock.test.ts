import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from './helpers/local.ts';

const text = readFileSync(join(packageRoot, 'package-lock.json'), 'utf8');
const { packages } = JSON.parse(text) as { packages: Record<string, { version: string; optional?: boolean; os?: string[]; cpu?: string[]; libc?: string[]; optionalDependencies?: Record<string, string> }> };

test('the lock file knows chdb’s engine for every platform, also those that the registry did not list when it was written', () => {
  const platforms = { 'darwin-arm64': ['darwin', 'arm64'], 'darwin-x64': ['darwin', 'x64'], 'linux-arm64-gnu': ['linux', 'arm64', 'glibc'], 'linux-x64-gnu': ['linux', 'x64', 'glibc'] };
  const wanted = packages['node_modules/chdb']?.optionalDependencies ?? {};
  for (const [platform, [os, cpu, libc]] of Object.entries(platforms)) {
    const entry = packages[`node_modules/@chdb/lib-${platform}`];
    assert.ok(entry, `@chdb/lib-${platform} is missing: npm ci refuses the file on that platform`);
    assert.deepEqual({ os: entry.os, cpu: entry.cpu, libc: entry.libc, optional: entry.optional }, { os: [os], cpu: [cpu], libc: libc === undefined ? undefined : [libc], optional: true });
    assert.equal(entry.version, wanted[`@chdb/lib-${platform}`]);
  }
});

test('the lock file carries no download addresses', () => {
  assert.doesNotMatch(text, /"resolved"/);
});

test('every optional package that another one names is in the lock file, for whichever platform: npm ci refuses it else', () => {
  const lacking = Object.entries(packages).flatMap(([path, { optionalDependencies }]) =>
    Object.keys(optionalDependencies ?? {}).filter(name => packages[`${path}/node_modules/${name}`] === undefined && packages[`node_modules/${name}`] === undefined));
  assert.deepEqual(lacking, []);
});
