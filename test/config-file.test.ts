import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readConfig } from '../src/config.ts';
import type { ContractFileEntry } from '../src/config-contracts.ts';
import type { ConfigFile, ReadConfigFile, WriteKeyEntry } from '../src/config-file.ts';
import { readConfigFile } from '../src/config-file.ts';
import { textFields, timeFields } from '../src/contract/mapping.ts';
import type { TopicMapping } from '../src/contract/mapping.ts';
import { MillraceError } from '../src/errors.ts';
import { freePort } from '../src/local/ports.ts';
import { packageRoot } from './helpers/local.ts';

const folder = mkdtempSync(join(tmpdir(), 'millrace-config-'));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'millrace.yaml');

const read = (text: string): ReadConfigFile => {
  writeFileSync(path, text);
  const found = readConfigFile(path, packageRoot, ['millrace.events', 'millrace.dead-letters']);
  assert.ok(found);
  return { ...found, faults: found.faults.map(fault => fault.replace(`${path}:`, '')) };
};

test('a file with everything is read as it stands', () => {
  const { file, faults } = read(`
defaultTenant: acme
dedupe: { retentionDays: 30 }
topics:
  - { name: legacy-orders, tenant: acme, format: avro, event: "Order Placed",
      fields: { userId: customer_id, messageId: order_uuid, timestamp: "header:placed-at" } }   # the rest become properties
  - name: members
    tenant: acme
    format: json
    type: group
    fields: { userId: key, groupId: team.id }
  - { name: shaped, tenant: acme, format: json_schema, shape: segment }
`);
  assert.deepEqual(faults, []);
  assert.deepEqual(file, {
    defaultTenant: 'acme',
    dedupe: { retentionDays: 30 },
    topics: [
      { name: 'legacy-orders', tenant: 'acme', format: 'avro', event: 'Order Placed', fields: { userId: 'customer_id', messageId: 'order_uuid', timestamp: 'header:placed-at' } },
      { name: 'members', tenant: 'acme', format: 'json', type: 'group', fields: { userId: 'key', groupId: 'team.id' } },
      { name: 'shaped', tenant: 'acme', format: 'json_schema', shape: 'segment' },
    ],
  });
  assert.deepEqual(read('').file, {});
  assert.deepEqual(read('# nothing yet\n').faults, []);
});

test('every fault at once, with its line and what was meant', () => {
  const { faults } = read(`defaultTennant: acme
dedupe:
  retentionDays: 0
transformations: []
topics:
  - name: orders
    tenant: 7
    format: afro
    event: Order
    fields:
      userid: x
      messageId: ""
  - { tenant: a, format: json }
`);
  assert.deepEqual(faults, [
    '1: defaultTennant is not known: did you mean defaultTenant?',
    '3: dedupe.retentionDays is 0: it must be >= 1',
    '4: transformations is not supported yet',
    '7: topics[0].tenant is 7, not string (put it in quotes)',
    '8: topics[0].format is "afro", none of avro, json_schema, json',
    '11: topics[0].fields.userid is not known: did you mean userId?',
    '12: topics[0].fields.messageId is "": it must NOT have fewer than 1 characters',
    '13: topics[1] has no name',
  ]);
});

test('what belongs together, and what does not', () => {
  const { faults } = read(`topics:
  - { name: millrace.events, tenant: a, format: json, event: E }
  - { name: one, tenant: a, format: json }
  - { name: one, tenant: a, format: json, event: E, fields: { event: kind } }
  - { name: two, tenant: a, format: avro, shape: segment, event: E }
  - { name: three, tenant: a, format: json, type: page, event: E }
  - { name: four, tenant: a, format: json, type: group }
  - { name: five, tenant: a, format: json, event: E, fields: { userId: "header:", messageId: a..b } }
`);
  assert.deepEqual(faults, [
    '2: topics[0].name "millrace.events" is a topic of millrace\'s own, which is read without a mapping',
    '3: topics[1] needs event (a fixed name), fields.event (where the name stands) or shape: segment',
    '4: topics[2].name "one" is there twice',
    '4: topics[2].event and fields.event cannot both name the events',
    '5: topics[3].shape is for JSON: a topic of format avro is mapped by fields',
    '5: topics[3].event cannot stand beside shape: segment, whose events say it themselves',
    "6: topics[4].event names track events, and the topic's type is page",
    '7: topics[5] of type group needs fields.groupId',
    '8: topics[6].fields.userId names no header: header:<name>',
    '8: topics[6].fields.messageId "a..b" is not a dotted path',
  ]);
});

