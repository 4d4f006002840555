import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createKeyRing } from '../../src/door/keys.ts';
import { createDoor } from '../helpers/described-door.ts';
import type { DeadLetter } from '../../src/event/dead-letter.ts';
import { testLog } from '../helpers/shared-stack.ts';
import { writeKey } from '../helpers/write-key.ts';

function door() {
  let now = 0;
  let taken = 0;
  const keys = createKeyRing([
    writeKey('slow', 'acme', 'slow', { rateLimit: { eventsPerSecond: 2, burst: 4 } }),
    writeKey('shop', 'acme', 'shop', { origins: ['https://shop.example'] }),
    writeKey('free', 'acme', 'free'),
  ]);
  const app = createDoor({
    log: testLog(), keys, overloaded: () => false, readiness: async () => ({ ready: true, parts: {} }), monotonicNow: () => now,
    accept: async events => {
      taken += events.length;
      return events.map(() => ({ ok: true }) as const);
    },
  });
  const batch = async (token: string, events: number, headers: Record<string, string> = {}) =>
    app.inject({ method: 'POST', url: '/api/v1/events/batch', payload: { batch: Array(events).fill({ type: 'page', userId: 'u' }) }, headers: { 'x-write-key': token, ...headers } });
  return { app, keys, batch, taken: () => taken, wait: (ms: number) => (now += ms) };
}

test('429: over its rate, counted in events, with Retry-After and X-RateLimit; then on', async () => {
  const { batch, taken, wait } = door();
  const first = await batch('slow', 3);
  assert.deepEqual([first.statusCode, first.headers['x-ratelimit-limit'], first.headers['x-ratelimit-remaining'], first.headers['x-ratelimit-reset']], [200, '4', '1', '2']);
  const over = await batch('slow', 2);
  assert.deepEqual([over.statusCode, over.json<{ code: string }>().code, over.headers['retry-after'], over.headers['x-ratelimit-remaining']], [429, 'rate_limited', '1', '1']);
  assert.equal(taken(), 3);
  wait(1_000);
  assert.equal((await batch('slow', 2)).statusCode, 200);
  const free = await batch('free', 500);
  assert.deepEqual([free.statusCode, free.headers['x-ratelimit-limit']], [200, undefined]);
  wait(10_000);
  assert.equal((await batch('slow', 100)).statusCode, 200, 'larger than the burst, once');
  assert.equal((await batch('slow', 1)).statusCode, 429);
});

test('a key for pages of one origin: no other page, but servers, which say none; by header and in the body', async () => {
  const { app, batch } = door();
  assert.equal((await batch('shop', 1, { origin: 'https://shop.example' })).statusCode, 200);
  assert.equal((await batch('shop', 1)).statusCode, 200);
  const other = await batch('shop', 1, { origin: 'https://evil.example' });
  assert.deepEqual([other.statusCode, other.json<{ code: string }>().code], [403, 'origin_forbidden']);
  const beacon = await app.inject({ method: 'POST', url: '/v1/page', payload: '{"userId":"u","writeKey":"shop"}', headers: { origin: 'https://evil.example', 'content-type': 'text/plain' } });
  assert.equal(beacon.statusCode, 403);
  const own = await app.inject({ method: 'POST', url: '/v1/page', payload: '{"userId":"u","writeKey":"shop"}', headers: { origin: 'https://shop.example', 'content-type': 'text/plain' } });
  assert.equal(own.statusCode, 200);
});

test('keys are replaced from one request to the next', async () => {
  const { batch, keys } = door();
  keys.replace([writeKey('new', 'acme', 'new')]);
  assert.deepEqual([(await batch('free', 1)).statusCode, (await batch('new', 1)).statusCode], [401, 200]);
});

test('what a batch has refused leaves a letter each: the same one for the same event, not more than a key may, none for what is sent alone', async () => {
  const letters: DeadLetter[] = [];
  let dropped = 0;
  let now = 0;
  const app = createDoor({
    log: testLog(), keys: createKeyRing([writeKey('w', 'acme', 'w', { allow: ['page'] })]), overloaded: () => false, readiness: async () => ({ ready: true, parts: {} }), monotonicNow: () => now, now: () => 1_750_000_000_000,
    accept: async events => events.map(() => ({ ok: true }) as const),
    bury: async (some, more) => {
      letters.push(...some);
      dropped += more;
    },
  });
  const send = (url: string, payload: string) => app.inject({ method: 'POST', url, payload, headers: { 'x-write-key': 'w', 'content-type': 'application/json' } });
  const bad = '{"type":"page", "messageId":"m-1","properties":{"n":1.50}}';
  const body = `{"batch":[{"type":"page","userId":"u"},${bad},{"type":"track","event":"E","userId":"u","messageId":"m-2"}]}`;
  const answer = await send('/v1/batch', body);
  assert.equal(answer.json<{ accepted: number }>().accepted, 1);
  assert.deepEqual(letters.map(({ code, detail, payload, tenant, writeKeyId, messageId, source, atMs, place }) => [code, detail, payload.toString(), tenant, writeKeyId, messageId, source, atMs, place]), [
    ['field_missing', 'userId or anonymousId is required (/userId)', bad, 'acme', 'w', 'm-1', 'http', 1_750_000_000_000, null],
    ['forbidden', 'this write key may not send track events (/type)', '{"type":"track","event":"E","userId":"u","messageId":"m-2"}', 'acme', 'w', 'm-2', 'http', 1_750_000_000_000, null],
  ]);
  await send('/v1/batch', body);
  assert.deepEqual([letters.length, new Set(letters.map(({ id }) => id)).size], [4, 2]);
  await send('/api/v1/events', bad);
  await send('/v1/batch', '{"batch":{}}');
  assert.equal(letters.length, 4);
  for (let flood = 0; flood < 3; flood++) await send('/v1/batch', `{"batch":[${Array.from({ length: 500 }, () => '7').join()}]}`);
  assert.deepEqual([letters.length, dropped], [1_000, 504]);
  now += 2_000;
  await send('/v1/batch', `{"batch":[${Array.from({ length: 200 }, () => '7').join()}]}`);
  assert.deepEqual([letters.length, dropped], [1_100, 604]);
});
