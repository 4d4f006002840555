import { request } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { createKeyRing } from '../../src/door/keys.ts';
import { createDoor } from '../../src/door/server.ts';
import { testLog } from '../helpers/shared-stack.ts';
import { writeKey } from '../helpers/write-key.ts';
import type { FuzzAnswer, FuzzRequest } from './fuzz-door.ts';

/** A door alone, which takes every event. Its clock runs with the requests, so that a seed gives the same again. */
export function doorAlone(key: string): FastifyInstance {
  let ids = 0;
  return createDoor({
    log: testLog(), overloaded: () => false, readiness: async () => ({ ready: true, parts: { kafka: 'ok' } }), metrics: async () => ({ contentType: 'text/plain; version=0.0.4; charset=utf-8', body: 'up 1\n' }),
    keys: createKeyRing([writeKey('fuzz', 'fuzz', key)]), newMessageId: () => `new-${++ids}`,
    accept: async events => events.map((_, at) => ({ ok: true, place: { topic: 'events', partition: 0, offset: BigInt(ids + at) } }) as const),
  });
}

export async function sendInto(app: FastifyInstance, { method, url, headers, body }: FuzzRequest): Promise<FuzzAnswer> {
  // `inject` does not know Node's answer to Expect.
  const { expect: _, ...plain } = headers;
  const answer = await app.inject({ method, url, headers: plain, ...(body !== null && { payload: body }) });
  return { status: answer.statusCode, headers: answer.headers, body: answer.body };
}

/** Over the network, each header as it is. */
export function sendTo(base: string): (request: FuzzRequest) => Promise<FuzzAnswer> {
  return ({ method, url, headers, body }) => new Promise((resolve, reject) => {
    const sent = request(new URL(base), { method, path: url, headers: { ...headers, ...(body !== null && { 'content-length': String(body.length) }) }, timeout: 15_000 }, answer => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('error', reject);
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(chunks).toString() }));
    });
    sent.on('timeout', () => sent.destroy(new Error(`no answer to ${method} ${url} within 15 s`)));
    sent.on('error', reject);
    sent.end(body ?? undefined);
  });
}
