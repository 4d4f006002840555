import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPublisher } from '../../src/topic/publish.ts';
import { log, record, requireAll, startLoad, startOwnKafka, until, type OwnKafka } from './publish-harness.ts';

let kafka: OwnKafka;
before(async () => {
  kafka = await startOwnKafka();
});
after(() => kafka.close());

test('a broker killed under load: nothing acknowledged is lost, and the publisher goes on by itself', { timeout: 120_000 }, async () => {
  const topic = await kafka.createTopic();
  const publisher = createPublisher({ brokers: [kafka.brokers], clientId: 'test', topics: [topic], retryForMs: 3_000, log });
  const load = startLoad(publisher, topic);
  for (let kill = 0; kill < 2; kill++) {
    const before = load.acknowledged.size;
    await until(() => load.acknowledged.size > before + 500, 20_000, 'records are acknowledged before the kill');
    process.kill(kafka.pid(), 'SIGKILL');
    await until(() => !publisher.ready(), 5_000, 'not ready without a broker');
    await until(() => publisher.ready(), 40_000, 'ready again');
    const after = load.acknowledged.size;
    await until(() => load.acknowledged.size > after + 500, 20_000, 'records are acknowledged again');
  }
  await load.stop();
  assert.deepEqual(new Set(load.failed.values()), load.failed.size === 0 ? new Set() : new Set(['kafka_unavailable']));
  assert.deepEqual(publisher.inFlight(), { bytes: 0, records: 0, full: false });
  await publisher.close();
  requireAll(load.acknowledged, await kafka.ids(topic));
});

test('a broker that hangs: bounded memory, answers in time, then all is well again', { timeout: 120_000 }, async () => {
  const topic = await kafka.createTopic();
  const publisher = createPublisher({
    brokers: [kafka.brokers], clientId: 'test', topics: [topic], retryForMs: 2_000, requestTimeoutMs: 1_000, metadataRefreshMs: 500, maxInFlightBytes: 200_000, log,
  });
  assert.ok((await publisher.publish([record(topic, 'first')])).every((result) => result.ok));
  await stopped(kafka.pid());
  const acknowledged = new Set(['first']);
  try {
    const from = Date.now();
    const waiting = Array.from({ length: 100 }, (_, n) => publisher.publish([record(topic, `stopped-${n}`, 10_000)]));
    assert.ok(publisher.inFlight().full);
    assert.ok(publisher.inFlight().bytes < 200_000 + 11_000, 'what comes when it is full is not kept');
    const results = (await Promise.all(waiting)).flat();
    assert.ok(Date.now() - from < 4_000, 'the answer comes when the time for retries is over');
    assert.ok(results.every((result) => !result.ok && result.error.code === 'kafka_unavailable'));
    await until(() => !publisher.ready(), 5_000, 'not ready while nothing answers');
    assert.deepEqual(publisher.inFlight(), { bytes: 0, records: 0, full: false });
  } finally {
    process.kill(kafka.pid(), 'SIGCONT');
  }
  await until(() => publisher.ready(), 20_000, 'ready again');
  const results = await publisher.publish(Array.from({ length: 100 }, (_, n) => record(topic, `after-${n}`)));
  results.forEach((result, n) => {
    assert.ok(result.ok);
    acknowledged.add(`after-${n}`);
  });
  await publisher.close();
  requireAll(acknowledged, await kafka.ids(topic));
});

/** Stops a process. Its other threads run on until one has had its turn to take the signal, which may be long on a busy machine. */
async function stopped(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  await until(() => execFileSync('ps', ['-o', 'state=', '-p', String(pid)], { encoding: 'utf8' }).startsWith('T'), 10_000, 'the process stands still');
}
