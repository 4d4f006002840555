import { randomUUID } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { fastify, LogController } from 'fastify';
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Contracts } from '../contract/contracts.ts';
import { MillraceError, catalogue } from '../errors.ts';
import type { DeadLetter } from '../event/dead-letter.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { aboutOf, noRequest } from './about.ts';
import type { About } from './about.ts';
import type { AcceptEvents, SetAside } from './accept.ts';
import { maxBodyBytes } from './body.ts';
import { serveBrowsers } from './browsers.ts';
import { dialects } from './dialects/all.ts';
import { serveDocuments } from './documents.ts';
import { registerDialects } from './ingest.ts';
import type { OnEvents } from './ingest.ts';
import type { KeyRing } from './keys.ts';
import { createKnown } from './known.ts';
import type { FindStored } from './known.ts';
import { loneDoor } from './machine.ts';
import type { Machine } from './machine.ts';
import { createRateLimiter } from './rate-limit.ts';
import { serveReceipts } from './receipts.ts';
import type { FindReceipt } from './receipts.ts';
import { heldBytesOf, receiveBodies } from './receive.ts';
import { errorBody, sendError } from './reply.ts';

/** What /readyz shows: `ready` decides the status, the rest is for people. */
export interface Readiness {
  ready: boolean;
  parts: Record<string, string>;
}

/** What a request came to. */
export interface Answered extends About {
  status: number;
  requestId: string;
}

export interface HealthOptions {
  readiness: () => Promise<Readiness>;
  /** What /metrics answers; without it there is no such path. */
  metrics?: () => Promise<{ contentType: string; body: string }>;
  /** Told of every answer to a request. */
  onResponse?: (answer: Answered) => void;
  /** Told how many bytes the bodies at work hold together. */
  onHeld?: (bytes: number) => void;
  /** Processes that share the bound of bodies on their way in. Default 1. */
  workers?: number;
  /** How long clients may take, in ms. */
  patience?: { headers: number; request: number; idle: number };
  log: Log;
}

/** Slow and idle clients give their connection back: the head of a request and all of it in so long, and the next one after so long. */
const usualPatience = { headers: 10_000, request: 30_000, idle: 72_000 };

export interface DoorOptions extends HealthOptions {
  keys: KeyRing;
  accept: AcceptEvents;
  /** What events must look like; default: nothing is asked of them. */
  contracts?: { current(): Contracts };
  /** Keeps what is answered as accepted and is no event, each letter as durably as an event. Default: nothing can be kept. */
  setAside?: SetAside;
  /** Keeps what was refused inside a batch, or by a contract; `dropped` more were not kept. Default: nothing is kept. */
  bury?: (letters: readonly DeadLetter[], dropped: number) => Promise<void>;
  /** Which events are stored already; null or left out: only those that this machine has seen are known. */
  findStored?: FindStored | null;
  /** Null or left out: receipts say only what this machine has published lately. */
  findReceipt?: FindReceipt | null;
  /** What it shares with other doors of its machine; left out: it is the only one. */
  machine?: Machine;
  /** Too much waits for Kafka: new requests are turned away before their body is read. */
  overloaded: () => boolean;
  onEvents?: OnEvents;
  now?: () => number;
  /** Of a clock that only runs forward, in milliseconds. */
  monotonicNow?: () => number;
  newMessageId?: () => string;
}

