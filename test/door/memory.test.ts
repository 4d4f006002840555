import assert from 'node:assert/strict';
import { connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { gzipSync } from 'node:zlib';
import { createBodyReader, maxBodyBytes } from '../../src/door/body.ts';
import { createGate } from '../../src/door/gate.ts';
import { createKeyRing } from '../../src/door/keys.ts';
import { createDoor } from '../../src/door/server.ts';
import type { CanonicalEvent } from '../../src/event/canonical.ts';
import { eventually } from '../helpers/eventually.ts';
import { testLog } from '../helpers/shared-stack.ts';
import { writeKey } from '../helpers/write-key.ts';

/* Small requests that ask for much memory. */

test('so many at once, the others in order, also after one that failed', async () => {
  const gate = createGate(2);
  let running = 0;
  let most = 0;
  const order: number[] = [];
  const results = await Promise.allSettled([0, 1, 2, 3, 4, 5].map(n => gate(async () => {
    order.push(n);
    most = Math.max(most, ++running);
    await new Promise(resolve => setImmediate(resolve));
    running--;
    if (n % 2 === 1) throw new Error('odd');
    return n;
  })));
  assert.deepEqual([most, order, results.map(({ status }) => status === 'fulfilled')], [2, [0, 1, 2, 3, 4, 5], [true, false, true, false, true, false]]);
  assert.equal(await gate(async () => 'again'), 'again');
});

test('of many compressed bodies that come together, few are at their full size in memory', async () => {
  const readBody = createBodyReader();
  // No UTF-8, so that it ends as soon as it is inflated.
  const bomb = gzipSync(Buffer.alloc(maxBodyBytes, 0xff));
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  const watching = setInterval(() => (most = Math.max(most, process.memoryUsage().arrayBuffers - before)), 2);
  const answers = await Promise.all(Array.from({ length: 24 }, async () => await readBody(bomb, 'gzip')));
  clearInterval(watching);
  assert.ok(answers.every(answer => !answer.ok && answer.code === 'malformed_json'));
  assert.ok(most < 16 * maxBodyBytes, `${most} bytes`);
});

test('a body in pieces of one byte holds no more memory than its length', { timeout: 30_000 }, async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const used = (): number => {
    collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const app = createDoor({ log: testLog(), keys: createKeyRing([]), overloaded: () => false, readiness: async () => ({ ready: true, parts: {} }), accept: async () => [] });
  let received: () => number = () => 0;
  app.server.on('connection', (socket: Socket) => (received = () => socket.bytesRead));
  await app.listen({ port: 0, host: '127.0.0.1' });
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1');
  try {
    const head = 'POST /v1/batch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\n';
    const pieces = Buffer.from('1\r\n \r\n'.repeat(100_000));
    socket.write(head);
    await eventually(async () => received(), bytes => bytes === head.length);
    const before = used();
    socket.write(pieces);
    await eventually(async () => received(), bytes => bytes === head.length + pieces.length);
    await new Promise(resolve => setTimeout(resolve, 100));
    assert.ok(used() - before < 10_000_000, `${used() - before} bytes`);
  } finally {
    socket.destroy();
    await app.close();
  }
});

test('what is copied into each event of a batch is bounded: its context, the user agent of its request', async () => {
  const taken: CanonicalEvent[] = [];
  const app = createDoor({
    log: testLog(), keys: createKeyRing([writeKey('dev', 'dev', 'dev')]), overloaded: () => false, readiness: async () => ({ ready: true, parts: {} }),
    accept: async events => {
      taken.push(...events);
      return events.map(() => ({ ok: true }) as const);
    },
  });
  const post = async (contextLength: number, events: number, userAgent = 'x') => {
    const payload = { context: { p: 'c'.repeat(contextLength - '{"p":""}'.length) }, batch: Array(events).fill({ type: 'page', userId: 'u' }) };
    const response = await app.inject({ method: 'POST', url: '/v1/batch', payload, headers: { 'x-api-key': 'dev', 'user-agent': userAgent } });
    return [response.statusCode, response.json<{ code?: string }>().code, taken.length];
  };
  assert.deepEqual(await post(32_768, 2_500), [400, 'field_invalid', 0]);
  assert.deepEqual(await post(32_768, 321), [400, 'field_invalid', 0]);
  assert.deepEqual(await post(32_768, 320), [200, undefined, 320]);
  await post(100, 1, 'u'.repeat(10_000));
  assert.equal((JSON.parse(taken.at(-1)?.context ?? '') as { userAgent: string }).userAgent.length, 1_024);
});

test('bodies that came one behind the other are let go with their connection, also those whose answers wait for another', { timeout: 20_000 }, async () => {
  let held = 0;
  let release: () => void = () => undefined;
  const answered = new Promise<void>(resolve => (release = resolve));
  const app = createDoor({
    log: testLog(), keys: createKeyRing([writeKey('dev', 'dev', 'dev')]), overloaded: () => false, readiness: async () => ({ ready: true, parts: {} }), onHeld: bytes => (held = bytes),
    accept: events => answered.then(() => events.map(() => ({ ok: true }) as const)),
  });
  await app.listen({ port: 0, host: '127.0.0.1' });
  try {
    const { port } = app.server.address() as AddressInfo;
    const event = '{"type":"track","event":"E","userId":"u"}';
    const request = `POST /v1/track HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer dev\r\nContent-Type: application/json\r\nContent-Length: ${event.length}\r\n\r\n${event}`;
    const socket = connect(port, '127.0.0.1');
    socket.write(request.repeat(3));
    await eventually(() => held, bytes => bytes === 3 * event.length, 5_000);
    socket.resetAndDestroy();
    await eventually(() => held, bytes => bytes === 0, 5_000);
    release();
    await app.inject({ method: 'POST', url: '/v1/track', payload: event, headers: { authorization: 'Bearer dev' } });
    assert.equal(held, 0);
  } finally {
    release();
    await app.close();
  }
});
