import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzzDoor } from './fuzz-door.ts';
import type { FuzzAnswer } from './fuzz-door.ts';
import { doorAlone, sendInto } from './send.ts';

test('some hundred bent requests: no 5xx, and nothing that the document does not have', { timeout: 30_000 }, async () => {
  const app = doorAlone('dev');
  const { requests, answers, fault } = await fuzzDoor({ key: 'dev', send: request => sendInto(app, request), seed: 1815, maxRequests: 600, maxMs: 10_000 });
  assert.equal(fault, null);
  assert.ok(requests > 100, `${requests} requests`);
  const statuses = new Set([...answers.keys()].map(place => place.split(' ').at(-1)));
  for (const status of ['200', '202', '400', '401', '404', '405', '415']) assert.ok(statuses.has(status), `${status} is among ${[...statuses].join(', ')}`);
});

test('the fuzzer finds what it is there for', { timeout: 30_000 }, async () => {
  const app = doorAlone('dev');
  // Each fault is made once by hand.
  const find = (bend: (answer: FuzzAnswer) => object): Promise<string | null> =>
    fuzzDoor({ key: 'dev', send: async request => { const answer = await sendInto(app, request); return { ...answer, ...bend(answer) }; }, seed: 7, maxRequests: 500, maxMs: 10_000 }).then(({ fault }) => fault);
  assert.match(await find(({ status }) => (status === 400 ? { status: 418 } : {})) ?? '', /a status that the document does not have/);
  assert.match(await find(({ status }) => (status === 202 ? { status: 500 } : {})) ?? '', / 500: /);
  assert.match(await find(({ status, headers }) => (status === 202 ? { headers: { ...headers, 'content-type': 'text/html' } } : {})) ?? '', /a content type that the document does not have/);
  assert.match(await find(({ status, body }) => (status === 401 ? { body: body.replace('"unauthorized"', '"secret"') } : {})) ?? '', /must be equal to one of the allowed values/);
});
