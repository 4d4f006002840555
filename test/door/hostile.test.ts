import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { createKeyRing } from '../../src/door/keys.ts';
import { createDoor } from '../helpers/described-door.ts';
import type { CanonicalEvent } from '../../src/event/canonical.ts';
import { eventRow } from '../../src/event/row.ts';
import { eventually } from '../helpers/eventually.ts';
import { testLog } from '../helpers/shared-stack.ts';
import { writeKey } from '../helpers/write-key.ts';

function door(before: () => Promise<void> = async () => undefined) {
  const taken: CanonicalEvent[] = [];
  const app = createDoor({
    log: testLog(),
    overloaded: () => false,
    readiness: async () => ({ ready: true, parts: {} }),
    keys: createKeyRing([writeKey('dev', 'dev', 'dev')]),
    accept: async events => {
      await before();
      taken.push(...events);
      return events.map(() => ({ ok: true }) as const);
    },
  });
  const post = async (url: string, payload: string | Buffer, headers: Record<string, string> = {}) => {
    const response = await app.inject({ method: 'POST', url, payload, headers: { authorization: 'Bearer dev', 'content-type': 'application/json', ...headers } });
    return { status: response.statusCode, code: response.json<{ code?: string }>().code, headers: response.headers };
  };
  return { app, taken, post };
}

const event = '{"type":"track","event":"E","userId":"u"}';

test('what a batch gives to all of its events is bounded, checked, and kept in raw', async () => {
  const { post, taken } = door();
  const refused: [string, string][] = [
    [`{"p":"${'c'.repeat(1_000_000)}"}`, 'field_invalid'],
    ['{"x":"\\ud800"}', 'string_invalid'],
    ['{"__proto__":{"a":1}}', 'key_forbidden'],
    [`${'{"a":'.repeat(100)}1${'}'.repeat(100)}`, 'too_deep'],
  ];
  for (const [context, code] of refused) {
    const body = gzipSync(`{"context":${context},"batch":[${Array.from({ length: 500 }, () => event).join()}]}`);
    assert.deepEqual(await post('/api/v1/events/batch', body, { 'content-encoding': 'gzip' }).then(answer => [answer.status, answer.code]), [400, code]);
  }
  assert.equal(taken.length, 0);
  await post('/api/v1/events/batch', `{"integrations":{"All":false},"context":{"big":18446744073709551616},"batch":[${event}]}`);
  const [one] = taken;
  assert.ok(one);
  assert.equal(one.raw, `{"context":{"big":18446744073709551616},"integrations":{"All":false},${event.slice(1)}`);
  const row = eventRow(one, { topic: 't', partition: 0, offset: 0n, eventId: 'x', source: 'http', key: null, contentHash: '0' });
  assert.match(row, /not_queryable:\/context\/big/);
  const padded = `{"type":"page","userId":"u","properties":{"p":"${'x'.repeat(262_144 - 100)}"}}`;
  await post('/api/v1/events/batch', `{"context":{"p":"${'c'.repeat(2_000)}"},"batch":[${padded}]}`);
  assert.equal(taken.length, 1, 'an event and its defaults together are at most 256 KiB');
});

test('names of Object.prototype are no content encodings, and other spaces no JSON', async () => {
  const { post } = door();
  for (const encoding of ['constructor', '__proto__', 'toString']) assert.equal((await post('/api/v1/events', event, { 'content-encoding': encoding })).status, 415);
  for (const space of ['\u00a0', '\v', '\u2028', '\ufeff\ufeff']) assert.equal((await post('/api/v1/events', space + event)).status, 400);
});

test('a stranger is turned away before the body is read', async () => {
  const { app } = door();
  await app.listen({ port: 0, host: '127.0.0.1' });
  try {
    const { port } = app.server.address() as AddressInfo;
    const socket = connect(port, '127.0.0.1');
    socket.write('POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{');
    const [answer] = (await once(socket, 'data')) as [Buffer];
    assert.match(answer.toString(), /^HTTP\/1\.1 401 /);
    socket.destroy();
  } finally {
    await app.close();
  }
});

