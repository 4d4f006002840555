/**
 * How fast a backlog is drained: events that wait on the topic, from the moment a sink starts until all are rows.
 *   node --import tsx bench/sink.ts [--events 1000000] [--partitions 12] [--users 100000] [--duplicates 0.01] [--properties 8]
 * Starts a stack of its own in a temporary folder. Dedupe is on; a share of the events comes twice.
 * Prints rows a second, CPU a row of the sink and of ClickHouse, and the sink's largest memory (Linux only).
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { endpointsOf, provision } from '../src/compose.ts';
import { createEventAvro } from '../src/contract/event-avro.ts';
import { createRegistry } from '../src/contract/registry.ts';
import type { CanonicalEvent } from '../src/event/canonical.ts';
import { createPublisher } from '../src/topic/publish.ts';
import { packageRoot, startTestStack } from '../test/helpers/local.ts';
import { freshConfigOn, testLog } from '../test/helpers/shared-stack.ts';
import { spawnSink } from '../test/helpers/spawn-sink.ts';
import { ask, queryClient } from '../test/helpers/system.ts';

const { values: args } = parseArgs({
  options: {
    events: { type: 'string', default: '1000000' },
    partitions: { type: 'string', default: '12' },
    users: { type: 'string', default: '100000' },
    duplicates: { type: 'string', default: '0.01' },
    properties: { type: 'string', default: '8' },
  },
});
const events = Number(args.events);
const duplicates = Math.round(events * Number(args.duplicates));
const clockTicks = 100;

function makeEvent(index: number): CanonicalEvent {
  const properties = `{${Array.from({ length: Number(args.properties) }, (_, n) => `"property_${n}":${n % 2 === 0 ? index % 1_000 : `"value ${index % 97}"`}`).join()}}`;
  const context = '{"library":{"name":"analytics-node","version":"2.1.0"},"ip":"203.0.113.7"}';
  const userId = `user-${index % Number(args.users)}`;
  const timestampMs = Date.UTC(2025, 0, 1) + index * 10;
  return {
    tenant: 'dev', dialect: 'segment', messageId: `bench-${index}`, type: 'track', event: `Event ${index % 20}`, userId, anonymousId: null, previousId: null, groupId: null, email: null, name: null,
    category: null, timestampMs, sentAtMs: null, receivedAtMs: Date.now(), properties, traits: null, context, integrations: null, writeKeyId: 'dev', violations: [],
    raw: `{"type":"track","messageId":"bench-${index}","userId":"${userId}","event":"Event ${index % 20}","timestamp":"${new Date(timestampMs).toISOString()}","properties":${properties},"context":${context}}`,
  };
}

function usage(pid: number): { cpuSeconds: number; maxRssMb: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
  const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return { cpuSeconds: (Number(stat[11]) + Number(stat[12])) / clockTicks, maxRssMb: Number(peak) / 1024 };
}

const stack = await startTestStack(['kafka', 'registry', 'clickhouse']);
try {
  const fresh = freshConfigOn({ kafkaBrokers: stack.kafkaBrokers ?? '', registryUrl: stack.registryUrl ?? '', clickhouseUrl: stack.clickhouseUrl ?? '' });
  const config = { ...fresh, topic: { ...fresh.topic, partitions: Number(args.partitions) } };
  const endpoints = endpointsOf(config, null);
  await provision(config, endpoints, testLog());
  const avro = createEventAvro(`${packageRoot}/schemas/events/event.v1.avsc`);
  const schemaId = await createRegistry({ url: endpoints.registry.url, timeoutMs: 10_000 }).register(`${config.topic.events}-value`, avro.schemaText);

  const publisher = createPublisher({ ...endpoints.kafka, topics: [config.topic.events], log: testLog() });
  const total = events + duplicates;
  let bytes = 0;
  for (let at = 0; at < total; at += 2_000) {
    const records = Array.from({ length: Math.min(2_000, total - at) }, (_, n) => {
      const event = makeEvent((at + n) % events);
      const value = avro.encode(event, schemaId);
      bytes += value.length;
      return { topic: config.topic.events, key: Buffer.from(event.userId ?? ''), value, headers: { tenant: 'dev', dialect: 'segment', 'message-id': event.messageId } };
    });
    for (const result of await publisher.publish(records)) if (!result.ok) throw result.error;
  }
  await publisher.close();
  console.log(`${total} records of ${(bytes / total).toFixed(0)} bytes wait in ${args.partitions} partitions`);

  const clickhousePid = stack.parts().find(({ name }) => name === 'clickhouse')?.pid ?? 0;
  const clickhouse = queryClient(config);
  const clickhouseBefore = usage(clickhousePid);
  const began = performance.now();
  const sink = await spawnSink(config);
  let rows = 0;
  let shown = 0;
  while (rows < total) {
    await new Promise(resolve => setTimeout(resolve, 500));
    const [row] = await ask<{ n: string }>(clickhouse, 'SELECT (SELECT count() FROM events) + (SELECT count() FROM outcomes) AS n');
    rows = Number(row?.n);
    if (performance.now() - began > 1_200_000) throw new Error('not drained within 20 minutes');
    if (performance.now() - shown > 5_000) {
      shown = performance.now();
      process.stderr.write(`${rows} of ${total}\n`);
    }
  }
  const seconds = (performance.now() - began) / 1_000;
  const used = usage(sink.pid);
  const clickhouseUsed = usage(clickhousePid);
  const [sizes] = await ask<Record<string, string>>(clickhouse, `SELECT countIf(event_type = 'NewPart') AS parts FROM system.part_log WHERE database = currentDatabase()`).catch(() => [{ parts: '?' }]);
  const [disk] = await ask<Record<string, string>>(clickhouse, `SELECT sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database = currentDatabase()`);
  const [check] = await ask<Record<string, string>>(clickhouse, 'SELECT count() AS n, uniqExact(event_id) AS ids FROM events');
  console.table({
    'records/s': Math.round(total / seconds),
    seconds: seconds.toFixed(1),
    'sink CPU µs a record': ((used.cpuSeconds * 1e6) / total).toFixed(1),
    'ClickHouse CPU µs a record': (((clickhouseUsed.cpuSeconds - clickhouseBefore.cpuSeconds) * 1e6) / total).toFixed(1),
    'sink, largest memory MB': Math.round(used.maxRssMb),
    'bytes a record in ClickHouse': (Number(disk?.['bytes']) / total).toFixed(0),
    'parts made': sizes?.['parts'] ?? '?',
    'rows (must be the events)': `${check?.['n']} of ${events}, ${check?.['ids']} ids`,
  });
  await sink.stop();
  await clickhouse.close();
} finally {
  await stack.close();
}
