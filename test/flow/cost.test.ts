import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endpointsOf, provision, startDoor, startSink } from '../../src/compose.ts';
import { numberMark, trackEvent, userMark } from '../../bench/harness/events.ts';
import { tenContract } from '../../bench/harness/contract.ts';
import { startFaultyProxy } from '../faults/publish-harness.ts';
import { eventually } from '../helpers/eventually.ts';
import { startClickHouseProxy } from '../helpers/http-proxy.ts';
import { freshConfigOn, sharedStack, testLog } from '../helpers/shared-stack.ts';
import { ask, queryClient } from '../helpers/system.ts';

/*
 * What events cost, in things that can be counted: a change that makes one of them dearer is seen here, on any machine.
 * Times are measured by `npm run bench` (docs/performance.md).
 */

let sent = 0;
const event = (): string => trackEvent.replaceAll(numberMark, String(sent++)).replaceAll(userMark, String(sent % 1_000));

test('produce requests, bytes, look-ups and inserts of a few thousand events', async t => {
  const stack = sharedStack();
  const kafka = await startFaultyProxy(stack.kafkaBrokers);
  const clickhouse = await startClickHouseProxy(stack.clickhouseUrl);
  const statements: string[] = [];
  clickhouse.judge = statement => {
    statements.push(statement.replaceAll(/\s+/g, ' ').trim());
    return 'pass';
  };
  const asked = (start: string): number => statements.filter(statement => statement.startsWith(start)).length;
  const config = { ...freshConfigOn({ ...stack, kafkaBrokers: kafka.brokers, clickhouseUrl: clickhouse.url }), contracts: tenContract };
  const endpoints = endpointsOf(config, null);
  const deps = { log: testLog(), onFatal: (error: Error) => { throw error; } };
  await provision(config, endpoints, deps.log);
  const door = await startDoor(config, endpoints, deps);
  const post = async (path: string, body: string): Promise<void> => {
    const response = await fetch(`${door.url}${path}`, { method: 'POST', headers: { authorization: `Basic ${Buffer.from('dev:').toString('base64')}`, 'content-type': 'application/json' }, body });
    assert.equal(response.status, 200, await response.text());
  };
  const cost = async (work: () => Promise<unknown>): Promise<{ requests: number; bytes: number }> => {
    const before = kafka.produced();
    await work();
    const after = kafka.produced();
    return { requests: after.requests - before.requests, bytes: after.bytes - before.bytes };
  };
  let sink: Awaited<ReturnType<typeof startSink>> | null = null;
  try {
    const batch = await cost(async () => {
      for (let round = 0; round < 4; round++) await post('/v1/batch', `{"batch":[${Array.from({ length: 500 }, event).join()}]}`);
    });
    t.diagnostic(`batches of 500: ${batch.requests / 4} produce requests each, ${Math.round(batch.bytes / 2_000)} bytes an event`);
    assert.ok(batch.requests <= 4, `a batch is one produce request, not ${batch.requests / 4}`);
    // The event as it came is 395 of them; its parts and headers are the rest.
    assert.ok(batch.bytes <= 2_000 * 1_000, `${batch.bytes / 2_000} bytes an event`);

    // As many as come within one turn of the event loop.
    const beside = await cost(() => Promise.all(Array.from({ length: 256 }, (_none, n) => door.publisher.publish([{ topic: config.topic.deadLetters, key: Buffer.from(`user-${n}`), value: Buffer.alloc(395), headers: {} }]))));
    t.diagnostic(`256 events at once: ${beside.requests} produce requests`);
    assert.ok(beside.requests <= 2, `${beside.requests} produce requests for 256 events that came at once`);

    statements.length = 0;
    sink = await startSink(config, endpoints, deps);
    const rows = queryClient({ ...config, clickhouse: { ...config.clickhouse, url: stack.clickhouseUrl } });
    await eventually(async () => Number((await ask<{ n: string }>(rows, 'SELECT count() AS n FROM events').catch(() => []))[0]?.n), stored => stored === sent, 30_000);
    await rows.close();
    const [inserts, lookUps] = [asked('INSERT INTO events '), asked('SELECT event_id, topic, partition, offset, content_hash FROM event_ids')];
    t.diagnostic(`${sent} events that waited in 3 partitions: ${lookUps} look-ups, ${inserts} inserts, ${statements.length} statements in all`);
    // One for each partition, and again for what a fetch left over.
    assert.ok(inserts >= 3 && inserts <= 9, `${inserts} inserts`);
    assert.ok(lookUps <= inserts + 3, `${lookUps} look-ups`);
    // Suppressions, links of profiles and the reconciliation ask too; and migrations, once.
    assert.ok(statements.length - asked('CREATE') - asked('ALTER') <= 100, `${statements.length} statements`);
  } finally {
    await door.close();
    await sink?.close();
    await clickhouse.close();
    await kafka.close();
  }
});