test('write keys: every fault by its place', () => {
  const sha = 'a'.repeat(64);
  const { faults } = read(`writeKeys:
  - { id: web, tenant: acme, keySha256: "${sha}", allow: [track, page], rateLimit: { eventsPerSecond: 500, burst: 1000 }, origins: ["https://shop.example"] }
  - { id: web, tenant: acme, key: x }
  - { id: a, tenant: acme }
  - { id: b, tenant: acme, key: y, keySha256: "${'b'.repeat(64)}" }
  - { id: c, tenant: acme, keySha256: "${sha.toUpperCase()}" }
`);
  assert.deepEqual(faults, [
    '3: writeKeys[1].id "web" is there twice',
    '4: writeKeys[2] needs keySha256 (`npx millrace key new` makes one)',
    '5: writeKeys[3] has both key and keySha256',
    '6: writeKeys[4] has the key of another one',
  ]);
  const wrong = read('writeKeys:\n  - { id: "a b", tenant: acme, keySha256: zz, allow: [tracks], rateLimit: { eventsPerSecond: 0 }, origins: ["https://shop.example/"] }\n').faults;
  for (const place of ['id', 'keySha256', 'allow[0]', 'rateLimit.eventsPerSecond', 'origins[0]']) assert.ok(wrong.some(fault => fault.startsWith(`2: writeKeys[0].${place} `)), place);
});

test('contracts: schemas are read beside the file; every fault of both, by its place', () => {
  mkdirSync(join(folder, 'contracts'), { recursive: true });
  const write = (name: string, text: string): void => writeFileSync(join(folder, 'contracts', name), text);
  write('order.json', '{"type":"object","required":["total"]}');
  const { contracts, faults } = read(`contracts:
  - { tenant: acme, type: track, event: Order, version: 1, schema: contracts/order.json, onViolation: reject }
  - { tenant: acme, type: track, event: "*", onViolation: flag }
  - { tenant: acme, type: identify, version: 2, schema: contracts/order.json, onViolation: dead_letter }
`);
  assert.deepEqual([faults, contracts], [[], [
    { tenant: 'acme', type: 'track', event: 'Order', version: 1, schema: '{"type":"object","required":["total"]}', onViolation: 'reject' },
    { tenant: 'acme', type: 'track', event: '*', onViolation: 'flag' },
    { tenant: 'acme', type: 'identify', version: 2, schema: '{"type":"object","required":["total"]}', onViolation: 'dead_letter' },
  ]]);
  write('bad.json', '{\n  "type": "objekt",\n  "required": "total"\n}');
  write('slip.json', '{\n  "requierd": ["total"]\n}');
  assert.deepEqual(read(`contracts:
  - { tenant: acme, type: track, version: 1, schema: contracts/bad.json, onViolation: reject }
  - { tenant: acme, type: track, event: A, version: 1, schema: contracts/bad.json, onViolation: reject }
  - { tenant: acme, type: track, event: A, schema: contracts/slip.json, onViolation: reject }
  - { tenant: acme, type: group, event: A, version: 1, schema: contracts/none.json, onViolation: flag }
  - { tenant: acme, type: page, event: A, onViolation: flag }
`).faults.map(fault => fault.replaceAll(`${folder}/`, '')), [
    '2: contracts[0] needs event: a name, or "*" for all that have no contract of their own',
    '4: contracts[2] is for the same events as contracts[1]',
    '4: contracts[2] needs version: the number of its schema',
    '5: contracts[3].event names track events, pages and screens: leave it out for group',
    `5: contracts[3].schema "contracts/none.json" cannot be read: ENOENT: no such file or directory, open '${folder}/contracts/none.json'`.replaceAll(`${folder}/`, ''),
    '6: contracts[4] needs schema: the path of a JSON Schema',
    'contracts/bad.json:2: /type must be equal to one of the allowed values: array, boolean, integer, null, number, object, string (contracts[0])',
    'contracts/bad.json:2: /type must be array (contracts[0])',
    'contracts/bad.json:3: /required must be array (contracts[0])',
    'contracts/slip.json:2: "requierd" is no keyword of JSON Schema (a note of your own begins with x-) (contracts[2])',
  ]);
  assert.deepEqual(read('contracts: [{ tenant: acme, type: alias, onViolation: drop, schem: x }]\n').faults.length, 3);
});

