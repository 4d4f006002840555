import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createKeyRing } from '../../src/door/keys.ts';
import { createDoor } from '../../src/door/server.ts';
import { testLog } from '../helpers/shared-stack.ts';
import { writeKey } from '../helpers/write-key.ts';

/* faults.md 4, with the publisher's own tests: what the door says while no broker answers, and afterwards. */

test('Kafka away: not ready but alive, requests are told when to come back, not all at once; then all is normal', async () => {
  const kafka = { up: true, full: false };
  const app = createDoor({
    log: testLog(), keys: createKeyRing([writeKey('k', 'acme', 'k')]), overloaded: () => kafka.full,
    readiness: async () => ({ ready: kafka.up, parts: { kafka: kafka.up ? 'ok' : 'not answering' } }),
    accept: async events => events.map(() => (kafka.up ? { ok: true } : { ok: false, retryable: true, message: 'Kafka did not acknowledge' })),
  });
  const state = async (): Promise<unknown> => {
    const [ready, alive] = [await app.inject('/readyz'), await app.inject('/livez')];
    return [ready.statusCode, ready.json<{ parts: { kafka: string } }>().parts.kafka, alive.statusCode];
  };
  const send = () => app.inject({ method: 'POST', url: '/v1/page', payload: { userId: 'u' }, headers: { 'x-api-key': 'k' } });
  assert.deepEqual([await state(), (await send()).statusCode], [[200, 'ok', 200], 200]);
  for (const full of [false, true]) {
    Object.assign(kafka, { up: false, full });
    assert.deepEqual(await state(), [503, 'not answering', 200]);
    const answers = await Promise.all(Array.from({ length: 60 }, send));
    assert.deepEqual([...new Set(answers.map(({ statusCode }) => statusCode))], [503]);
    assert.deepEqual([...new Set(answers.map(({ headers }) => headers['retry-after']))].sort(), ['1', '2', '3']);
  }
  Object.assign(kafka, { up: true, full: false });
  assert.deepEqual([await state(), (await send()).statusCode], [[200, 'ok', 200], 200]);
});
