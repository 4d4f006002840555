import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';
import type { Admin, Producer } from 'kafkajs';
import { endpointsOf, parseRedriveOptions, redrive, startSink } from '../../src/compose.ts';
import type { RunningSink } from '../../src/compose.ts';
import type { Config } from '../../src/config.ts';
import type { ContractEntry } from '../../src/contract/contracts.ts';
import { eventId } from '../../src/event/identity.ts';
import { eventually } from '../helpers/eventually.ts';
import { freshConfig, sharedStack, testLog } from '../helpers/shared-stack.ts';
import { startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';

/* The same contracts for what comes over HTTP and what others write to the topics; what they find, in the table `violations`. */

const schema = JSON.stringify({ type: 'object', properties: { total: { type: 'number' } }, required: ['total', 'currency'] });
const contract = (event: string, version: number, onViolation: ContractEntry['onViolation'], tenant = 'dev'): ContractEntry => ({ tenant, type: 'track', event, version, schema, onViolation });
const contracts: ContractEntry[] = [
  contract('Strict', 1, 'reject'), contract('Aside', 2, 'dead_letter'), contract('Loose', 3, 'flag'), contract('aside_too', 4, 'dead_letter'), contract('Order', 5, 'dead_letter', 'shop'),
  { tenant: 'dev', type: 'identify', version: 6, schema: '{"properties":{"plan":{"enum":["pro"]}}}', onViolation: 'flag' },
];

const topic = `orders-${randomUUID().slice(0, 8)}`;
let config: Config;
let system: System;
let sink: RunningSink;
let producer: Producer;
let admin: Admin;

const startWith = (own: Config): Promise<RunningSink> => startSink(own, endpointsOf(own, null), { log: testLog(), onFatal: (error: Error) => { throw error; } });

before(async () => {
  const kafka = new Kafka({ brokers: [sharedStack().kafkaBrokers], logLevel: logLevel.NOTHING });
  admin = kafka.admin();
  producer = kafka.producer({ allowAutoTopicCreation: false });
  await Promise.all([admin.connect(), producer.connect()]);
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] });
  config = freshConfig({ contracts, topics: [{ name: topic, tenant: 'shop', format: 'json', event: 'Order', fields: { messageId: 'id', userId: 'user' } }] });
  system = await startSystem(config, { withSink: false });
  sink = await startWith(config);
});
after(async () => {
  await sink.close();
  await system.close();
  await admin.deleteTopics({ topics: [topic] });
  await Promise.all([admin.disconnect(), producer.disconnect()]);
});

type Row = Record<string, unknown>;
const settled = (count: number): Promise<unknown> =>
  eventually(() => system.query<{ n: number }>('SELECT (SELECT count() FROM events) + (SELECT count() FROM dead_letters) AS n'), ([row]) => Number(row?.n) === count);
const rows = (): Promise<Row[]> => system.query('SELECT tenant, message_id, type, event, contract_version, kind, pointer, action FROM violations ORDER BY message_id, pointer');
const track = (event: string, messageId: string, properties: object = { total: 'x' }): Row => ({ type: 'track', userId: 'ada', event, messageId, properties });
/** Both violations of `properties: { total: 'x' }`. */
const both = (messageId: string, event: string, version: number, action: string, tenant = 'dev'): Row[] =>
  [['required_missing', '/properties/currency'], ['type_mismatch', '/properties/total']].map(([kind, pointer]) => ({ tenant, message_id: messageId, type: 'track', event, contract_version: version, kind, pointer, action }));
const sound = { total: 1, currency: 'EUR' };
/** What `violations` holds from the first test on. */
let expected: Row[] = [];

