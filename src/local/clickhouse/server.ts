import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { hostname } from 'node:os';
import type { BodyBudget } from './body.ts';
import { readBody } from './body.ts';
import { decodeBody, encodeBody } from './compression.ts';
import { contentType } from './formats.ts';
import { exceptionBody, httpStatus, toException } from './exception.ts';
import { authenticate, parseRequest, withFields } from './request.ts';
import { readFields } from './multipart.ts';
import type { Outcome, Runner } from './run.ts';
import { summary } from './summary.ts';

export interface ServerDeps {
  runner: Runner;
  version: string;
  timezone: string;
  maxBodyBytes: number;
  maxTotalBodyBytes: number;
}

const unknownPath = 'There is no such path here. /ping and /replicas_status tell health; queries go to / by POST, or by GET as /?query=...\n';

/** ClickHouse's HTTP interface: https://clickhouse.com/docs/interfaces/http. The server isn't listening yet. */
export function createHttpServer(deps: ServerDeps): Server {
  const budget: BodyBudget = { maxBytes: deps.maxBodyBytes, maxTotalBytes: deps.maxTotalBodyBytes, heldBytes: 0 };
  const displayName = hostname();

  const server = createServer({ keepAliveTimeout: 30_000, requestTimeout: 0 }, (req, res) => {
    handle(req, res).catch((error: unknown) => {
      console.error('request failed:', error);
      res.destroy();
    });
  });

  async function handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const url = new URL(req.url ?? '/', 'http://localhost');
    res.setHeader('X-ClickHouse-Server-Display-Name', displayName);
    if (url.searchParams.get('add_http_cors_header') === '1' || req.headers.origin !== undefined) {
      res.setHeader('Access-Control-Allow-Origin', '*');
      res.setHeader('Access-Control-Expose-Headers', '*');
    }
    if (req.method === 'OPTIONS') {
      res.setHeader('Access-Control-Allow-Headers', 'origin, x-requested-with, content-type, authorization, x-clickhouse-user, x-clickhouse-key');
      res.setHeader('Access-Control-Allow-Methods', 'POST, GET, HEAD, OPTIONS');
      res.writeHead(204).end();
      return;
    }
    if (url.pathname === '/ping' || url.pathname === '/replicas_status') return text(res, 200, 'Ok.\n');
    if (url.pathname !== '/') return text(res, 404, unknownPath);
    const read = req.method === 'GET' || req.method === 'HEAD';
    if (!read && req.method !== 'POST') return text(res, 501, 'Only GET, HEAD, POST and OPTIONS are known here.\n');
    if (read && !url.searchParams.has('query')) return text(res, 200, 'Ok.\n');
    await query(req, res, url);
  }

  async function query(req: IncomingMessage, res: ServerResponse, url: URL): Promise<void> {
    const gone = new AbortController();
    res.on('close', () => {
      if (!res.writableFinished) gone.abort();
    });
    try {
      authenticate(url, req.headers);
      const request = parseRequest(req.method ?? 'GET', url, req.headers);
      const queryId = request.queryId ?? randomUUID();
      res.setHeader('X-ClickHouse-Query-Id', queryId);
      res.setHeader('X-ClickHouse-Timezone', deps.timezone);
      const body = await readBody(req, budget);
      let outcome: Outcome;
      try {
        const bytes = await decodeBody(body.bytes, req.headers['content-encoding'], request.decompress, deps.maxBodyBytes);
        const fields = readFields(req.headers['content-type'], bytes);
        outcome =
          fields === undefined
            ? await deps.runner.run(request, bytes, queryId, gone.signal)
            : await deps.runner.run(withFields(request, fields), Buffer.alloc(0), queryId, gone.signal);
      } finally {
        body.release();
      }
      if (gone.signal.aborted) return;
      res.setHeader('X-ClickHouse-Format', outcome.format);
      res.setHeader('X-ClickHouse-Summary', summary(outcome, outcome.format));
      res.setHeader('Content-Type', contentType(outcome.format));
      const { bytes, encoding } = await encodeBody(outcome.bytes, request.acceptEncoding, request.compress);
      if (encoding !== undefined) res.setHeader('Content-Encoding', encoding);
      res.writeHead(200, { 'Content-Length': bytes.length });
      res.end(bytes);
    } catch (error) {
      if (gone.signal.aborted || res.headersSent) {
        res.destroy();
        return;
      }
      const exception = toException(error);
      res.setHeader('X-ClickHouse-Exception-Code', exception.code);
      if (!req.complete) res.setHeader('Connection', 'close');
      text(res, httpStatus(exception.code), exceptionBody(exception, deps.version));
    }
  }

  return server;
}

function text(res: ServerResponse, status: number, body: string): void {
  res.writeHead(status, { 'Content-Type': 'text/plain; charset=UTF-8', 'Content-Length': Buffer.byteLength(body) });
  res.end(body);
}
