import type { IncomingMessage } from 'node:http';
import { Exception } from './exception.ts';

/** Bytes of request bodies held at any moment, over all requests; shared so that many large inserts can't fill memory. */
export interface BodyBudget {
  maxBytes: number;
  maxTotalBytes: number;
  heldBytes: number;
}

/**
 * Reads a whole body, or nothing: an INSERT may only run when its data are complete. Throws `Exception` 307 over
 * `maxBytes` or when the total is used up, 210 when the client went away before the end. Call `release` when done with it.
 */
export async function readBody(req: IncomingMessage, budget: BodyBudget): Promise<{ bytes: Buffer; release: () => void }> {
  const chunks: Buffer[] = [];
  let length = 0;
  const release = (): void => {
    budget.heldBytes -= length;
    length = 0;
  };
  try {
    for await (const chunk of req as AsyncIterable<Buffer>) {
      length += chunk.length;
      budget.heldBytes += chunk.length;
      if (length > budget.maxBytes) {
        throw new Exception(307, 'TOO_MANY_BYTES', `The request body is over ${budget.maxBytes} bytes; send it in parts.`);
      }
      if (budget.heldBytes > budget.maxTotalBytes) {
        throw new Exception(241, 'MEMORY_LIMIT_EXCEEDED', `Requests in progress hold over ${budget.maxTotalBytes} bytes; try again later.`);
      }
      chunks.push(chunk);
    }
    if (!req.complete) throw new Error('aborted');
  } catch (error) {
    release();
    if (error instanceof Exception) throw error;
    throw new Exception(210, 'NETWORK_ERROR', 'The request body ended early; nothing was run.');
  }
  return { bytes: Buffer.concat(chunks, length), release };
}