/** The HTTP front door. Call `listen` on it, or `inject` in a test. */
export function createDoor(options: DoorOptions): FastifyInstance {
  const monotonicNow = options.monotonicNow ?? (() => performance.now());
  const machine = options.machine ?? loneDoor(monotonicNow);
  const app = createHealthServer({ workers: machine.workers, ...options });
  app.addHook('onRequest', (request, reply, next) => {
    if (request.method === 'POST' && options.overloaded()) sendError(request, reply, 'unavailable', 'too many events wait for Kafka; try again');
    else next();
  });
  serveDocuments(app, dialects);
  serveBrowsers(app, options.keys);
  serveReceipts(app, { keys: options.keys, findRecent: machine.findRecent, find: options.findReceipt ?? null });
  registerDialects(app, dialects, {
    keys: options.keys,
    accept: (events, traceparent) => {
      // Of the events only this is kept while they wait for Kafka.
      const published = events.map(({ tenant, messageId, receivedAtMs }) => ({ tenant, messageId, receivedAtMs }));
      return options.accept(events, traceparent).then(results => {
        machine.notePlaces(published, results);
        return results;
      });
    },
    now: options.now ?? Date.now,
    takeRate: machine.takeRate,
    letterLimiter: createRateLimiter(monotonicNow, machine.workers),
    known: createKnown({ recent: machine.recent, findStored: options.findStored ?? null, log: options.log }),
    contracts: options.contracts ?? { current: () => ({ rules: '', judge: () => null }) },
    setAside: options.setAside ?? (letters => Promise.resolve(letters.map(() => ({ ok: false, retryable: true, message: 'there is no place for what a contract keeps aside' })))),
    bury: options.bury ?? (() => Promise.resolve()),
    newMessageId: options.newMessageId ?? randomUUID,
    onEvents: options.onEvents ?? (() => undefined),
  });
  return app;
}

/** The paths that every role answers: /livez, /readyz and /metrics. The door builds on it; a sink alone has nothing else. */
export function createHealthServer({ readiness, metrics, onResponse, onHeld, workers = 1, patience = usualPatience, log }: HealthOptions): FastifyInstance {
  let closing = false;
  const loggerInstance: FastifyBaseLogger = log;
  /** What each connection has still to be answered, and the connections that have sent what is no HTTP. */
  const open = new WeakMap<Socket, Map<ServerResponse, FastifyRequest>>();
  const faulty = new WeakSet<Socket>();
  const app: FastifyInstance = fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: maxBodyBytes,
    requestIdHeader: false,
    genReqId: request => requestId(request.headers['x-request-id']),
    requestTimeout: patience.request,
    // Node looks for such clients every 30 s by default.
    http: { connectionsCheckingInterval: 1_000, headersTimeout: patience.headers, requireHostHeader: false },
    return503OnClosing: false,
    frameworkErrors: (error, request, reply) => {
      sendError(request, reply.header('x-request-id', request.id), 'bad_request', error.message);
    },
    clientErrorHandler: (error, socket) => {
      void answerUnparsed(error, socket, faulty, [...(open.get(socket)?.keys() ?? [])]).then(code => {
        if (code !== null) onResponse?.({ ...noRequest, code, status: catalogue[code].status, requestId: '' });
      });
    },
    keepAliveTimeout: patience.idle,
    forceCloseConnections: 'idle',
    // Write keys in a URL have up to 512 characters, each of them perhaps percent-encoded.
    // A host that was given with a slash at its end makes two of them.
    routerOptions: { ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, maxParamLength: 8_192 },
    exposeHeadRoutes: false,
  });
  const letGo = receiveBodies(app, heldBytesOf(workers), onHeld);
  // A client that has closed its own side still reads the answer. Not in Node's types.
  (app.server as { httpAllowHalfOpen?: boolean }).httpAllowHalfOpen = true;

  /** Of the answers that stand in line behind another one Node closes none when their connection goes. */
  const openOn = (socket: Socket): Map<ServerResponse, FastifyRequest> => {
    const unanswered = new Map<ServerResponse, FastifyRequest>();
    socket.once('close', () => unanswered.forEach(letGo));
    return unanswered;
  };

  /** Another method than the path takes, or no such path. */
  const nothingThere = (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const path = request.url.split('?')[0] ?? '';
    const allowed = (['GET', 'POST'] as const).filter(method => method !== request.method && app.findRoute({ url: path, method }) !== null);
    if (allowed.length > 0) return sendError(request, reply.header('allow', allowed.join(', ')), 'method_not_allowed', `${path} takes ${allowed.join(', ')}`);
    return sendError(request, reply, 'not_found', `there is nothing at ${path}`);
  };

  // Node would answer these itself, without a body: a host left out, and an expectation that it does not know.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response));
  // Hooks with a callback: one that answers with a promise costs each request some microseconds.
  app.addHook('onRequest', (request, reply, next) => {
    reply.header('x-request-id', request.id);
    const { socket } = request.raw;
    let unanswered = open.get(socket);
    if (unanswered === undefined) open.set(socket, (unanswered = openOn(socket)));
    const others = unanswered.set(reply.raw, request);
    reply.raw.once('close', () => {
      others.delete(reply.raw);
      letGo(request);
    });
    if (request.raw.httpVersion === '1.1' && request.headers.host === undefined) return void sendError(request, reply, 'bad_request', 'a request names its host');
    // No path takes these: Fastify would look at their bodies first.
    if (!['GET', 'POST', 'OPTIONS'].includes(request.method)) return void nothingThere(request, reply);
    if (!closing) return next();
    reply.header('connection', 'close');
    if (request.method === 'POST') return void sendError(request, reply, 'unavailable', 'this server is closing; send again');
    next();
  });
  if (onResponse !== undefined) {
    app.addHook('onResponse', (request, reply, next) => {
      const { dialect, key, code, told } = aboutOf(request);
      onResponse({ dialect, key, code, told, status: reply.statusCode, requestId: request.id });
      next();
    });
  }
  app.addHook('preClose', async () => {
    closing = true;
  });

  app.get('/livez', () => ({ status: 'ok' }));
  app.get('/readyz', async (_request, reply) => {
    const { ready, parts } = await readiness();
    const up = ready && !closing;
    return reply.code(up ? 200 : 503).send({ status: up ? 'ok' : closing ? 'closing' : 'not ready', parts });
  });

  if (metrics !== undefined) {
    app.get('/metrics', async (_request, reply) => {
      const { contentType, body } = await metrics();
      return reply.type(contentType).send(body);
    });
  }

  app.setNotFoundHandler(nothingThere);
  app.setErrorHandler((error, request, reply) => {
    const status = typeof error === 'object' && error !== null && 'statusCode' in error ? error.statusCode : 500;
    // The client has gone away in the middle of its body: nobody reads this answer.
    if (typeof error === 'object' && error !== null && 'code' in error && error.code === 'ECONNRESET') return sendError(request, reply, 'bad_request', 'the connection was closed within the body');
    if (status === 503) return sendError(request, reply, 'unavailable', 'too many bodies are on their way in; try again');
    if (status === 413) return sendError(request, reply, 'body_too_large', `the body is over ${maxBodyBytes} bytes`);
    if (status === 415) return sendError(request, reply, 'unsupported_media_type', 'the content type must be application/json');
    if (error instanceof MillraceError && error.retryable) return sendError(request, reply, 'unavailable', error.message);
    if (typeof status === 'number' && status >= 400 && status < 500) return sendError(request, reply, 'malformed_json', error instanceof Error ? error.message : 'the request cannot be read');
    note(log, 'request_failed', { err: error, requestId: request.id });
    return sendError(request, reply, 'internal', 'something went wrong here; the log has the details under the request id');
  });
  return app;
}

