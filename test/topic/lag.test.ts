import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';
import type { Admin, Producer } from 'kafkajs';
import { watchLag } from '../../src/topic/lag.ts';
import type { LagWatch } from '../../src/topic/lag.ts';
import type { RecordBatch } from '../../src/topic/subscribe.ts';
import { eventually } from '../helpers/eventually.ts';
import { sharedStack, testLog } from '../helpers/shared-stack.ts';
import { createTopic } from '../helpers/create-topic.ts';

const brokers = sharedStack().kafkaBrokers.split(',');
let admin: Admin;
let producer: Producer;
before(async () => {
  const kafka = new Kafka({ brokers, logLevel: logLevel.NOTHING });
  admin = kafka.admin();
  producer = kafka.producer();
  await Promise.all([admin.connect(), producer.connect()]);
});
after(() => Promise.all([admin.disconnect(), producer.disconnect()]));

/** A topic of two partitions with so many records each, and what is told of a member that holds both. */
async function scene(counts: [number, number], options: { brokers?: string[] } = {}) {
  const topic = `lag-${randomUUID().slice(0, 8)}`;
  await createTopic(admin, { topic, numPartitions: 2 });
  for (const [partition, count] of counts.entries()) {
    if (count > 0) await producer.send({ topic, messages: Array.from({ length: count }, () => ({ partition, value: 'x' })) });
  }
  const member = { joined: true, partitions: [0, 1] };
  const lag = new Map<number, number | null>();
  const watch: LagWatch = watchLag({
    connection: { brokers: options.brokers ?? brokers, clientId: 'lag' },
    everyMs: 50,
    onLag: (_topic, partition, behind) => void lag.set(partition, behind),
    log: testLog(),
  });
  watch.follow(`group-${topic}`, topic, { joined: () => member.joined, partitions: () => member.partitions });
  const is = (...expected: (number | null | undefined)[]): Promise<unknown> => eventually(() => [lag.get(0), lag.get(1)], found => JSON.stringify(found) === JSON.stringify(expected));
  return { topic, member, lag, watch, is, commit: (partition: number, offset: number) => admin.setOffsets({ groupId: `group-${topic}`, topic, partitions: [{ partition, offset: String(offset) }] }) };
}

test('the end of each partition less the commit; without a commit less what Kafka still has', async () => {
  const { topic, is, commit, watch } = await scene([10, 3]);
  try {
    await is(10, 3);
    await commit(0, 4);
    await is(6, 3);
    await producer.send({ topic, messages: [{ partition: 1, value: 'x' }] });
    await is(6, 4);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '7' }, { partition: 1, offset: '1' }] });
    await is(3, 3);
  } finally {
    await watch.close();
  }
});

test('a partition that was given up is told of no more; between two sessions the last ones still are', async () => {
  const { topic, member, is, watch } = await scene([2, 0]);
  try {
    await is(2, 0);
    Object.assign(member, { joined: false, partitions: [] });
    await producer.send({ topic, messages: [{ partition: 0, value: 'x' }, { partition: 1, value: 'x' }] });
    await is(3, 1);
    Object.assign(member, { joined: true, partitions: [1] });
    await is(null, 1);
  } finally {
    await watch.close();
  }
});

test('a batch’s own commits count at once', async () => {
  const { topic, lag, watch } = await scene([0, 0], { brokers: ['127.0.0.1:1'] });
  const committed: bigint[] = [];
  const batch = watch.watch({
    topic, partition: 0, records: [{ offset: 5n, key: null, value: null, timestampMs: 0, headers: {} }], endOffset: 9n, highWatermark: 20n,
    session: { signal: new AbortController().signal },
    committed: () => Promise.reject(new Error('not asked for')),
    async commit(offset) {
      if (offset > 9n) throw new Error('lost');
      committed.push(offset);
    },
  } satisfies RecordBatch);
  assert.equal(lag.get(0), 15);
  await batch.commit(9n, '');
  assert.deepEqual([lag.get(0), committed], [11, [9n]]);
  await assert.rejects(batch.commit(12n, ''), /lost/);
  assert.equal(lag.get(0), 11);
  // Kafka does not answer here: that ends neither the batch nor the close.
  const began = Date.now();
  await watch.close();
  assert.ok(Date.now() - began < 5_000);
});
