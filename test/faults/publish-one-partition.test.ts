import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { createPublisher } from '../../src/topic/publish.ts';
import { log, record, requireAll, startFaultyProxy, startOwnKafka, type OwnKafka } from './publish-harness.ts';

let kafka: OwnKafka;
before(async () => {
  kafka = await startOwnKafka();
});
after(() => kafka.close());

test('a record too large for its topic fails alone, in the middle of its own batch too', { timeout: 60_000 }, async () => {
  const topic = await kafka.createTopic({ numPartitions: 3, configEntries: [{ name: 'max.message.bytes', value: '20000' }] });
  const publisher = createPublisher({ brokers: [kafka.brokers], clientId: 'test', topics: [topic], log });
  const ids = Array.from({ length: 300 }, () => randomUUID());
  const tooLarge = new Set([17, 150, 151, 299]);
  const results = await publisher.publish(ids.map((id, n) => record(topic, id, tooLarge.has(n) ? 30_000 : 400)));
  await publisher.close();
  results.forEach((result, n) => {
    if (tooLarge.has(n)) assert.ok(!result.ok && result.error.code === 'kafka_refused', `record ${n} is refused`);
    else assert.ok(result.ok, `record ${n} is stored`);
  });
  const onTopic = await kafka.ids(topic);
  assert.equal(requireAll(new Set(ids.filter((_, n) => !tooLarge.has(n))), onTopic), 0);
  assert.equal(onTopic.length, ids.length - tooLarge.size);
});

test('one partition fails: only its records are tried again, and reported when their time is over', { timeout: 60_000 }, async () => {
  const notEnoughReplicas = 19;
  const topic = await kafka.createTopic({ numPartitions: 4 });
  const proxy = await startFaultyProxy(kafka.brokers);
  const publisher = createPublisher({ brokers: [proxy.brokers], clientId: 'test', topics: [topic], retryForMs: 1_500, log });
  const publish = async (ids: string[]) => {
    const from = Date.now();
    // Two calls that share their requests: neither must wait for the other's partition.
    const [good, bad] = [ids.filter((_, n) => n % 4 !== 2), ids.filter((_, n) => n % 4 === 2)];
    const call = async (some: string[], partitions: number[]) => {
      const results = await publisher.publish(some.map((id, n) => ({ ...record(topic, id), partition: partitions[n % partitions.length] as number })));
      return { ids: some, results, tookMs: Date.now() - from };
    };
    return Promise.all([call(good, [0, 1, 3]), call(bad, [2])]);
  };

  proxy.failPartition(2, notEnoughReplicas);
  const [good, bad] = await publish(Array.from({ length: 100 }, () => randomUUID()));
  assert.ok(good.results.every((result) => result.ok));
  assert.ok(good.tookMs < 1_000, `the others do not wait for the retries (${good.tookMs} ms)`);
  assert.ok(bad.results.every((result) => !result.ok && result.error.code === 'kafka_unavailable'));
  assert.ok(bad.tookMs >= 1_500 && bad.tookMs < 3_000, `tried for 1.5 s (${bad.tookMs} ms)`);

  const later = publish(Array.from({ length: 100 }, () => randomUUID()));
  setTimeout(() => proxy.failPartition(2, 0), 500);
  const [laterGood, laterBad] = await later;
  assert.ok([...laterGood.results, ...laterBad.results].every((result) => result.ok), 'a fault that passes is no failure');
  await publisher.close();
  await proxy.close();

  const onTopic = await kafka.ids(topic);
  requireAll(new Set([...laterGood.ids, ...laterBad.ids, ...good.ids]), onTopic);
  for (const id of [...good.ids, ...laterGood.ids]) assert.equal(onTopic.filter((other) => other === id).length, 1, 'sent once');
});
