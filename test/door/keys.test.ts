import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createKeyRing } from '../../src/door/keys.ts';
import { createDoor } from '../../src/door/server.ts';
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
