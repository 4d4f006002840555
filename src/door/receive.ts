import type { FastifyInstance, FastifyRequest } from 'fastify';
import { maxBodyBytes } from './body.ts';

/** What all bodies that are on their way in, or at work, may hold together. */
export const maxHeldBytes = 128 * 1024 * 1024;

class BodyRefused extends Error {
  readonly statusCode: 413 | 503;

  constructor(statusCode: 413 | 503) {
    super(statusCode === 413 ? 'the body is too large' : 'too many bodies');
    this.statusCode = statusCode;
  }
}

/**
 * Bodies arrive as bytes: each dialect reads its own. They are counted as they come, until their request is answered or its
 * connection gone, so that many slow senders cannot fill the memory: over `maxHeldBytes` a body is refused with 503.
 */
export function receiveBodies(app: FastifyInstance): void {
  let held = 0;
  const owned = new WeakMap<FastifyRequest, number>();
  app.addHook('onRequest', async (request, reply) => {
    reply.raw.once('close', () => (held -= owned.get(request) ?? 0));
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', async (request: FastifyRequest, payload: AsyncIterable<Buffer>) => {
    let own = 0;
    const chunks: Buffer[] = [];
    for await (const chunk of payload) {
      if (own + chunk.length > maxBodyBytes) throw new BodyRefused(413);
      if (held + chunk.length > maxHeldBytes) throw new BodyRefused(503);
      own += chunk.length;
      held += chunk.length;
      owned.set(request, own);
      chunks.push(chunk);
    }
    return chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, own);
  });
}
