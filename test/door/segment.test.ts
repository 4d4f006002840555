import assert from 'node:assert/strict';
import { test } from 'node:test';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import type { Accepted } from '../../src/door/accept.ts';
import { createKeyRing } from '../../src/door/keys.ts';
import { createDoor } from '../helpers/described-door.ts';
import type { CanonicalEvent } from '../../src/event/canonical.ts';
import { testLog } from '../helpers/shared-stack.ts';
import { writeKey } from '../helpers/write-key.ts';

/* Statuses and replies of the door by themselves: what reaches the topic is kept in a list. The way to Kafka is in test/flow. */

function door(accept: (event: CanonicalEvent, index: number) => Accepted = () => ({ ok: true }), overloaded = () => false) {
  const taken: CanonicalEvent[] = [];
  const traces: (string | null)[] = [];
  let ids = 0;
  const app = createDoor({
    keys: createKeyRing([
      writeKey('all', 'acme', 'secret'),
      writeKey('pages', 'acme', 'only-pages', { allow: ['page'] }),
    ]),
    accept: async (events, traceparent) => {
      traces.push(traceparent);
      const results = events.map(accept);
      results.forEach((result, index) => {
        const event = events[index];
        if (result.ok && event !== undefined) taken.push(event);
      });
      return results;
    },
    overloaded,
    readiness: async () => ({ ready: true, parts: { kafka: 'ok' } }),
    now: () => Date.parse('2025-03-15T14:30:00Z'),
    newMessageId: () => `new-${++ids}`,
    log: testLog(),
  });
  const post = async (url: string, payload: string | Buffer | object, headers: Record<string, string> = {}) => {
    const response = await app.inject({ method: 'POST', url, payload, headers: { authorization: 'Bearer secret', 'content-type': 'application/json', ...headers } });
    return { status: response.statusCode, body: response.json<Record<string, unknown>>(), headers: response.headers };
  };
  return { app, taken, traces, post };
}

const page = { type: 'page', userId: 'u', messageId: 'm' };

test('every way to bring the write key', async () => {
  const { app, taken } = door();
  const ways: [string, Record<string, string>][] = [
    ['/api/v1/events', { authorization: `Basic ${Buffer.from('secret:').toString('base64')}` }],
    ['/api/v1/events', { authorization: `basic ${Buffer.from('secret').toString('base64')}` }],
    ['/api/v1/events', { authorization: 'Bearer secret' }],
    ['/api/v1/events', { 'x-api-key': 'secret' }],
    ['/api/v1/events', { 'x-write-key': 'secret' }],
    ['/api/v1/events?writeKey=secret', {}],
    ['/api/v1/events/', { authorization: 'Bearer secret' }],
  ];
  for (const [url, headers] of ways) {
    const response = await app.inject({ method: 'POST', url, payload: page, headers });
    assert.equal(response.statusCode, 200, `${url} ${JSON.stringify(headers)}`);
  }
  assert.equal(taken.length, ways.length);
  assert.deepEqual([taken[0]?.tenant, taken[0]?.writeKeyId, taken[0]?.dialect], ['acme', 'all', 'segment']);
  for (const headers of [{}, { authorization: 'Bearer nope' }, { authorization: 'Digest secret' }, { authorization: '' }, { 'x-api-key': 'Secret' }]) {
    const response = await app.inject({ method: 'POST', url: '/api/v1/events', payload: page, headers });
    assert.equal(response.statusCode, 401);
    assert.equal(response.json<{ code: string }>().code, 'unauthorized');
    assert.match(String(response.headers['www-authenticate']), /^Basic /);
  }
});

test('the error body says it in both places, with the request id', async () => {
  const { post } = door();
  const { status, body, headers } = await post('/api/v1/events', { type: 'page' }, { 'x-request-id': 'mine-1' });
  assert.equal(status, 400);
  assert.equal(headers['x-request-id'], 'mine-1');
  const message = 'userId or anonymousId is required';
  assert.deepEqual(body, { error: { code: 'field_missing', message, request_id: 'mine-1', details: [{ pointer: '/userId' }] }, code: 'field_missing', message, success: false });
  const odd = await post('/api/v1/events', page, { 'x-request-id': 'a b' });
  assert.match(String(odd.headers['x-request-id']), /^[0-9a-f-]{36}$/);
});