test('each action, over HTTP and from direct producers: rows, letters, events', async () => {
  const single = await system.post('/api/v1/events', track('Strict', 'h-strict'));
  assert.deepEqual([single.status, single.body['code']], [422, 'contract_violation']);
  assert.equal((await system.post('/api/v1/events', track('Strict', 'h-sound', sound))).status, 200);
  const batch = await system.post('/api/v1/events/batch', { batch: [track('Strict', 'b-strict'), track('Aside', 'b-aside'), track('Loose', 'b-loose'), { type: 'identify', userId: 'ada', messageId: 'b-identify', traits: { plan: 'free' } }] });
  assert.deepEqual([batch.status, batch.body['accepted'], (batch.body['errors'] as Row[]).map(({ index, code }) => [index, code])], [200, 3, [[0, 'contract_violation']]]);
  const whisperr = await system.post('/v1/events/track', { external_user_id: 'ada', event_type: 'aside_too', properties: { total: 'x' }, context: { $message_id: 'w-aside' } }, { 'x-api-key': 'dev' });
  assert.equal(whisperr.status, 202);
  await system.post('/api/v1/client/events', { type: 'odd_one', email: 'a@b.example', idempotency_key: 'm-odd' }, { authorization: 'Bearer dev' });
  await producer.send({ topic: config.topic.events, messages: ['Strict', 'Aside', 'Loose'].map(event => ({ key: 'ada', value: JSON.stringify(track(event, `k-${event.toLowerCase()}`)), headers: { tenant: 'dev' } })) });
  await producer.send({ topic, messages: [{ key: null, value: '{"id":"t-bad","user":"ada","total":"x"}' }, { key: null, value: '{"id":"t-sound","total":1,"currency":"EUR"}' }] });
  await settled(13);

  expected = [
    ...both('h-strict', 'Strict', 1, 'reject'), ...both('b-strict', 'Strict', 1, 'reject'), ...both('b-aside', 'Aside', 2, 'dead_letter'), ...both('b-loose', 'Loose', 3, 'flag'),
    { tenant: 'dev', message_id: 'b-identify', type: 'identify', event: '', contract_version: 6, kind: 'other', pointer: '/traits/plan', action: 'flag' },
    ...both('w-aside', 'aside_too', 4, 'dead_letter'),
    { tenant: 'dev', message_id: 'm-odd', type: 'track', event: 'odd_one', contract_version: 0, kind: 'unplanned_event', pointer: '/event', action: 'flag' },
    ...both('k-strict', 'Strict', 1, 'reject'), ...both('k-aside', 'Aside', 2, 'dead_letter'), ...both('k-loose', 'Loose', 3, 'flag'), ...both('t-bad', 'Order', 5, 'dead_letter', 'shop'),
  ].sort((a, b) => (`${String(a['message_id'])} ${String(a['pointer'])}` < `${String(b['message_id'])} ${String(b['pointer'])}` ? -1 : 1));
  assert.deepEqual(await rows(), expected);
  assert.deepEqual(await system.query('SELECT message_id, contract_version, violations FROM events ORDER BY message_id'), [
    { message_id: 'b-identify', contract_version: 6, violations: ['other:/traits/plan'] },
    { message_id: 'b-loose', contract_version: 3, violations: ['required_missing:/properties/currency', 'type_mismatch:/properties/total'] },
    { message_id: 'h-sound', contract_version: 1, violations: [] },
    { message_id: 'k-loose', contract_version: 3, violations: ['required_missing:/properties/currency', 'type_mismatch:/properties/total'] },
    { message_id: 'm-odd', contract_version: 0, violations: ['unplanned_event'] },
    { message_id: 't-sound', contract_version: 5, violations: [] },
  ]);
  const letters = await system.query<Row>('SELECT message_id, code, source, event_id, payload FROM dead_letters ORDER BY message_id');
  assert.deepEqual(letters.map(({ message_id, code, source }) => [message_id, code, source].join(' ')), ['b-aside contract_violation http', 'b-strict contract_violation http', 'h-strict contract_violation http', 'k-aside contract_violation kafka', 'k-strict contract_violation kafka', 't-bad contract_violation kafka', 'w-aside contract_violation http'].sort());
  assert.deepEqual([letters[0]?.['payload'], letters[0]?.['event_id']], [JSON.stringify(track('Aside', 'b-aside')), eventId('dev', 'b-aside')]);
  const [message] = await system.query(`SELECT message, at FROM violations WHERE message_id = 'k-loose' AND kind = 'type_mismatch'`);
  assert.equal(message?.['message'], 'must be number');
});

