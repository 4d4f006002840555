import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import { Kafka, logLevel } from 'kafkajs';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MillraceError } from '../../src/errors.ts';
import { clickHouseEntry } from '../../src/local/clickhouse.ts';
import { kafkaAnswers } from '../../src/local/kafka.ts';
import { processInfo } from '../../src/local/process-info.ts';
import { startLocalStack, type LocalStack } from '../../src/local/stack.ts';
import type { PartStatus } from '../../src/local/supervise.ts';
import { localOptions, startTestStack, type Part, type TestStack } from '../helpers/local.ts';

const parts: Part[] = ['kafka', 'registry', ...(existsSync(clickHouseEntry()) ? ['clickhouse' as const] : [])];
const topic = 'stack-test';
const schema = JSON.stringify({ type: 'record', name: 'Probe', namespace: 'millrace.test', fields: [{ name: 'id', type: 'string' }] });

let stack: TestStack;
let schemaId: number;

before(async () => {
  stack = await startTestStack(parts);
});
after(async () => {
  await stack.close();
});

function kafkaOf(it: LocalStack): Kafka {
  return new Kafka({ brokers: [it.kafkaBrokers!], logLevel: logLevel.NOTHING, retry: { initialRetryTime: 50, retries: 8 } });
}

function registryOf(it: LocalStack): SchemaRegistry {
  return new SchemaRegistry({ host: it.registryUrl! });
}

async function produce(it: LocalStack, values: string[]): Promise<void> {
  const producer = kafkaOf(it).producer();
  await producer.connect();
  await producer.send({ topic, acks: -1, messages: values.map((value) => ({ value })) });
  await producer.disconnect();
}

async function readAll(it: LocalStack, count: number): Promise<string[]> {
  const consumer = kafkaOf(it).consumer({ groupId: `reader-${Math.random()}`, sessionTimeout: 6000 });
  const values: string[] = [];
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({ eachMessage: async ({ message }) => { values.push(message.value!.toString()); } });
  await until(() => values.length >= count);
  await consumer.disconnect();
  return values;
}

async function until(what: () => boolean | Promise<boolean>, ms = 30_000): Promise<void> {
  const deadline = Date.now() + ms;
  while (!(await what())) {
    if (Date.now() > deadline) assert.fail('waited too long');
    await sleep(50);
  }
}

function part(it: LocalStack, name: string): PartStatus {
  return it.parts().find((status) => status.name === name)!;
}

/** Kills a part with -9, and waits until the supervisor has it ready again. */
async function killPart(name: string): Promise<void> {
  const { pid, restarts } = part(stack, name);
  process.kill(pid!, 'SIGKILL');
  await until(() => part(stack, name).restarts === restarts + 1 && part(stack, name).state === 'ready');
}

test('what is started answers: Kafka, the registry and ClickHouse', async () => {
  assert.deepEqual(stack.parts().map(({ name, state }) => [name, state]).sort(), [...parts].sort().map((name) => [name, 'ready']));
  const admin = kafkaOf(stack).admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] });
  const journal = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: 2, name: 'kafkasql-journal', configNames: ['retention.ms', 'cleanup.policy'] }] });
  assert.deepEqual(journal.resources[0]?.configEntries.map(({ configName, configValue }) => `${configName}=${configValue}`).sort(), ['cleanup.policy=delete', 'retention.ms=-1']);
  await admin.disconnect();
  await produce(stack, ['one', 'two']);
  assert.deepEqual(await readAll(stack, 2), ['one', 'two']);
  schemaId = (await registryOf(stack).register({ type: SchemaType.AVRO, schema })).id;
  if (stack.clickhouseUrl !== undefined) assert.equal((await (await fetch(`${stack.clickhouseUrl}/ping`)).text()), 'Ok.\n');
});

test('a topic that asks for it takes records of 8 MiB', async () => {
  const admin = kafkaOf(stack).admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: 'large', configEntries: [{ name: 'max.message.bytes', value: String(9 * 1024 * 1024) }] }] });
  await admin.disconnect();
  const producer = kafkaOf(stack).producer();
  await producer.connect();
  const [result] = await producer.send({ topic: 'large', messages: [{ value: Buffer.alloc(8 * 1024 * 1024, 1) }] });
  assert.equal(result?.errorCode, 0);
  await producer.disconnect();
});

test('Kafka killed with -9 comes back with its data', async () => {
  await killPart('kafka');
  await produce(stack, ['three']);
  assert.deepEqual(await readAll(stack, 3), ['one', 'two', 'three']);
});