test('a key may be limited to types', async () => {
  const { post, taken } = door();
  const limited = { authorization: 'Bearer only-pages' };
  assert.equal((await post('/api/v1/events', page, limited)).status, 200);
  const refused = await post('/api/v1/events', { type: 'track', event: 'E', userId: 'u' }, limited);
  assert.deepEqual([refused.status, refused.body['code']], [403, 'forbidden']);
  const batch = await post('/api/v1/events/batch', { batch: [page, { type: 'track', event: 'E', userId: 'u', messageId: 't' }] }, limited);
  assert.equal(batch.status, 200);
  assert.deepEqual([batch.body['accepted'], batch.body['errors']], [1, [{ index: 1, code: 'forbidden', message: 'this write key may not send track events', pointer: '/type', message_id: 't' }]]);
  assert.equal(taken.length, 2);
});

test('a batch: bad events are listed, their neighbours go through', async () => {
  const { post, taken } = door();
  const { status, body } = await post('/api/v1/events/batch', {
    batch: [page, { type: 'track', userId: 'u', messageId: 'x' }, 7, { ...page, messageId: 'm2' }, { type: 'page', userId: 'u', timestamp: '2025-02-30T00:00:00Z' }],
    context: { library: { name: 'l' } }, sentAt: '2025-03-15T14:29:59Z',
  });
  assert.equal(status, 200);
  assert.deepEqual([body['received'], body['accepted'], body['rejected']], [5, 2, 3]);
  assert.deepEqual((body['errors'] as { index: number; code: string; pointer: string; message_id?: string }[]).map(({ index, code, pointer, message_id }) => [index, code, pointer, message_id]), [
    [1, 'field_missing', '/event', 'x'], [2, 'not_an_object', '', undefined], [4, 'time_invalid', '/timestamp', undefined],
  ]);
  assert.deepEqual(taken.map(event => event.messageId), ['m', 'm2']);
  assert.match(taken[0]?.context ?? '', /"library":\{"name":"l"\}/);
});

test('a batch as a whole', async () => {
  const { post, taken } = door();
  const cases: [unknown, number, string | undefined][] = [
    [{ batch: [] }, 200, undefined],
    [{ batch: Array.from({ length: 500 }, () => page) }, 200, undefined],
    [{ batch: Array.from({ length: 501 }, () => page) }, 400, 'batch_too_large'],
    [{ batch: {} }, 400, 'batch_missing'],
    [{ events: [page] }, 400, 'batch_missing'],
    [[page], 400, 'not_an_object'],
    [{ batch: [page], context: [] }, 400, 'field_invalid'],
  ];
  for (const [body, status, code] of cases) {
    const answer = await post('/api/v1/events/batch', body as object);
    assert.deepEqual([answer.status, answer.body['code']], [status, code]);
  }
  assert.equal(taken.length, 500);
  const all = await post('/api/v1/events/batch', { batch: [{}, {}] });
  assert.deepEqual([all.status, all.body['accepted'], all.body['rejected']], [200, 0, 2]);
  const last = await post('/api/v1/events/batch', '{"batch":[{"type":"page","userId":"first"}],"batch":[{"type":"page","userId":"last"}]}');
  assert.equal(last.body['accepted'], 1);
  assert.equal(taken.at(-1)?.userId, 'last');
});

