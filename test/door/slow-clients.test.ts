import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { test } from 'node:test';
import { createKeyRing } from '../../src/door/keys.ts';
import { createDoor } from '../../src/door/server.ts';
import { eventually } from '../helpers/eventually.ts';
import { testLog } from '../helpers/shared-stack.ts';
import { writeKey } from '../helpers/write-key.ts';

/* faults.md 25. Headers that do not end, and clients that close their own side, are in hostile.test.ts. */

const event = '{"type":"track","event":"E","userId":"u"}';
const head = (length: number, more = ''): string => `POST /api/v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: dev\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n${more}\r\n`;

/** A door with little patience, and how many events it took. */
async function withDoor(work: (port: number, taken: string[]) => Promise<void>, acceptMs: (messageId: string) => number = () => 0): Promise<void> {
  const taken: string[] = [];
  const app = createDoor({
    log: testLog(),
    overloaded: () => false,
    readiness: async () => ({ ready: true, parts: {} }),
    patience: { headers: 1_000, request: 1_500, idle: 1_000 },
    keys: createKeyRing([writeKey('dev', 'dev', 'dev')]),
    accept: async events => {
      const [first] = events;
      await new Promise(resolve => setTimeout(resolve, acceptMs(first?.messageId ?? '')));
      taken.push(...events.map(({ messageId }) => messageId));
      return events.map(() => ({ ok: true }) as const);
    },
  });
  await app.listen({ port: 0, host: '127.0.0.1' });
  try {
    await work((app.server.address() as AddressInfo).port, taken);
  } finally {
    await app.close();
  }
}

async function open(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** Status of one request on a connection of its own, and how long it took. */
async function served(port: number): Promise<{ status: number; ms: number }> {
  const started = performance.now();
  const response = await fetch(`http://127.0.0.1:${port}/api/v1/events`, { method: 'POST', headers: { 'x-api-key': 'dev', 'content-type': 'application/json', connection: 'close' }, body: event });
  await response.arrayBuffer();
  return { status: response.status, ms: performance.now() - started };
}

test('a body that stands still is answered with 408 and its connection closed; others are served', { timeout: 20_000 }, async () => {
  await withDoor(async (port, taken) => {
    const stalled = await open(port);
    stalled.write(`${head(1_000)}{"type":`);
    assert.equal((await served(port)).status, 200);
    let answer = '';
    for await (const chunk of stalled) answer += String(chunk);
    assert.match(answer, /^HTTP\/1\.1 408 [^]*"request_timeout"/);
    assert.equal(taken.length, 1);
  });
});

test('pipelined requests are each answered, in their order', { timeout: 20_000 }, async () => {
  await withDoor(async (port, taken) => {
    const socket = await open(port);
    const bodies = Array.from({ length: 20 }, (_, n) => `{"type":"page","userId":"u","messageId":"m${n}"}`);
    socket.write(bodies.map((body, n) => head(body.length, n === 19 ? 'Connection: close\r\n' : '') + body).join(''));
    let answers = '';
    for await (const chunk of socket) answers += String(chunk);
    const ids = [...answers.matchAll(/HTTP\/1\.1 (\d+) [^]*?"message_id":"(m\d+)"/g)].map(match => `${match[1] ?? ''} ${match[2] ?? ''}`);
    assert.deepEqual(ids, bodies.map((_, n) => `200 m${n}`));
    assert.equal(new Set(taken).size, 20);
    // The first ones take the longest: the order of the answers is not that of the work.
  }, messageId => 40 - 2 * Number(messageId.slice(1)));
});

/** Both ends of each are in this process, which may not open so many files everywhere: a fifth of faults.md’s 10,000. */
const idleConnections = 2_000;

test('thousands of idle connections, silent or between two requests, are closed; others are served meanwhile', { timeout: 60_000 }, async () => {
  await withDoor(async port => {
    const sockets: Socket[] = [];
    let closed = 0;
    for (let n = 0; n < idleConnections; n += 250) {
      sockets.push(...(await Promise.all(Array.from({ length: 250 }, () => open(port)))));
    }
    for (const [n, socket] of sockets.entries()) {
      socket.on('close', () => closed++).resume();
      // A part has had its answer, the others never say anything.
      if (n % 10 === 0) socket.write(head(event.length) + event);
    }
    const waits: number[] = [];
    await eventually(async () => {
      const { status, ms } = await served(port);
      assert.equal(status, 200);
      waits.push(ms);
      return closed;
    }, count => count === idleConnections, 30_000, 20);
    assert.ok(Math.max(...waits) < 3_000, `${Math.max(...waits)} ms`);
    for (const socket of sockets) socket.destroy();
  });
});