test('what is no YAML, too many aliases, and what is not an object', () => {
  assert.match(read('topics: [\n').faults[0] ?? '', /^[12]: /);
  assert.match(read('a: 1\na: 2\n').faults[0] ?? '', /^2: Map keys must be unique/);
  assert.match(read('defaultTenant: !secret x\n').faults[0] ?? '', /^1: Unresolved tag/);
  assert.equal(read('- 1\n').faults.length, 1);
  assert.equal(read('just text\n').faults.length, 1);
  assert.match(read('topics: &a [*a]\n').faults[0] ?? '', /^1: .*circular/);
  const laughs = ['a0: &a0 [x,x,x,x,x,x,x,x,x,x]', ...Array.from({ length: 9 }, (_none, level) => `a${level + 1}: &a${level + 1} [${Array(10).fill(`*a${level}`).join()}]`)].join('\n');
  const started = performance.now();
  assert.ok(read(laughs).faults.length > 0);
  assert.ok(performance.now() - started < 2_000);
});

test('the environment names the file; faults of both are reported together; without one there is the default tenant dev', () => {
  const config = (environment: Record<string, string>) => readConfig(environment, packageRoot, folder, 'up');
  writeFileSync(path, 'defaultTenant: acme\n');
  assert.deepEqual([config({}).defaultTenant, config({}).topics, config({}).dedupe], ['acme', [], { retentionDays: null }]);
  writeFileSync(path, 'dedupe: { retentionDays: 3 }\n');
  assert.deepEqual([config({}).defaultTenant, config({}).dedupe], [null, { retentionDays: 3 }]);
  writeFileSync(path, 'nonsense: 1\n');
  assert.throws(() => config({ PORT: 'x' }), (error: unknown) => error instanceof MillraceError && /PORT="x"[^]*millrace\.yaml:1: nonsense is not known/.test(error.message));
  assert.throws(() => config({ MILLRACE_CONFIG: 'other.yaml' }), /MILLRACE_CONFIG=".*other\.yaml" is not there/);
  rmSync(path);
  assert.deepEqual([config({}).defaultTenant, config({}).topics], ['dev', []]);
});

interface Schema { description?: string; properties?: Record<string, Schema>; items?: Schema; $ref?: string }
const schema = JSON.parse(readFileSync(join(packageRoot, 'schemas', 'config', 'millrace.v1.schema.json'), 'utf8')) as Schema & { definitions: { topic: Schema & { properties: { fields: Schema } }; writeKey: Schema; contract: Schema } };