test('what is no HTTP, or no URL, gets the error body too', async () => {
  const { app } = door();
  const bad = await app.inject('/%ff');
  assert.deepEqual([bad.statusCode, bad.json<{ code: string; success: boolean }>().code, bad.json<{ success: boolean }>().success], [400, 'bad_request', false]);
  assert.equal(bad.headers['x-request-id'], bad.json<{ error: { request_id: string } }>().error.request_id);
  await app.listen({ port: 0, host: '127.0.0.1' });
  try {
    const { port } = app.server.address() as AddressInfo;
    for (const [request, status, code] of [['nonsense\r\n\r\n', 400, 'bad_request'], [`GET / HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(100_000)}\r\n\r\n`, 431, 'headers_too_large']] as const) {
      const socket = connect(port, '127.0.0.1');
      socket.write(request);
      let answer = '';
      for await (const chunk of socket) answer += String(chunk);
      assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `));
      const body = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n'))) as { code: string; error: { request_id: string } };
      assert.deepEqual([body.code, /^X-Request-Id: (.+)$/m.exec(answer)?.[1]?.trim()], [code, body.error.request_id]);
    }
  } finally {
    await app.close();
  }
});

test('headers that do not come to an end are not waited for', { timeout: 20_000 }, async () => {
  const { app } = door();
  await app.listen({ port: 0, host: '127.0.0.1' });
  try {
    const { port } = app.server.address() as AddressInfo;
    const socket = connect(port, '127.0.0.1');
    socket.write('POST /api/v1/events HTTP/1.1\r\nHost: x\r\n');
    let answer = '';
    for await (const chunk of socket) answer += String(chunk);
    assert.match(answer, /^HTTP\/1\.1 408 [^]*"request_timeout"/);
  } finally {
    await app.close();
  }
});

test('while it closes, what is under way is answered, and what comes after it is told when to come back', { timeout: 20_000 }, async () => {
  let release: () => void = () => undefined;
  const held = new Promise<void>(resolve => (release = resolve));
  let entered: () => void = () => undefined;
  const inside = new Promise<void>(resolve => (entered = resolve));
  const { app } = door(async () => {
    entered();
    await held;
  });
  await app.listen({ port: 0, host: '127.0.0.1' });
  const { port } = app.server.address() as AddressInfo;
  const socket = connect(port, '127.0.0.1');
  const request = `POST /api/v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: dev\r\nContent-Type: application/json\r\nContent-Length: ${event.length}\r\n\r\n${event}`;
  socket.write(request);
  await inside;
  const closed = app.close();
  socket.write(request);
  setTimeout(release, 200);
  let answers = '';
  for await (const chunk of socket) answers += String(chunk);
  await closed;
  const [, first = '', second = ''] = answers.split('HTTP/1.1 ');
  assert.match(first, /^200 [^]*"success":true/);
  assert.match(second, /^503 [^]*retry-after: [1-3]\r\n[^]*"unavailable"/);
});

test('bytes behind a compressed body are no part of it', async () => {
  const { post, taken } = door();
  const behind: [string, Buffer][] = [['gzip', gzipSync(event)], ['deflate', deflateSync(event)], ['br', brotliCompressSync(event)]];
  for (const [encoding, bytes] of behind) {
    for (const more of ['x', '\0', event]) assert.deepEqual((({ status, code }) => [status, code])(await post('/api/v1/events', Buffer.concat([bytes, Buffer.from(more)]), { 'content-encoding': encoding })), [400, 'malformed_json'], `${encoding} ${more}`);
    assert.equal((await post('/api/v1/events', bytes, { 'content-encoding': encoding })).status, 200);
  }
  assert.equal(taken.length, 3);
});

test('a client that has closed its side after the request is answered', { timeout: 20_000 }, async () => {
  const { app } = door(() => new Promise(resolve => setTimeout(resolve, 50)));
  await app.listen({ port: 0, host: '127.0.0.1' });
  try {
    const { port } = app.server.address() as AddressInfo;
    const socket = connect(port, '127.0.0.1');
    socket.end(`POST /api/v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: dev\r\nContent-Type: application/json\r\nContent-Length: ${event.length}\r\n\r\n${event}`);
    let answer = '';
    for await (const chunk of socket) answer += String(chunk);
    assert.match(answer, /^HTTP\/1\.1 200 /);
  } finally {
    await app.close();
  }
});

test('bodies on their way in are bounded together: one more is told to come back, and when they are gone there is room again', { timeout: 30_000 }, async () => {
  const { app, post } = door();
  await app.listen({ port: 0, host: '127.0.0.1' });
  const { port } = app.server.address() as AddressInfo;
  const part = Buffer.alloc(8 * 1024 * 1024, ' ');
  const slow = Array.from({ length: 16 }, () => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(`POST /api/v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: dev\r\nContent-Type: application/json\r\nContent-Length: ${part.length + 10}\r\n\r\n`);
    return new Promise<typeof socket>(resolve => socket.write(part, () => resolve(socket)));
  });
  try {
    const sockets = await Promise.all(slow);
    const refused = await eventually(() => post('/api/v1/events', event), ({ status }) => status === 503);
    assert.equal(refused.code, 'unavailable');
    assert.ok(Number(refused.headers['retry-after']) >= 1);
    for (const socket of sockets) socket.destroy();
    await eventually(() => post('/api/v1/events', event), ({ status }) => status === 200);
  } finally {
    await app.close();
  }
});

test('a body over the limit is answered with 413, also where it comes in pieces of unknown number, and the connection lives on', { timeout: 30_000 }, async () => {
  const { app } = door();
  const url = await app.listen({ port: 0, host: '127.0.0.1' });
  try {
    const headers = { 'content-type': 'application/json', 'x-api-key': 'dev' };
    const large = Buffer.alloc(11 * 1024 * 1024, ' ');
    const pieces = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let at = 0; at < large.length; at += 1_000_000) controller.enqueue(large.subarray(at, at + 1_000_000));
        controller.close();
      },
    });
    const known = await fetch(`${url}/api/v1/events`, { method: 'POST', headers, body: large });
    assert.deepEqual([known.status, ((await known.json()) as { code: string }).code], [413, 'body_too_large']);
    const unknown = await fetch(`${url}/api/v1/events`, { method: 'POST', headers, body: pieces, duplex: 'half' });
    assert.deepEqual([unknown.status, ((await unknown.json()) as { code: string }).code], [413, 'body_too_large']);
    assert.equal((await fetch(`${url}/api/v1/events`, { method: 'POST', headers, body: event })).status, 200);
  } finally {
    await app.close();
  }
});

test('a page can read every refusal, also the one of a busy or a closing door, and when to come back', async () => {
  let busy = true;
  const app = createDoor({ log: testLog(), overloaded: () => busy, readiness: async () => ({ ready: true, parts: {} }), keys: createKeyRing([]), accept: async () => [] });
  const overloaded = await app.inject({ method: 'POST', url: '/v1/batch', payload: '{}' });
  busy = false;
  const none = await app.inject({ method: 'POST', url: '/nothing', payload: '{}' });
  const badUrl = await app.inject('/%ff');
  const longId = await app.inject(`/v1/events/${'a'.repeat(300)}`);
  assert.deepEqual([overloaded, none, badUrl, longId].map(({ statusCode }) => statusCode), [503, 404, 400, 401]);
  for (const { headers, body, statusCode } of [overloaded, none, badUrl, longId]) {
    if (statusCode !== 400) assert.equal(headers['access-control-allow-origin'], '*', body);
    if (statusCode !== 400) assert.match(String(headers['access-control-expose-headers']), /Retry-After/);
    assert.equal(headers['x-request-id'], (JSON.parse(body) as { error: { request_id: string } }).error.request_id);
  }
  assert.match(String(overloaded.headers['retry-after']), /^[1-3]$/);
});

/** What comes back until the door closes the connection. */
async function exchange(port: number, sent: string): Promise<string[]> {
  const socket = connect(port, '127.0.0.1');
  socket.write(sent);
  let answers = '';
  for await (const chunk of socket) answers += String(chunk);
  return answers.split('HTTP/1.1 ').slice(1);
}

test('what is no HTTP, or does not end, after a good request on the same connection is answered after it', { timeout: 20_000 }, async () => {
  const { app, taken } = door(() => new Promise(resolve => setTimeout(resolve, 100)));
  await app.listen({ port: 0, host: '127.0.0.1' });
  try {
    const { port } = app.server.address() as AddressInfo;
    const head = 'POST /api/v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: dev\r\nContent-Type: application/json\r\n';
    const good = `${head}Content-Length: ${event.length}\r\n\r\n${event}`;
    for (const wrong of ['nonsense\r\n\r\n', `${head}Transfer-Encoding: chunked\r\n\r\nZZ\r\n`]) {
      const answers = await exchange(port, good + good + wrong);
      assert.deepEqual(answers.map(answer => answer.slice(0, 3)), ['200', '200', '400']);
    }
    assert.equal(taken.length, 4);
    // A body of another length than it says.
    assert.deepEqual((await exchange(port, `${good}${event}`)).map(answer => answer.slice(0, 3)), ['200', '400']);
    const broken = await exchange(port, `${head}Transfer-Encoding: chunked\r\n\r\nZZ\r\n`);
    assert.deepEqual(broken.map(answer => answer.slice(0, 3)), ['400']);
  } finally {
    await app.close();
  }
});

test('no host and an unknown expectation: the first is refused with the error body, the other no matter', { timeout: 20_000 }, async () => {
  const { app } = door();
  await app.listen({ port: 0, host: '127.0.0.1' });
  try {
    const { port } = app.server.address() as AddressInfo;
    const rest = `X-API-Key: dev\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${event.length}\r\n\r\n${event}`;
    const [hostless = ''] = await exchange(port, `POST /api/v1/events HTTP/1.1\r\n${rest}`);
    assert.match(hostless, /^400 [^]*"bad_request"/);
    const [odd = ''] = await exchange(port, `POST /api/v1/events HTTP/1.1\r\nHost: x\r\nExpect: wonders\r\n${rest}`);
    assert.match(odd, /^200 /);
  } finally {
    await app.close();
  }
});
