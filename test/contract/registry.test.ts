import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import { parseAvroSchema } from '../../src/contract/avro-schema.ts';
import { createEventAvro } from '../../src/contract/event-avro.ts';
import { createRegistry } from '../../src/contract/registry.ts';
import { freePort } from '../../src/local/ports.ts';
import { packageRoot } from '../helpers/local.ts';
import { sharedStack } from '../helpers/shared-stack.ts';

const registry = createRegistry({ url: sharedStack().registryUrl, timeoutMs: 10_000 });
const { schemaText } = createEventAvro(join(packageRoot, 'schemas', 'events', 'event.v1.avsc'));
const changed = (change: (fields: object[]) => object[]): string => {
  const schema = JSON.parse(schemaText) as { fields: object[] };
  return JSON.stringify({ ...schema, fields: change(schema.fields) });
};

test('a schema is registered once; its id gives back what decodes; compatible changes pass, others are refused', async () => {
  const subject = `registry-test-${randomUUID()}-value`;
  const id = await registry.register(subject, schemaText);
  assert.equal(await registry.register(subject, schemaText), id);
  const schema = await registry.writerSchema(id);
  assert.ok(schema.ok && schema.kind === 'avro');
  assert.equal((JSON.parse(schema.text) as { namespace: string }).namespace, 'millrace');
  const wider = await registry.register(subject, changed(fields => [...fields, { name: 'more', type: ['null', 'string'], default: null }]));
  assert.notEqual(wider, id);
  await assert.rejects(registry.register(subject, changed(fields => [...fields, { name: 'must', type: 'string' }])), { code: 'registry_refused' });
});

test('an unknown id is a result and is asked again; a registry that is gone is a fault that may pass', async () => {
  assert.deepEqual(await registry.writerSchema(99_999_999), { ok: false, code: 'schema_unknown', detail: 'the registry does not know schema id 99999999' });
  const nobody = createRegistry({ url: `http://127.0.0.1:${await freePort('127.0.0.1')}`, timeoutMs: 2_000 });
  await assert.rejects(nobody.writerSchema(1), { code: 'registry_unavailable', retryable: true });
  await assert.rejects(nobody.register('s', schemaText), { code: 'registry_unavailable' });
});

test('JSON Schema, Protobuf and references are told apart; an id beyond 32 bits is unknown', async () => {
  const client = new SchemaRegistry({ host: sharedStack().registryUrl });
  const unique = randomUUID().slice(0, 8);
  const text = '{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"n":{"type":"integer"}}}';
  const json = await client.register({ type: SchemaType.JSON, schema: text }, { subject: `json-${unique}` });
  assert.deepEqual(await registry.writerSchema(json.id), { ok: true, kind: 'json', text, references: [] });
  const proto = await client.register({ type: SchemaType.PROTOBUF, schema: 'syntax = "proto3"; message Event { string id = 1; }' }, { subject: `proto-${unique}` });
  const protobuf = await registry.writerSchema(proto.id);
  assert.match(protobuf.ok ? '' : `${protobuf.code}: ${protobuf.detail}`, /^schema_mismatch: .*PROTOBUF, which is not supported/);
  const post = async (subject: string, body: object): Promise<number> => {
    const response = await fetch(`${sharedStack().registryUrl}/subjects/${subject}/versions`, { method: 'POST', headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' }, body: JSON.stringify(body) });
    return ((await response.json()) as { id: number }).id;
  };
  await post(`money-${unique}`, { schema: '{"type":"record","name":"Money","namespace":"shared","fields":[{"name":"amount","type":"long"}]}' });
  const referring = await post(`order-${unique}`, {
    schema: '{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"net","type":"shared.Money"}]}',
    references: [{ name: 'shared.Money', subject: `money-${unique}`, version: 1 }],
  });
  const order = await registry.writerSchema(referring);
  assert.ok(order.ok && order.kind === 'avro');
  assert.ok(parseAvroSchema(order.text).ok);
  assert.equal((await registry.writerSchema(2 ** 32 - 1)).ok, false);
});

test('something that is no registry, or one that fails, is an outage and not an unknown schema', async () => {
  const answers: [number, string][] = [[404, '<html>not here</html>'], [404, '{"message":"no route"}'], [500, '{"error_code":50001}'], [401, '{"error_code":401}'], [200, '<html>hello</html>'], [200, '{}'], [200, '[]'], [200, '5'], [200, '{"schema":"{}","references":5}']];
  let answer = answers[0];
  const server = createServer((_request, response) => response.writeHead(answer?.[0] ?? 0).end(answer?.[1]));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const other = createRegistry({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, timeoutMs: 2_000 });
  try {
    for (answer of answers) await assert.rejects(other.writerSchema(1), { code: 'registry_unavailable' }, answer[1]);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});
test('several that register the same schema at the same moment, each for the first time, all get its id', async () => {
  for (let round = 0; round < 10; round++) {
    const subject = `registry-test-${randomUUID()}-value`;
    const ids = await Promise.all(Array.from({ length: 4 }, () => createRegistry({ url: sharedStack().registryUrl, timeoutMs: 10_000 }).register(subject, schemaText)));
    assert.equal(new Set(ids).size, 1);
  }
});

test('a schema whose first registrar died before it set BACKWARD is registered all the same', async () => {
  const subject = `registry-test-${randomUUID()}-value`;
  // All that such a process leaves behind.
  const response = await fetch(`${sharedStack().registryUrl}/subjects/${subject}/versions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ schemaType: 'AVRO', schema: schemaText }) });
  assert.equal(response.status, 200);
  const { id } = (await response.json()) as { id: number };
  assert.equal(await registry.register(subject, schemaText), id);
});