test('schema and types say the same', () => {
  const topic: Required<TopicMapping> = { name: '', tenant: '', format: 'json', shape: 'segment', type: 'track', event: '', fields: {} };
  const file: Required<ConfigFile> = { writeKeys: [], defaultTenant: null, topics: [], contracts: [], dedupe: {} };
  const contract: Required<ContractFileEntry> = { tenant: '', type: 'track', event: '', version: 1, schema: '', onViolation: 'flag' };
  const key: Required<WriteKeyEntry> = { id: '', tenant: '', keySha256: '', key: '', allow: [], rateLimit: { eventsPerSecond: 1, burst: 1 }, origins: [] };
  assert.deepEqual(Object.keys(schema.properties ?? {}).sort(), Object.keys(file).sort());
  assert.deepEqual(Object.keys(schema.definitions.writeKey.properties ?? {}).sort(), Object.keys(key).sort());
  assert.deepEqual(Object.keys(schema.definitions.contract.properties ?? {}).sort(), Object.keys(contract).sort());
  assert.deepEqual(Object.keys(schema.definitions.topic.properties).sort(), Object.keys(topic).sort());
  assert.deepEqual(Object.keys(schema.definitions.topic.properties.fields.properties ?? {}).sort(), [...textFields, ...timeFields].sort());
});

test('docs/configuration.md lists every key of the file, both ways', () => {
  const keys: [string, string][] = [];
  const collect = (at: Schema, prefix: string): void => {
    const inner = at.$ref === undefined ? at : schema.definitions[at.$ref.split('/').at(-1) as keyof typeof schema.definitions];
    if (at.description !== undefined) keys.push([prefix, at.description]);
    if (inner.items !== undefined) collect(inner.items, `${prefix}[]`);
    for (const [name, child] of Object.entries(inner.properties ?? {})) collect(child, prefix === '' ? name : `${prefix}.${name}`);
  };
  collect(schema, '');
  const page = readFileSync(join(packageRoot, 'docs', 'configuration.md'), 'utf8');
  const listed = [...page.matchAll(/^\| `((?:writeKeys|defaultTenant|topics|contracts|dedupe)[\w.[\]]*)` \| (.+) \|$/gm)].map(([, key, meaning]) => [key, meaning]);
  assert.deepEqual(listed, keys);
});

const check = (environment: Record<string, string>) => spawnSync(process.execPath, ['src/millrace.mjs', 'check'], { cwd: packageRoot, encoding: 'utf8', env: { ...process.env, ...environment }, timeout: 60_000 });

test('millrace check: a sound file, a faulty one, and parts that do not answer', async () => {
  writeFileSync(path, 'topics: [{ name: orders, tenant: acme, format: json, event: Order }]\n');
  const sound = check({ MILLRACE_CONFIG: path });
  assert.deepEqual([sound.status, sound.stderr], [0, '']);
  assert.match(sound.stdout, /the configuration is sound, topics: orders/);
  const port = await freePort('127.0.0.1');
  const deaf = check({ MILLRACE_CONFIG: path, SCHEMA_REGISTRY_URL: `http://127.0.0.1:${port}`, CLICKHOUSE_URL: `http://127.0.0.1:${port}` });
  assert.equal(deaf.status, 1);
  assert.match(deaf.stderr, /schema registry at http[^]*ECONNREFUSED[^]*ECONNREFUSED/);
  writeFileSync(join(folder, 'slip.json'), '{\n  "requierd": ["a"],\n  "properties": { "b": { "patern": "" } }\n}');
  writeFileSync(path, 'contracts: [{ tenant: acme, type: track, event: E, version: 1, schema: slip.json, onViolation: flag }]\n');
  const slip = check({ MILLRACE_CONFIG: path });
  assert.equal(slip.status, 1);
  assert.match(slip.stderr, /slip\.json:2: "requierd" is no keyword[^]*slip\.json:3: "patern" is no keyword/);
  writeFileSync(path, 'topics: [{ nam: orders }]\n');
  const faulty = check({ MILLRACE_CONFIG: path, PORT: 'x' });
  assert.equal(faulty.status, 1);
  assert.match(faulty.stderr, /PORT="x"[^]*millrace\.yaml:1: topics\[0\]\.nam is not known: did you mean name\?/);
});
