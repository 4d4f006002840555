import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import kafkajs from 'kafkajs';
import { endpointsOf } from '../../src/compose.ts';
import { readConfig } from '../../src/config.ts';
import { MillraceError } from '../../src/errors.ts';
import type { KafkaConnection } from '../../src/topic/connection.ts';
import { provisionTopics } from '../../src/topic/provision.ts';
import { createPublisher } from '../../src/topic/publish.ts';
import { subscribe } from '../../src/topic/subscribe.ts';
import { eventually } from '../helpers/eventually.ts';
import { packageRoot } from '../helpers/local.ts';
import { startSecureKafka } from '../helpers/secure-kafka.ts';
import type { SecureKafka } from '../helpers/secure-kafka.ts';
import { sharedStack, testLog } from '../helpers/shared-stack.ts';

/* A Kafka as operators have it: TLS with client certificates, SASL, permissions. And faults.md 11: what is refused for good ends the process. */

const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, Kafka, ResourcePatternTypes, logLevel } = kafkajs;

let kafka: SecureKafka;
before(async () => {
  kafka = await startSecureKafka();
}, { timeout: 120_000 });
after(() => kafka.close());

const environment = (overrides: Record<string, string> = {}): Record<string, string> => ({
  KAFKA_BROKERS: kafka.secureBroker,
  KAFKA_SSL: 'true',
  KAFKA_SSL_CA: kafka.ca,
  KAFKA_SSL_CERT: kafka.cert,
  KAFKA_SSL_KEY: kafka.key,
  KAFKA_SASL_MECHANISM: 'scram-sha-512',
  KAFKA_SASL_USERNAME: kafka.username,
  KAFKA_SASL_PASSWORD: kafka.password,
  SCHEMA_REGISTRY_URL: sharedStack().registryUrl,
  CLICKHOUSE_URL: sharedStack().clickhouseUrl,
  ...overrides,
});
const connectionOf = (overrides: Record<string, string> = {}): KafkaConnection => endpointsOf(readConfig(environment(overrides), packageRoot, packageRoot, 'sink'), null).kafka;
const plan = (topic: string) => ({ topic, partitions: 1, retentionMs: 3_600_000, maxMessageBytes: 1_000_000 });

for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512']) {
  test(`mTLS with ${mechanism}: topics are made, published to and read`, { timeout: 60_000 }, async () => {
    const connection = connectionOf({ KAFKA_SASL_MECHANISM: mechanism });
    const topic = `secure-${randomUUID()}`;
    await provisionTopics(connection, [plan(topic)], testLog());
    const publisher = createPublisher({ ...connection, log: testLog() });
    const seen: string[] = [];
    const member = await subscribe({
      connection, topic, groupId: `group-${topic}`, sessionTimeoutMs: 6_000, maxWaitMs: 50, minBytes: 1, maxBytesPerPartition: 1_000_000, partitionsConcurrently: 1, closeGraceMs: 1_000, log: testLog(),
      onFatal: error => { throw error; },
      async handler(batch) {
        // Needs the topic's id, so the third client, which asks for it, is let in as well.
        await batch.commit(batch.endOffset, '');
        seen.push(...batch.records.map(({ value }) => value?.toString() ?? ''));
        return batch.endOffset;
      },
    });
    try {
      const [result] = await publisher.publish([{ topic, key: null, value: Buffer.from(mechanism), headers: {} }]);
      assert.ok(result?.ok);
      await eventually(() => seen, all => all.length === 1);
      assert.deepEqual(seen, [mechanism]);
    } finally {
      await member.close();
      await publisher.close();
    }
  });
}

/** Runs `millrace sink` until it ends. */
async function runSink(overrides: Record<string, string>, timeoutMs: number): Promise<{ code: number | null; stderr: string; stdout: string; ms: number }> {
  const started = Date.now();
  const child = spawn(process.execPath, [join(packageRoot, 'src', 'millrace.mjs'), 'sink'], {
    env: { PATH: process.env['PATH'] ?? '', ...environment({ PORT: '0', CLICKHOUSE_DATABASE: `test_${randomUUID().slice(0, 8)}`, MILLRACE_LOG_LEVEL: 'silent', ...overrides }) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  let stdout = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  const late = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  const [code] = (await once(child, 'exit')) as [number | null];
  clearTimeout(late);
  return { code, stderr, stdout, ms: Date.now() - started };
}

const refusals: [string, Record<string, string>, RegExp][] = [
  ['a wrong password', { KAFKA_SASL_PASSWORD: 'wrong' }, /authentication failed/i],
  ['an authority that did not sign the broker', { KAFKA_SSL_CA: 'STRANGE' }, /certificate/i],
  ['no client certificate', { KAFKA_SSL_CERT: '', KAFKA_SSL_KEY: '' }, /Kafka at/],
];
for (const [name, overrides, expected] of refusals) {
  test(`${name}: one clear line, exit code 1`, { timeout: 60_000 }, async () => {
    const { code, stderr } = await runSink(Object.fromEntries(Object.entries(overrides).map(([key, value]) => [key, value === 'STRANGE' ? kafka.strangeCa : value])), 50_000);
    const lines = stderr.split('\n').filter(line => line !== '');
    assert.equal(code, 1, stderr);
    assert.match(lines[0] ?? '', expected);
    assert.match(lines[0] ?? '', new RegExp(`Kafka at ${kafka.secureBroker}`));
    assert.ok(lines.length <= 2, stderr);
  });
}

test('a group that the user may not read with: the sink that was up ends, with a non-zero code', { timeout: 90_000 }, async () => {
  const admin = new Kafka({ brokers: [kafka.plainBroker], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    await admin.createAcls({ acl: [{ resourceType: AclResourceTypes.GROUP, resourceName: 'millrace.sink', resourcePatternType: ResourcePatternTypes.LITERAL, principal: 'User:ada', host: '*', operation: AclOperationTypes.READ, permissionType: AclPermissionTypes.DENY }] });
    const { code, stderr } = await runSink({}, 80_000);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /the consumer of millrace\.events gave up: .*authorized/i);
  } finally {
    await admin.disconnect();
  }
});

test('the fault of a refusal is known by its code', { timeout: 60_000 }, async () => {
  await assert.rejects(provisionTopics(connectionOf({ KAFKA_SASL_PASSWORD: 'wrong' }), [plan('none')], testLog()), (error: unknown) => error instanceof MillraceError && error.code === 'kafka_refused');
});
