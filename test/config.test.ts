import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readConfig, variables } from '../src/config.ts';
import { MillraceError } from '../src/errors.ts';
import { packageRoot } from './helpers/local.ts';

const read = (environment: Record<string, string>, role: 'up' | 'door' | 'sink' = 'up') => readConfig(environment, '/package', '/work', role);
const faults = (environment: Record<string, string>, role: 'up' | 'door' | 'sink' = 'up'): string[] => {
  try {
    read(environment, role);
  } catch (error) {
    assert.ok(error instanceof MillraceError);
    assert.equal(error.code, 'config_invalid');
    return error.message.split('\n');
  }
  return [];
};

test('defaults', () => {
  const config = read({});
  assert.deepEqual([config.host, config.port, config.kafka.brokers, config.registry.url, config.clickhouse.url, config.clickhouse.database], ['127.0.0.1', 8080, null, null, null, 'millrace']);
  assert.deepEqual([config.kafka.embeddedPort, config.registry.embeddedPort, config.clickhouse.embeddedPort], [9092, 8081, 8123]);
  assert.deepEqual([config.dataDir, config.cacheDir], ['/work/.millrace', '/package/.millrace/cache']);
  assert.deepEqual(config.writeKeys, [{ id: 'dev', tenant: 'dev', keySha256: hash('sha256', 'dev', 'hex'), allow: null, rateLimit: null, origins: null }]);
  assert.deepEqual(faults({ PORT: '', KAFKA_BROKERS: ' ' }), []);
});

test('values', () => {
  const config = read({ KAFKA_BROKERS: 'a:1, [::1]:9092', SCHEMA_REGISTRY_URL: 'http://r:1/', KAFKA_SASL_MECHANISM: 'plain', KAFKA_SASL_USERNAME: 'u', KAFKA_SSL: 'true', MILLRACE_TOPIC_RETENTION_HOURS: '2' });
  assert.deepEqual(config.kafka.brokers, ['a:1', '[::1]:9092']);
  assert.equal(config.registry.url, 'http://r:1');
  assert.deepEqual([config.kafka.ssl, config.kafka.sasl, config.topic.retentionMs], [{}, { mechanism: 'plain', username: 'u', password: '' }, 7_200_000]);
});

test('PEM files of Kafka: read, or named with what is wrong', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'millrace-pem-'));
  try {
    const file = async (name: string, content: string): Promise<string> => {
      await writeFile(join(dir, name), content);
      return join(dir, name);
    };
    const ca = await file('ca.pem', '-----BEGIN CERTIFICATE-----\nx\n');
    const key = await file('key.pem', '-----BEGIN PRIVATE KEY-----\nx\n');
    const none = await file('none.pem', 'hello');
    const tls = { KAFKA_BROKERS: 'a:1', SCHEMA_REGISTRY_URL: 'http://r:1', KAFKA_SSL: 'true' };
    assert.deepEqual(Object.keys(read({ ...tls, KAFKA_SSL_CA: ca, KAFKA_SSL_CERT: ca, KAFKA_SSL_KEY: key }).kafka.ssl), ['ca', 'cert', 'key']);
    const [missing, noPem, ...others] = faults({ ...tls, KAFKA_SSL_CA: join(dir, 'away.pem'), KAFKA_SSL_CERT: none, KAFKA_SSL_KEY: key });
    assert.deepEqual(others, []);
    assert.match(missing ?? '', /KAFKA_SSL_CA=".*away\.pem" cannot be read: ENOENT/);
    assert.match(noPem ?? '', /KAFKA_SSL_CERT=".*none\.pem" is not the PEM file that is needed/);
    assert.match(faults({ ...tls, KAFKA_SSL_CERT: ca })[0] ?? '', /only one is set/);
    assert.match(faults({ ...tls, KAFKA_SSL: 'false', KAFKA_SSL_CA: ca })[0] ?? '', /KAFKA_SSL is not true/);
    assert.match(faults({ KAFKA_SSL: 'true' })[0] ?? '', /KAFKA_BROKERS is not/);
    assert.match(faults({ KAFKA_BROKERS: 'a:1', KAFKA_SSL: 'true' })[0] ?? '', /SCHEMA_REGISTRY_URL is not set/);
  } finally {
    await rm(dir, { recursive: true });
  }
});

test('all faults at once, each by name', () => {
  const found = faults({ PORT: '99999', KAFKA_BROKERS: 'nohost', CLICKHOUSE_URL: 'localhost:8123', CLICKHOUSE_DATABASE: 'a; DROP', KAFKA_SASL_MECHANISM: 'magic', MILLRACE_TOPIC_PARTITIONS: '0', KAFKA_SSL: 'yes' });
  assert.equal(found.length, 7);
  for (const name of ['PORT', 'KAFKA_BROKERS', 'CLICKHOUSE_URL', 'CLICKHOUSE_DATABASE', 'KAFKA_SASL_MECHANISM', 'MILLRACE_TOPIC_PARTITIONS', 'KAFKA_SSL']) assert.ok(found.some(line => line.includes(name)), name);
});

test('a role alone needs its parts; production needs a key of its own', () => {
  assert.equal(faults({}, 'door').length, 2);
  assert.equal(faults({}, 'sink').length, 3);
  assert.match(faults({ NODE_ENV: 'production' })[0] ?? '', /write key/);
  assert.deepEqual(faults({ NODE_ENV: 'production', KAFKA_BROKERS: 'a:1', SCHEMA_REGISTRY_URL: 'http://r', CLICKHOUSE_URL: 'http://c' }, 'sink'), []);
});

test('docs/configuration.md and --help list every variable, both ways', () => {
  const page = readFileSync(join(packageRoot, 'docs', 'configuration.md'), 'utf8');
  const listed = [...page.matchAll(/^\| `([A-Z_]+)` \| (.+) \|$/gm)].map(([, name, meaning]) => [name, meaning]);
  assert.deepEqual(listed, Object.entries(variables));
  const help = spawnSync(process.execPath, ['src/millrace.mjs', '--help'], { cwd: packageRoot, encoding: 'utf8' });
  assert.equal(help.status, 0);
  for (const [name, meaning] of Object.entries(variables)) assert.ok(help.stdout.includes(name) && help.stdout.includes(meaning), name);
});

test('the command line: version, unknown commands, faults of the environment', () => {
  const run = (args: string[], env: Record<string, string> = {}) => spawnSync(process.execPath, ['src/millrace.mjs', ...args], { cwd: packageRoot, encoding: 'utf8', env: { ...process.env, ...env } });
  assert.match(run(['--version']).stdout, /^\d+\.\d+\.\d+\n$/);
  const unknown = run(['upp']);
  assert.deepEqual([unknown.status, unknown.stderr], [2, 'millrace: there is no command "upp"\nTry: npx millrace --help\n']);
  const faulty = run(['door'], { PORT: 'x', KAFKA_BROKERS: '' });
  assert.equal(faulty.status, 1);
  assert.match(faulty.stderr, /PORT="x" is not a whole number[^]*KAFKA_BROKERS is not set[^]*--help/);
  for (const none of [['--workers', ''], ['--workers=']]) assert.match(run(['door', ...none], { KAFKA_BROKERS: '' }).stderr, /MILLRACE_WORKERS="\?" is not a whole number/);
});
