import assert from 'node:assert/strict';
import { after } from 'node:test';
import type { FastifyInstance } from 'fastify';
import { createDoor as create } from '../../src/door/server.ts';
import type { DoorOptions } from '../../src/door/server.ts';
import { answerFaults, requestFaults } from './described.ts';

const faults: string[] = [];

/** A door whose every answer in this file's tests is held against the OpenAPI document, and every body that it took or refused for its form. */
export function createDoor(options: DoorOptions): FastifyInstance {
  const app = create(options);
  app.addHook('onSend', async (request, reply, payload) => {
    const exchange = { method: request.method, url: request.url, status: reply.statusCode, headers: reply.getHeaders(), body: typeof payload === 'string' ? payload : '' };
    faults.push(...answerFaults(exchange));
    if (Buffer.isBuffer(request.body) && request.headers['content-encoding'] === undefined && request.body.length < 1_000_000) faults.push(...requestFaults(exchange, request.body.toString()));
    return payload;
  });
  return app;
}

after(() => assert.deepEqual(faults, []));
