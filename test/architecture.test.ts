import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from './helpers/local.ts';

/* The rules of src/README.md, read from the imports themselves. */

const src = join(packageRoot, 'src');
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.ts'));
const read = (file: string): string => readFileSync(join(src, file), 'utf8');

interface Import {
  from: string;
  /** A path within src, or a package's name. */
  to: string;
  local: boolean;
}

const imports: Import[] = files.flatMap(file =>
  [...read(file).matchAll(/^\s*(?:import|export)\s[^;]*?from\s+'([^']+)'|\bimport\('([^']+)'\)|^import\s+'([^']+)'|\brequire(?:\.resolve)?\('([^']+)'\)/gm)].map(match => {
    const target = match[1] ?? match[2] ?? match[3] ?? match[4] ?? '';
    const local = target.startsWith('.');
    return { from: file, to: local ? normalize(join(dirname(file), target)) : target.split('/').slice(0, target.startsWith('@') ? 2 : 1).join('/'), local };
  }),
);
const folderOf = (file: string): string => (file.includes('/') ? file.slice(0, file.indexOf('/')) : '');

/** Which folders a folder may import, besides itself and the files at the top that all may use. */
const allowed: Record<string, string[]> = {
  event: [],
  contract: ['event'],
  door: ['event', 'contract'],
  topic: ['event', 'contract'],
  sink: ['event', 'contract'],
  redrive: ['event', 'contract'],
  replay: ['event', 'contract'],
  workers: [],
  local: [],
};
const forAll = ['errors.ts', 'telemetry.ts'];

test('the rules know every folder and the files are found', () => {
  assert.deepEqual([...new Set(files.map(folderOf))].sort(), ['', ...Object.keys(allowed)].sort());
  assert.ok(imports.length > 100);
});

test('folders import only what lies before them on the way; compose.ts and its parts alone join them', () => {
  const wrong = imports.filter(({ from, to, local }) => {
    if (!local || folderOf(from) === '') return false;
    const folder = folderOf(to);
    return folder === '' ? !forAll.includes(to) : folder !== folderOf(from) && !allowed[folderOf(from)]?.includes(folder);
  });
  assert.deepEqual(wrong, []);
  // A contract whose schema does not compile is a fault of the configuration, as any other.
  const joiners = imports.filter(({ from, to, local }) => local && folderOf(from) === '' && folderOf(to) !== '' && !/^compose(-[a-z]+)?\.ts$/.test(from) && !(from === 'config-contracts.ts' && folderOf(to) === 'contract'));
  // main.ts, measure.ts, endpoints.ts and config-file.ts need the types of what they are handed, nothing that runs.
  assert.deepEqual(joiners.filter(({ from, to }) => !new RegExp(`import type .* from '\\./${to}'`).test(read(from))), []);
});

test('each vendor has one home', () => {
  const homes: Record<string, RegExp> = {
    kafkajs: /^topic\//,
    '@platformatic/kafka': /^topic\//,
    snappy: /^topic\//,
    'lz4-napi': /^topic\//,
    fzstd: /^topic\//,
    fastify: /^(door\/|compose-parts\.ts)/,
    avsc: /^contract\//,
    '@kafkajs/confluent-schema-registry': /^contract\//,
    '@clickhouse/client': /^sink\//,
    chdb: /^local\/clickhouse\//,
    yaml: /^config-file\.ts/,
    ajv: /^(config-file\.ts|contract\/)/,
    'ajv-formats': /^contract\//,
    re2js: /^contract\//,
    pino: /^telemetry\.ts/,
    'prom-client': /^metrics\.ts/,
  };
  for (const { from, to, local } of imports) {
    if (local || to.startsWith('node:')) continue;
    const home = homes[to];
    assert.ok(home, `${from} imports ${to}, which has no home`);
    assert.match(from, home, `${from} imports ${to}`);
  }
  const used = new Set(imports.map(({ to }) => to));
  const { dependencies } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { dependencies: Record<string, string> };
  for (const [name, version] of Object.entries(dependencies)) {
    assert.match(version, /^\d+\.\d+\.\d+$/, `${name} is pinned`);
    assert.ok(used.has(name) || name === 'tsx', `${name} is imported somewhere`);
  }
});

test('only config.ts and main.ts know process.env, and only the embedded ClickHouse’s own process reads its own', () => {
  const readers = files.filter(file => /process\.env/.test(read(file)));
  assert.deepEqual(readers.filter(file => file !== 'main.ts' && !file.startsWith('local/')), []);
  assert.match(read('main.ts'), /readConfig\(process\.env/);
});

test('no cycles between files', () => {
  const graph = new Map(files.map(file => [file, imports.filter(({ from, local }) => local && from === file).map(({ to }) => to)]));
  const done = new Set<string>();
  const visit = (file: string, path: string[]): void => {
    assert.ok(!path.includes(file), `cycle: ${[...path, file].join(' → ')}`);
    if (done.has(file)) return;
    for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  // Types alone may point both ways.
  for (const [file, targets] of graph) graph.set(file, targets.filter(to => !new RegExp(`import type [^;]*from '\\./${relative(dirname(file), to)}'`).test(read(file)) && !new RegExp(`import type [^;]*from '${relative(dirname(file), to)}'`).test(read(file))));
  for (const file of files) visit(file, []);
});

test('no empty catch, no file over 320 lines', () => {
  for (const file of files) {
    assert.doesNotMatch(read(file), /catch\s*(\([^)]*\))?\s*\{\s*\}/, file);
    // api.d.ts is written by a program.
    assert.ok(file === 'api.d.ts' || read(file).split('\n').length <= 320, `${file} is long: split it, or give a reason here`);
  }
});
