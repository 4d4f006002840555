import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { maxBodyBytes } from './body.ts';

/** What all bodies that are on their way in, or at work, may hold together: 128 MiB, a part for each worker, in which the largest body has room. */
export const heldBytesOf = (workers: number): number => Math.max(2 * maxBodyBytes, Math.floor((128 * 1024 * 1024) / workers));

class BodyRefused extends Error {
  readonly statusCode: 413 | 503;

  constructor(statusCode: 413 | 503) {
    super(statusCode === 413 ? 'the body is too large' : 'too many bodies');
    this.statusCode = statusCode;
  }
}

const owned = Symbol('bytes of its body');
type Holder = FastifyRequest & { [owned]?: number };

/**
 * Bodies arrive as bytes: each dialect reads its own. They are counted as they come, until their request is answered or its
 * connection gone, so that many slow senders cannot fill the memory: over `maxHeldBytes` a body is refused with 503.
 * `onHeld` is told of each change, all bytes together. Answers what is to be called when a request's response is closed, or its connection; once more does no harm.
 */
export function receiveBodies(app: FastifyInstance, maxHeldBytes: number, onHeld: (bytes: number) => void = () => undefined): (request: FastifyRequest) => void {
  let held = 0;
  const hold = (bytes: number): void => onHeld((held += bytes));
  const letGo = (request: Holder): void => {
    const bytes = request[owned] ?? 0;
    request[owned] = 0;
    if (bytes > 0) hold(-bytes);
  };
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (request: Holder, payload: IncomingMessage, done: (error: Error | null, body?: Buffer) => void) => {
    let own = 0;
    let over = false;
    // One buffer that grows: a piece that is kept costs 400 bytes beside its own, and a body may come in pieces of one byte.
    let bytes: Buffer = Buffer.alloc(0);
    const declared = Number(request.headers['content-length'] ?? Infinity);
    const end = (error: Error | null, body?: Buffer): void => {
      if (over) return;
      over = true;
      done(error, body);
    };
    // What comes after a refusal is let go, so that the client can end and read the answer.
    const refuse = (status: 413 | 503): void => {
      letGo(request);
      bytes = Buffer.alloc(0);
      end(new BodyRefused(status));
    };
    if (declared !== Infinity && declared > maxBodyBytes) refuse(413);
    payload.on('data', (chunk: Buffer) => {
      if (over) return;
      if (own + chunk.length > maxBodyBytes) return refuse(413);
      if (held + chunk.length > maxHeldBytes) return refuse(503);
      if (own === 0) bytes = chunk;
      else {
        if (own + chunk.length > bytes.length) {
          const larger = Buffer.allocUnsafe(Math.max(own + chunk.length, Math.min(2 * bytes.length, declared)));
          bytes.copy(larger, 0, 0, own);
          bytes = larger;
        }
        chunk.copy(bytes, own);
      }
      own += chunk.length;
      hold(chunk.length);
      request[owned] = own;
    });
    payload.on('end', () => end(null, bytes.subarray(0, own)));
    payload.on('error', end);
  });
  return letGo;
}