/**
 * What cannot be parsed as HTTP, or comes too slowly, has no request yet: the answer is written to the socket, after those of the
 * requests that came whole before it on the same connection. Answers the code that it was, null where nobody was left to be told.
 */
async function answerUnparsed(error: Error & { code?: string }, socket: Socket, faulty: WeakSet<Socket>, open: readonly ServerResponse[]): Promise<'request_timeout' | 'headers_too_large' | 'bad_request' | null> {
  if (error.code !== 'ECONNRESET' && !socket.destroyed && socket.writable) {
    // More of the same.
    if (faulty.has(socket)) return null;
    faulty.add(socket);
    await Promise.all(open.filter(({ req }) => req.complete).map(response => new Promise(resolve => response.once('close', resolve))));
  }
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return null;
  }
  const code = error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'request_timeout' : error.code === 'HPE_HEADER_OVERFLOW' ? 'headers_too_large' : 'bad_request';
  const { status, meaning } = catalogue[code];
  const requestId = randomUUID();
  const body = JSON.stringify(errorBody(code, meaning, requestId));
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nContent-Type: application/json; charset=utf-8\r\nX-Request-Id: ${requestId}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`);
  return code;
}

/** A client's own request id where it is short and plain, else a new one. */
function requestId(sent: string | string[] | undefined): string {
  return typeof sent === 'string' && /^[\x21-\x7e]{1,128}$/.test(sent) ? sent : randomUUID();
}
