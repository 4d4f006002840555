import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { compressSync } from 'snappy';
import { fetchJars } from '../../src/local/jars.ts';
import { readSnappy } from '../../src/topic/codecs.ts';
import { provisionTopics } from '../../src/topic/provision.ts';
import { subscribe } from '../../src/topic/subscribe.ts';
import { eventually } from '../helpers/eventually.ts';
import { cacheDir, packageRoot } from '../helpers/local.ts';
import { sharedStack, testLog } from '../helpers/shared-stack.ts';

const run = promisify(execFile);

/* faults.md 5. */

test('snappy as librdkafka writes it, without a frame', () => {
  assert.equal(readSnappy(compressSync('plain '.repeat(100))).toString(), 'plain '.repeat(100));
});

test('Java’s producer in every compression: all records are read', async t => {
  // The producer is compiled on the fly, which takes a JDK; a JRE runs Kafka, but not this test.
  if (!(await run('java', ['--list-modules'])).stdout.includes('jdk.compiler')) return t.skip('no Java compiler: this Java is a JRE');
  const { kafkaClasspath } = await fetchJars({ cacheDir, pom: join(packageRoot, 'src', 'local', 'pom.xml'), onProgress: () => undefined });
  const connection = { brokers: [sharedStack().kafkaBrokers], clientId: 'codecs-test' };
  const topic = `codecs-${randomUUID()}`;
  await provisionTopics(connection, [{ topic, partitions: 1, retentionMs: 3_600_000, maxMessageBytes: 1_000_000 }], testLog());
  const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
  await run('java', ['-cp', kafkaClasspath, join(packageRoot, 'test', 'topic', 'CompressedProducer.java'), connection.brokers.join(','), topic, '300', ...codecs], { timeout: 60_000 });
  const seen: string[] = [];
  const subscription = await subscribe({
    connection, groupId: topic, topic, sessionTimeoutMs: 6_000, maxWaitMs: 50, minBytes: 1, maxBytesPerPartition: 1_000_000, partitionsConcurrently: 1, closeGraceMs: 1_000, log: testLog(),
    onFatal: error => { throw error; },
    handler: async batch => {
      seen.push(...batch.records.map(({ value }) => value?.toString() ?? ''));
      return batch.endOffset;
    },
  });
  try {
    const expected = codecs.flatMap(codec => Array.from({ length: 300 }, (_, index) => `${codec}-${index}-${'padding '.repeat(index % 50)}`));
    await eventually(() => seen.length, count => count >= expected.length);
    assert.deepEqual(seen, expected);
  } finally {
    await subscription.close();
  }
});