test('the batches again from the beginning, by a sink with other contracts: the same rows, and nothing is judged again', async () => {
  const columns = 'message_id, contract_version, violations, topic, partition, offset';
  const look = async (): Promise<unknown[]> => [await rows(), await system.query(`SELECT ${columns} FROM events ORDER BY message_id`), await system.query('SELECT id, code, attempts FROM dead_letters ORDER BY id'), await system.query('SELECT topic, partition, offset, outcome, reason FROM outcomes ORDER BY topic, partition, offset')];
  const was = await look();
  await sink.close();
  const groups = [[config.consumerGroup, config.topic.events], [`${config.consumerGroup}.topic.${topic}`, topic], [`${config.consumerGroup}.dead-letters`, config.topic.deadLetters]] as const;
  const ends = await Promise.all(groups.map(([, name]) => admin.fetchTopicOffsets(name)));
  await Promise.all(groups.map(([groupId, name], index) => admin.setOffsets({ groupId, topic: name, partitions: (ends[index] ?? []).map(({ partition }) => ({ partition, offset: '0' })) })));
  // What was refused would pass now, and what was flagged would not.
  const others = contracts.map((entry): ContractEntry => (entry.onViolation === 'flag' ? { ...entry, onViolation: 'reject' } : { ...entry, schema: '{}' }));
  sink = await startWith({ ...config, contracts: others });
  await eventually(
    () => Promise.all(groups.map(([groupId, name]) => admin.fetchOffsets({ groupId, topics: [name] }))),
    found => found.every((group, index) => (ends[index] ?? []).every(({ partition, high }) => Number(group[0]?.partitions.find(at => at.partition === partition)?.offset) === Number(high) || high === '0')),
  );
  assert.deepEqual(await look(), was);
});

test('redriven under a contract that they fit, events are stored as they were sent, of their own dialect', async () => {
  const run = async (...args: string[]): Promise<string> => {
    let text = '';
    const parsed = parseRedriveOptions(args);
    assert.ok(parsed.ok === true);
    const terminal = { write: (more: string) => void (text += more), progress: () => undefined, ask: null };
    assert.equal(await redrive(parsed.options, config, endpointsOf(config, null), { log: testLog() }, terminal, new AbortController().signal), 0);
    return text;
  };
  // By the contracts as they were nothing would change; the sink has others.
  assert.match(await run('--code', 'contract_violation', '--dry-run'), /0 would be read as events, 7 would be dead letters again/);
  await run('--code', 'contract_violation', '--yes');
  await settled(13 + 7);
  assert.deepEqual(await system.query(`SELECT message_id, dialect, source, write_key_id, event FROM events WHERE message_id IN (SELECT message_id FROM dead_letters) ORDER BY message_id`), [
    { message_id: 'b-aside', dialect: 'segment', source: 'http', write_key_id: 'dev', event: 'Aside' }, { message_id: 'b-strict', dialect: 'segment', source: 'http', write_key_id: 'dev', event: 'Strict' },
    { message_id: 'h-strict', dialect: 'segment', source: 'http', write_key_id: 'dev', event: 'Strict' }, { message_id: 'k-aside', dialect: 'json', source: 'kafka', write_key_id: '', event: 'Aside' },
    { message_id: 'k-strict', dialect: 'json', source: 'kafka', write_key_id: '', event: 'Strict' }, { message_id: 't-bad', dialect: 'json', source: 'kafka', write_key_id: '', event: 'Order' },
    { message_id: 'w-aside', dialect: 'whisperr', source: 'http', write_key_id: 'dev', event: 'aside_too' },
  ]);
  assert.deepEqual(await rows(), expected);
});
