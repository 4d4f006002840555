import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readConfig, variables } from '../src/config.ts';
import { packageRoot } from './helpers/local.ts';

const file = join(packageRoot, 'docker-compose.yml');
const text = readFileSync(file, 'utf8');
const [comment, body] = [text.split('\n').filter(line => line.startsWith('#')).join('\n'), text.split('\n').filter(line => !line.trimStart().startsWith('#')).join('\n')];

/** A service's own lines, by its name: two spaces in front of the name, four of what it has. */
const services = new Map([...(/^services:\n((?: .*\n|\n)+)/m.exec(body)?.[1] ?? '').matchAll(/^ {2}(\w+):\n((?: {4}.*\n)+)/gm)].map(([, name, lines]) => [name ?? '', lines ?? '']));

/** NAME=value of the header's line that ends with `npm start`. */
const environment = Object.fromEntries([...(/^# +(.+) npm start$/m.exec(comment)?.[1] ?? '').matchAll(/(\w+)=(\S+)/g)].map(([, name, value]) => [name ?? '', value ?? '']));

test('the services are the two that replace the embedded stack', () => {
  assert.deepEqual([...services.keys()], ['redpanda', 'clickhouse']);
});

test('the line in the header starts millrace on nothing embedded, and names the ports that are published', () => {
  for (const name of Object.keys(environment)) assert.ok(name in variables, `${name} is a variable of src/config.ts`);
  const config = readConfig(environment, packageRoot, packageRoot, 'up');
  const { kafka, registry, clickhouse } = config;
  assert.ok(kafka.brokers !== null && registry.url !== null && clickhouse.url !== null, 'all three are set');
  const defaults = readConfig({}, packageRoot, packageRoot, 'up');
  assert.deepEqual(
    [...kafka.brokers, new URL(registry.url).host, new URL(clickhouse.url).host],
    [defaults.kafka.embeddedPort, defaults.registry.embeddedPort, defaults.clickhouse.embeddedPort].map(port => `127.0.0.1:${port}`),
  );
  const published = [...body.matchAll(/^ {6}- (127\.0\.0\.1):(\d+):(\d+)$/gm)].map(([, host, outside, inside]) => `${host}:${outside}>${inside}`);
  assert.deepEqual(published, ['127.0.0.1:9092>9092', '127.0.0.1:8081>8081', '127.0.0.1:8123>8123']);
  // Everything under `ports:` is one of those: nothing is open to the network.
  assert.equal([...body.matchAll(/^ {4}ports:\n((?: {6}- .*\n)+)/gm)].flatMap(([, lines]) => lines?.trim().split('\n') ?? []).length, published.length);
  assert.match(services.get('redpanda') ?? '', new RegExp(`--advertise-kafka-addr=${kafka.brokers[0]}\n`));
  for (const name of ['CLICKHOUSE_USER', 'CLICKHOUSE_PASSWORD']) assert.match(services.get('clickhouse') ?? '', new RegExp(`^ {6}${name}: ${environment[name]}$`, 'm'));
  assert.match(services.get('clickhouse') ?? '', new RegExp(`--user, ${clickhouse.username}, --password, ${clickhouse.password},`));
});

test('each image is pinned to a whole version, and each service has a health check, a volume and a limit', () => {
  for (const [name, lines] of services) {
    assert.match(lines, /^ {4}image: \S+:v?\d+\.\d+\.\d+(\.\d+)?$/m, `${name}: an exact version`);
    assert.match(lines, /^ {4}healthcheck:\n {6}test: \[/m, name);
    assert.match(lines, new RegExp(`^ {6}- ${name}:/var/lib/`, 'm'), name);
    assert.match(lines, /^ {4}mem_limit: \d+[mg]$/m, name);
  }
  assert.match(body, /^volumes:\n {2}redpanda:\n {2}clickhouse:\n/m);
  assert.match(services.get('redpanda') ?? '', /auto_create_topics_enabled=false/);
});

test('docker compose reads the file', context => {
  const asked = spawnSync('docker', ['compose', 'version'], { encoding: 'utf8' });
  if (asked.error !== undefined || asked.status !== 0) return context.skip('`docker compose` is not installed here');
  const { status, stderr } = spawnSync('docker', ['compose', '--file', file, 'config', '--quiet'], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
});
