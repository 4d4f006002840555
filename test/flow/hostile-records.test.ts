import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { CompressionTypes, Kafka, logLevel } from 'kafkajs';
import type { Message } from 'kafkajs';
import { createEventAvro } from '../../src/contract/event-avro.ts';
import { createRegistry } from '../../src/contract/registry.ts';
import { eventually } from '../helpers/eventually.ts';
import { packageRoot } from '../helpers/local.ts';
import { freshConfig, sharedStack } from '../helpers/shared-stack.ts';
import { startSystem } from '../helpers/system.ts';

/* faults.md 6, with direct.test.ts. Records of a direct producer, each of which once kept its partition waiting for ever, or mixed up what is apart. */

test('no record keeps others waiting, and none is taken for another', async () => {
  const base = freshConfig();
  const system = await startSystem({ ...base, topic: { ...base.topic, partitions: 1 } });
  const producer = new Kafka({ brokers: sharedStack().kafkaBrokers.split(','), logLevel: logLevel.NOTHING }).producer();
  await producer.connect();
  try {
    const topic = system.config.topic.events;
    const avro = createEventAvro(join(packageRoot, 'schemas', 'events', 'event.v1.avsc'));
    const schemaId = await createRegistry({ url: sharedStack().registryUrl, timeoutMs: 10_000 }).register(`${topic}-value`, avro.schemaText);
    const page = (messageId: string, headers: Message['headers'] = {}): Message => ({ key: 'k', headers: { tenant: 't', ...headers }, value: JSON.stringify({ type: 'page', userId: 'u', ...(messageId !== '' && { messageId }) }) });
    const withRaw = (messageId: string, raw: string, userId = 'u'): Message => ({
      key: 'k',
      headers: { tenant: 't' },
      value: avro.encode({
        tenant: 't', dialect: 'avro', messageId, type: 'page', event: null, userId, anonymousId: null, previousId: null, groupId: null, email: null, name: null, category: null, timestampMs: 1_750_000_000_000,
        sentAtMs: null, receivedAtMs: 1_750_000_000_000, properties: null, traits: null, context: null, integrations: null, writeKeyId: null, violations: [], raw,
      }, schemaId),
    });
    await producer.send({
      topic,
      messages: [
        withRaw('unclosed', '{"timestamp":{'), withRaw('bad escape', '{"timestamp":"\\x"}'), withRaw('no text', '"timestamp'), withRaw('long id', '{}', 'u'.repeat(513)),
        page('constructor', { constructor: 'x', toString: 'y' }), { key: 'k', headers: { tenant: 't', constructor: 'x', valueOf: 'y' }, value: 'unreadable' },
        page('', { 'message-id': Buffer.from([0, 0, 0, 0x80]) }), page('', { 'message-id': Buffer.from([0, 0, 0, 0x81]) }),
        page('nul', { tenant: 't\0u' }), page('long tenant', { tenant: 't'.repeat(256) }),
      ],
    });
    // 12 MiB of nothing readable, some 12 kB in Kafka.
    await producer.send({ topic, compression: CompressionTypes.GZIP, messages: [{ key: 'k', headers: { tenant: 't' }, value: Buffer.alloc(12 * 1024 * 1024, 1) }] });
    await producer.send({ topic, messages: [page('last')] });
    await eventually(() => system.query<{ n: string }>(`SELECT count() AS n FROM events WHERE message_id = 'last'`), ([row]) => Number(row?.n) === 1, 30_000);
    const ids = await system.query<{ message_id: string }>('SELECT message_id FROM events ORDER BY message_id');
    assert.deepEqual(ids.map(({ message_id }) => message_id), ['0x00000080', '0x00000081', 'bad escape', 'constructor', 'last', 'no text', 'unclosed']);
    assert.deepEqual(await system.query('SELECT * FROM conflicts'), []);
    const letters = await eventually(() => system.query<{ code: string; bytes: number; detail: string }>('SELECT code, toUInt32(length(payload)) AS bytes, detail FROM dead_letters ORDER BY code, bytes'), rows => rows.length === 5);
    assert.deepEqual(letters.map(({ code }) => code), ['schema_mismatch', 'tenant_invalid', 'tenant_invalid', 'unreadable', 'unreadable']);
    assert.match(letters[4]?.detail ?? '', /the first 1048576 of 12582912 bytes, whose SHA-256 is [0-9a-f]{64}/);
  } finally {
    await producer.disconnect();
    await system.close();
  }
});
