import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { createPartitions } from '../../src/sink/partitions.ts';
import type { StoreRequest } from '../../src/sink/partitions.ts';
import type { SubscribedRecord } from '../../src/topic/subscribe.ts';
import { eventually } from '../helpers/eventually.ts';
import { keepingLog, valuesOf, withTopic } from '../helpers/topic-scene.ts';
import type { TopicScene } from '../helpers/topic-scene.ts';

/* faults.md 12: aborted transactions and control records on the topic, as other producers may leave them there. */

/** Offsets 0 to 9: a plain record, two aborted transactions that overlap, one that is committed, a plain record. */
async function sendMixed({ kafka, admin, topic, send }: TopicScene): Promise<void> {
  const [first, second, third] = await Promise.all([1, 2, 3].map(async () => {
    const producer = kafka.producer({ transactionalId: randomUUID(), idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    return producer;
  }));
  assert.ok(first && second && third);
  await send(['plain before']);
  const [a, b] = [await first.transaction(), await second.transaction()];
  const put = (transaction: typeof a, value: string): Promise<unknown> => transaction.send({ topic, messages: [{ value, partition: 0 }] });
  await put(a, 'aborted');
  await put(b, 'aborted too');
  await put(a, 'aborted');
  await b.abort();
  await a.abort();
  const c = await third.transaction();
  await put(c, 'committed 1');
  await put(c, 'committed 2');
  await c.commit();
  await send(['plain after']);
  // Kafka writes a transaction's marker in its own time; until then nothing behind the transaction's begin is shown.
  await eventually(() => admin.fetchTopicOffsets(topic), ([partition]) => partition?.high === '10');
  await Promise.all([first, second, third].map(producer => producer.disconnect()));
}

test('only what was committed is read, control records are passed, nothing is taken for a gap', { timeout: 60_000 }, async () => {
  await withTopic(1, async scene => {
    const { log, events } = keepingLog();
    const seen: string[] = [];
    await sendMixed(scene);
    const handler = async (batch: Parameters<Parameters<TopicScene['join']>[0]>[0]): Promise<bigint> => {
      seen.push(...valuesOf(batch));
      await batch.commit(batch.endOffset, '');
      return batch.endOffset;
    };
    // A byte a fetch brings one record batch at a time: some of these hold nothing for us.
    await scene.join(handler, { log, maxBytesPerPartition: 1 });
    await eventually(() => seen, all => all.includes('plain after'));
    assert.deepEqual(seen, ['plain before', 'committed 1', 'committed 2', 'plain after']);
    assert.deepEqual([...events('offset_gap'), ...events('partition_stuck')], []);
  });
});

test('a plan around them is made again by the next owner: same records, same token', { timeout: 60_000 }, async () => {
  await withTopic(1, async scene => {
    await sendMixed(scene);
    const stores: StoreRequest<SubscribedRecord>[] = [];
    const options = { highestStored: () => Promise.resolve(null), maxRows: 100, maxBytes: 1_000_000, log: keepingLog().log };
    const dies = createPartitions<SubscribedRecord>({
      ...options,
      async store(request) {
        stores.push(request);
        await new Promise<void>((_resolve, reject) => request.signal.addEventListener('abort', () => reject(new Error('dead'))));
      },
    });
    const first = await scene.join(batch => dies(batch), { closeGraceMs: 100 });
    await eventually(() => stores, all => all.length === 1);
    await first.close();
    const heir = createPartitions<SubscribedRecord>({
      ...options,
      store(request) {
        stores.push(request);
        return Promise.resolve();
      },
    });
    await scene.join(batch => heir(batch));
    await eventually(scene.committed, ([partition]) => partition?.metadata.startsWith('{"settled":1') === true);
    const [planned, again, ...others] = stores.map(({ token, records, replay }) => ({ token, offsets: records.map(({ offset }) => Number(offset)), replay }));
    assert.deepEqual([planned?.offsets.length, planned?.offsets[0]], [4, 0]);
    assert.deepEqual(again, { ...planned, replay: true });
    assert.deepEqual(others, []);
  });
});