test('Kafka away: one event or a whole batch is 503 with Retry-After; a part of a batch is listed', async () => {
  const down: Accepted = { ok: false, retryable: true, message: 'Kafka did not acknowledge' };
  const one = door(() => down);
  const single = await one.post('/api/v1/events', page);
  assert.deepEqual([single.status, single.body['code']], [503, 'unavailable']);
  assert.match(String(single.headers['retry-after']), /^[1-3]$/);
  assert.equal((await one.post('/api/v1/events/batch', { batch: [page, page] })).status, 503);
  const half = door((_, index) => (index === 1 ? down : { ok: true }));
  const partial = await half.post('/api/v1/events/batch', { batch: [{}, page, { ...page, messageId: 'm2' }] });
  assert.equal(partial.status, 200);
  assert.deepEqual([partial.body['accepted'], partial.body['rejected']], [1, 2]);
  assert.deepEqual((partial.body['errors'] as { index: number; code: string }[]).map(({ index, code }) => [index, code]), [[0, 'field_missing'], [2, 'unavailable']]);
  const full = door(() => ({ ok: true }), () => true);
  assert.equal((await full.post('/api/v1/events', page)).status, 503);
  assert.equal(full.taken.length, 0);
  assert.equal((await full.app.inject('/livez')).statusCode, 200);
});

test('bodies: encodings, types, limits', async () => {
  const { post, app, taken } = door();
  const json = JSON.stringify(page);
  for (const [encoding, bytes] of [['gzip', gzipSync(json)], ['deflate', deflateSync(json)], ['br', brotliCompressSync(json)], ['GZIP', gzipSync(json)]] as const) {
    assert.equal((await post('/api/v1/events', bytes, { 'content-encoding': encoding })).status, 200, encoding);
  }
  assert.equal(taken.length, 4);
  const refused: [string | Buffer, Record<string, string>, number, string][] = [
    [gzipSync(json), { 'content-encoding': 'lzma' }, 415, 'unsupported_encoding'],
    [gzipSync(json), { 'content-encoding': 'toString' }, 415, 'unsupported_encoding'],
    [gzipSync(json).subarray(0, 20), { 'content-encoding': 'gzip' }, 400, 'malformed_json'],
    [gzipSync(Buffer.alloc(100 * 1024 * 1024, ' ')), { 'content-encoding': 'gzip' }, 413, 'body_too_large'],
    [Buffer.alloc(10 * 1024 * 1024 + 1, ' '), {}, 413, 'body_too_large'],
    [json, { 'content-type': 'text/plain' }, 415, 'unsupported_media_type'],
    ['['.repeat(10_000), {}, 400, 'too_deep'],
    [`{"type":"page","userId":"u","properties":${'{"a":'.repeat(70)}1${'}'.repeat(70)}}`, {}, 400, 'too_deep'],
    ['{"a":1', {}, 400, 'malformed_json'],
    ['{"a":\u0001}', {}, 400, 'malformed_json'],
  ];
  for (const [bytes, headers, status, code] of refused) {
    const answer = await post('/api/v1/events', bytes, headers);
    assert.deepEqual([answer.status, answer.body['code']], [status, code]);
  }
  assert.equal((await post('/api/v1/events', `\uFEFF ${json} `, { 'content-type': 'application/cloudevents+json; charset=utf-8' })).status, 200);
  const none = await app.inject({ method: 'POST', url: '/api/v1/events', headers: { authorization: 'Bearer secret' } });
  assert.equal(none.statusCode, 415);
});

test('what is not there, and what takes another method', async () => {
  const { app } = door();
  const missing = await app.inject('/nowhere');
  assert.deepEqual([missing.statusCode, missing.json<{ code: string }>().code], [404, 'not_found']);
  const wrong = await app.inject('/api/v1/events?x=1');
  assert.deepEqual([wrong.statusCode, wrong.json<{ code: string }>().code, wrong.headers['allow']], [405, 'method_not_allowed', 'POST']);
  for (const method of ['QUERY', 'PUT', 'TRACE'] as const) {
    const other = await app.inject({ method: method as 'PUT', url: '/livez', ...(method === 'PUT' && { payload: '{', headers: { 'content-type': ';' } }) });
    assert.deepEqual([other.statusCode, other.json<{ code: string }>().code, other.headers['allow']], [405, 'method_not_allowed', 'GET'], method);
  }
});

test('a well-formed traceparent goes along, another does not', async () => {
  const { post, traces } = door();
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  await post('/api/v1/events', page, { traceparent });
  await post('/api/v1/events', page, { traceparent: 'nonsense' });
  assert.deepEqual(traces, [traceparent, null]);
});