test('the registry killed with -9 comes back with its schemas, under the same ids', async () => {
  await killPart('registry');
  const registry = registryOf(stack);
  assert.equal((await registry.register({ type: SchemaType.AVRO, schema })).id, schemaId);
  const decoded = await registry.decode(await registry.encode(schemaId, { id: 'x' })) as { id: string };
  assert.equal(decoded.id, 'x');
});

test('the folder is locked while it is used', async () => {
  await assert.rejects(startLocalStack(stack.options), (error: unknown) => error instanceof MillraceError && error.code === 'data_locked'
    && error.message.includes(`process ${process.pid}`));
});

test('a taken port: the exact error, and nothing left running', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.after(() => { taken.close(); });
  const { port } = taken.address() as { port: number };
  await assert.rejects(startTestStack(['kafka', 'registry'], { registry: { port } }), (error: unknown) => error instanceof MillraceError
    && error.code === 'port_taken' && error.message === `port ${port} for the schema registry is taken by another program`
    && error.hint === 'Stop that program, or set MILLRACE_REGISTRY_PORT to another port.');
});

test('a part that cannot start ends the others: child_failed, and nothing left running', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-test-'));
  t.after(async () => { await rm(dataDir, { recursive: true, force: true }); });
  const options = await localOptions(['kafka', 'registry'], { dataDir, java: '/nowhere/java' });
  await assert.rejects(startLocalStack(options), (error: unknown) => error instanceof MillraceError && error.code === 'java_missing');
  // The port is free when it is probed, and taken when Kafka wants it.
  const racing = startLocalStack({ ...options, java: 'java', onProgress: (line) => {
    if (line === 'starting kafka') thief.listen(options.kafka!.port, '127.0.0.1');
  } });
  const thief = createServer((socket) => socket.destroy());
  t.after(() => { thief.close(); });
  await assert.rejects(racing, (error: unknown) => error instanceof MillraceError && error.code === 'child_failed' && /Address already in use/.test(error.message));
});

test('a start can be interrupted, and nothing is left running', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-test-'));
  t.after(async () => { await rm(dataDir, { recursive: true, force: true }); });
  const abort = new AbortController();
  const options = await localOptions(['kafka'], { dataDir, signal: abort.signal, onProgress: () => { setTimeout(() => { abort.abort(new Error('enough')); }, 1500); } });
  await assert.rejects(startLocalStack(options), /enough/);
  assert.equal(await kafkaAnswers('127.0.0.1', options.kafka!.port), false);
});

test('the owner killed with -9: the next start stops its orphans and has the data', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-test-'));
  const { log: _log, onProgress: _onProgress, onFatal: _onFatal, ...options } = await localOptions(parts, { dataDir });
  const owner = spawn(process.execPath, ['--import', 'tsx', fileURLToPath(new URL('../helpers/local-owner.ts', import.meta.url)), JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => { owner.kill('SIGKILL'); });
  const [line] = await once(owner.stdout, 'data') as [Buffer];
  const orphans = JSON.parse(line.toString()) as PartStatus[];
  const first = { kafkaBrokers: `127.0.0.1:${options.kafka!.port}`, registryUrl: `http://127.0.0.1:${options.registry!.port}/apis/ccompat/v7` } as LocalStack;
  const admin = kafkaOf(first).admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] });
  await admin.disconnect();
  await produce(first, ['kept']);
  const { id } = await registryOf(first).register({ type: SchemaType.AVRO, schema });
  owner.kill('SIGKILL');
  await once(owner, 'exit');
  const orphanedKafka = orphans.find(({ name }) => name === 'kafka')!;
  assert.ok(await processInfo(orphanedKafka.pid!), 'Kafka outlives a killed owner');

  const second = await startTestStack(parts, { ...options, dataDir });
  t.after(async () => {
    await second.close();
    await rm(dataDir, { recursive: true, force: true });
  });
  for (const { pid } of orphans) assert.equal(await processInfo(pid!), undefined);
  assert.deepEqual(await readAll(second, 1), ['kept']);
  assert.equal((await registryOf(second).register({ type: SchemaType.AVRO, schema })).id, id);

  const pids = second.parts().map(({ pid }) => pid!);
  await Promise.all([second.close(), second.close()]);
  for (const pid of pids) assert.equal(await processInfo(pid), undefined);
  assert.deepEqual(second.parts().map(({ state }) => state), pids.map(() => 'stopped'));
});
