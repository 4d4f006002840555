import assert from 'node:assert/strict';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readConfig } from '../src/config.ts';
import type { Config } from '../src/config.ts';
import { watchConfig } from '../src/config-watch.ts';
import { keyCommand } from '../src/key-command.ts';
import { createKeyRing } from '../src/door/keys.ts';
import { eventually } from './helpers/eventually.ts';
import { packageRoot } from './helpers/local.ts';
import { keepingLog } from './helpers/topic-scene.ts';

test('a changed file is picked up; a faulty one is named, and the old stays in force; one that comes, too', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-watch-'));
  const path = join(folder, 'millrace.yaml');
  const read = (): Config => readConfig({}, packageRoot, folder, 'door');
  const environment = { KAFKA_BROKERS: 'a:1', SCHEMA_REGISTRY_URL: 'http://r:1' };
  const configs: Config[] = [];
  const { log, events } = keepingLog();
  const watch = watchConfig({ path, read: () => readConfig(environment, packageRoot, folder, 'door'), onConfig: config => void configs.push(config), everyMs: 20, log });
  // At once: a look must not fall between emptying and writing.
  const put = async (text: string): Promise<void> => {
    await writeFile(`${path}.new`, text);
    await rename(`${path}.new`, path);
  };
  try {
    assert.throws(read, /KAFKA_BROKERS is not set/);
    await put('writeKeys: [{ id: one, tenant: t, key: first }]\n');
    await eventually(() => configs.map(({ writeKeys }) => writeKeys[0]?.id), ids => ids.join() === 'one');
    await put('writeKeys: [{ id: two, tenant: t }]\n');
    await eventually(() => events('config_refused'), lines => lines.length === 1);
    assert.match(String((events('config_refused')[0]?.['faults'] as string[])[0]), /millrace\.yaml:1: writeKeys\[0\] needs keySha256/);
    await put('writeKeys: [{ id: three, tenant: t, key: third }]\n');
    await eventually(() => configs.map(({ writeKeys }) => writeKeys[0]?.id), ids => ids.join() === 'one,three');
    // Empty, as it is for a moment while it is written anew; then gone.
    await put('');
    await eventually(() => events('config_refused'), lines => lines.length === 2);
    assert.match(String((events('config_refused')[1]?.['faults'] as string[])[0]), /or is empty/);
    await put('writeKeys: [{ id: three, tenant: t, key: third }]\n');
    await eventually(() => configs.length, count => count === 3);
    await rm(path);
    await eventually(() => events('config_refused'), lines => lines.length === 3);
    assert.match(String((events('config_refused')[2]?.['faults'] as string[])[0]), /millrace\.yaml is not there any more/);
    assert.equal(configs.length, 3);
  } finally {
    watch.close();
    await rm(folder, { recursive: true });
  }
});

test('a schema that a contract names is watched too, also while it is what keeps a configuration from being taken', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-watch-'));
  const path = join(folder, 'millrace.yaml');
  const environment = { KAFKA_BROKERS: 'a:1', SCHEMA_REGISTRY_URL: 'http://r:1' };
  const contractsOf = (name: string): string => `contracts: [{ tenant: t, type: track, event: E, version: 1, schema: ${name}, onViolation: flag }]\n`;
  await writeFile(join(folder, 'a.json'), '{}');
  await writeFile(path, contractsOf('a.json'));
  const schemas: (string | undefined)[] = [];
  const { log, events } = keepingLog();
  const read = (onFile?: (file: string) => void): Config => readConfig(environment, packageRoot, folder, 'door', onFile);
  const watch = watchConfig({ path, files: read().configFiles, read, onConfig: ({ contracts }) => void schemas.push(contracts[0]?.schema), everyMs: 20, log });
  const taken = (...expected: string[]): Promise<unknown> => eventually(() => schemas.join(' '), found => found === expected.join(' '));
  try {
    await writeFile(join(folder, 'a.json'), '{"minProperties":1}');
    await taken('{"minProperties":1}');
    await writeFile(join(folder, 'b.json'), '{"type":"objekt"}');
    await writeFile(path, contractsOf('b.json'));
    await eventually(() => events('config_refused'), lines => lines.length === 1);
    assert.match(String((events('config_refused')[0]?.['faults'] as string[])[0]), /b\.json:1: \/type must be/);
    await writeFile(join(folder, 'b.json'), '{"type":"object"}');
    await taken('{"minProperties":1}', '{"type":"object"}');
  } finally {
    watch.close();
    await rm(folder, { recursive: true });
  }
});

test('millrace key new: a key of 192 bits, and the line for the file, by which it is found', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-key-'));
  try {
    const { ok, text } = keyCommand(['new', '--id', 'shop', '--tenant', 'acme "x"']);
    assert.ok(ok);
    const key = /mr_[\w-]{32}/.exec(text)?.[0] ?? '';
    await writeFile(join(folder, 'millrace.yaml'), text.slice(text.indexOf('writeKeys:')));
    const config = readConfig({ NODE_ENV: 'production' }, packageRoot, folder, 'up');
    assert.deepEqual(createKeyRing(config.writeKeys).find(key), { id: 'shop', tenant: 'acme "x"', allow: null, rateLimit: null, origins: null });
    assert.notEqual(keyCommand(['new']).text, keyCommand(['new']).text);
    assert.deepEqual([keyCommand(['--help']).ok, keyCommand(['old']).ok, keyCommand(['new', '--oops']).ok], [true, false, false]);
  } finally {
    await rm(folder, { recursive: true });
  }
});
