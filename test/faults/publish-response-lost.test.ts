import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { createPublisher } from '../../src/topic/publish.ts';
import { log, requireAll, startLoad, startFaultyProxy, startOwnKafka, until, type OwnKafka } from './publish-harness.ts';

let kafka: OwnKafka;
before(async () => {
  kafka = await startOwnKafka();
});
after(() => kafka.close());

test('answers lost after the broker stored the records: copies at most, nothing acknowledged is missing', { timeout: 90_000 }, async () => {
  const topic = await kafka.createTopic();
  const proxy = await startFaultyProxy(kafka.brokers);
  const publisher = createPublisher({ brokers: [proxy.brokers], clientId: 'test', topics: [topic], log });
  const load = startLoad(publisher, topic);
  for (let cut = 1; cut <= 10; cut++) {
    const before = load.acknowledged.size;
    await until(() => load.acknowledged.size > before + 200, 20_000, `records are acknowledged after cut ${cut - 1}`);
    proxy.loseNextAnswer();
    await until(() => proxy.lost() === cut, 20_000, `cut ${cut}`);
  }
  await load.stop();
  await publisher.close();
  await proxy.close();
  assert.equal(load.failed.size, 0, 'a lost answer is worth another try');
  const copies = requireAll(load.acknowledged, await kafka.ids(topic));
  assert.ok(copies > 0, 'the broker had stored what it was not heard to acknowledge');
});
