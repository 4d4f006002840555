import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRateLimiter } from '../../src/door/rate-limit.ts';

const limit = { eventsPerSecond: 10, burst: 20 };

test('a bucket of tokens: the burst at once, then the rate', () => {
  let now = 0;
  const limiter = createRateLimiter(() => now);
  assert.deepEqual(limiter.take('k', limit, 15), { ok: true, limit: 20, remaining: 5, resetSeconds: 2, retryAfterSeconds: 0 });
  assert.deepEqual(limiter.take('k', limit, 10), { ok: false, limit: 20, remaining: 5, resetSeconds: 2, retryAfterSeconds: 1 });
  assert.equal(limiter.take('other', limit, 20).ok, true, 'each key has its own');
  now = 400;
  assert.equal(limiter.take('k', limit, 10).ok, false);
  now = 500;
  assert.equal(limiter.take('k', limit, 10).ok, true);
  let passed = 0;
  for (now = 1_000; now < 11_000; now += 50) if (limiter.take('k', limit, 1).ok) passed++;
  assert.ok(passed >= 100 && passed <= 106, String(passed));
  now += 60_000;
  assert.equal(limiter.take('k', limit, 0).remaining, 20, 'never more than the burst');
});

test('a batch larger than the burst passes a full bucket, and its debt is paid before the next', () => {
  let now = 0;
  const limiter = createRateLimiter(() => now);
  assert.deepEqual(limiter.take('k', limit, 120), { ok: true, limit: 20, remaining: 0, resetSeconds: 12, retryAfterSeconds: 0 });
  assert.equal(limiter.take('k', limit, 1).retryAfterSeconds, 11);
  assert.deepEqual([limiter.take('k', limit, 0).ok, limiter.take('k', limit, 1).ok], [true, false], 'a batch of no events takes nothing');
  now = 10_050;
  assert.equal(limiter.take('k', limit, 1).ok, false);
  now = 10_200;
  assert.equal(limiter.take('k', limit, 1).ok, true);
  assert.equal(limiter.take('k', limit, 120).ok, false, 'only a full one can be overdrawn');
  now = 12_200;
  assert.equal(limiter.take('k', limit, 120).ok, true);
});

test('a part of a limit is told in whole tokens', () => {
  const part = createRateLimiter(() => 0, 2).take('k', { eventsPerSecond: 1, burst: 5 }, 1);
  assert.deepEqual([part.limit, part.remaining], [2, 1]);
});
