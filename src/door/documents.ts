import type { FastifyInstance } from 'fastify';
import type { Dialect } from './dialect.ts';
import { docsPage, pagePolicy } from './docs-page.ts';
import { describeDoor } from './openapi.ts';

/** GET /openapi.json and GET /docs: the same document for programs and for people. Each is made when it is first asked for. */
export function serveDocuments(app: FastifyInstance, dialects: readonly Dialect[]): void {
  let described: ReturnType<typeof describeDoor> | null = null;
  let json: string | null = null;
  let page: string | null = null;
  app.get('/openapi.json', (_request, reply) => {
    json ??= JSON.stringify((described ??= describeDoor(dialects)));
    return reply.type('application/json').header('cache-control', 'public, max-age=60').send(json);
  });
  app.get('/docs', (_request, reply) => {
    page ??= docsPage((described ??= describeDoor(dialects)));
    return reply.type('text/html').headers({ 'cache-control': 'public, max-age=60', 'content-security-policy': pagePolicy, 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' }).send(page);
  });
}
