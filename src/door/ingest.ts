import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ErrorCode } from '../errors.ts';
import type { Contracts } from '../contract/contracts.ts';
import type { CanonicalEvent } from '../event/canonical.ts';
import type { DeadLetter } from '../event/dead-letter.ts';
import { eventId } from '../event/identity.ts';
import { aboutOf, noKey, unknownKey } from './about.ts';
import type { Accepted, AcceptEvents, SetAside } from './accept.ts';
import { createBodyReader, isJsonType } from './body.ts';
import type { BodyReader } from './body.ts';
import { offersByPath } from './dialect.ts';
import type { Dialect, DialectRoute, EventSource, Offer, TakenEvent } from './dialect.ts';
import { openEnvelope } from './envelope.ts';
import type { SentEvent } from './envelope.ts';
import { createJudge, deliver } from './judge.ts';
import type { KeyRing, WriteKey } from './keys.ts';
import { tokenOf } from './keys.ts';
import type { Known } from './known.ts';
import { letterOf, lettersOf } from './letters.ts';
import type { RefusedEvent } from './letters.ts';
import type { Machine } from './machine.ts';
import type { RateLimiter } from './rate-limit.ts';
import { sendError } from './reply.ts';
import type { EventError } from './reply.ts';

/*
 * What happens to a request, whatever its dialect:
 *
 *   key in a header or the URL     401 before the body is read (SDK paths: the body may bring it)
 *   origin                         403, of a page that the key is not for
 *   body                           413, 415, 400: inflated within its limit, UTF-8, JSON
 *   route                          of those that share the path, the one that knows the body
 *   envelope                       400: an array of events, not too many
 *   rate                           429, counted in events, of a known key
 *   each event                     read by the dialect; its fault is its own, in a batch
 *   type                           403, in a batch the event's fault
 *   contract                       422, in a batch the event's fault; or kept aside; or flagged (judge.ts)
 *   what a batch has refused, or   a dead letter each (letters.ts), beside its line in the answer
 *   a contract
 *   known already                  where the dialect says so (known.ts): nothing is published; 409 with other content
 *   Kafka                          503 where it took none; in a batch those that it did not take are listed
 */

/** Told what became of the events of a request that could be read. `key` is the id of its write key. */
export type OnEvents = (events: { dialect: string; key: string; result: 'accepted' | ErrorCode; count: number; requestId: string }) => void;

export interface IngestDoor {
  keys: KeyRing;
  takeRate: Machine['takeRate'];
  contracts: { current(): Contracts };
  setAside: SetAside;
  /** What refused events leave; resolves when Kafka has them, or never will. */
  bury: (letters: readonly DeadLetter[], dropped: number) => Promise<void>;
  letterLimiter: RateLimiter;
  known: Known;
  accept: AcceptEvents;
  now: () => number;
  newMessageId: () => string;
  onEvents: OnEvents;
}

/** Of the header, which is put into each event of a batch; real ones are shorter. */
const maxUserAgentLength = 1_024;

/** Makes the routes of all dialects. Paths with a trailing slash are the same (server.ts). */
export function registerDialects(app: FastifyInstance, dialects: readonly Dialect[], door: IngestDoor): void {
  const readBody = createBodyReader();
  for (const [path, at] of offersByPath(dialects)) registerPath(app, path, at, readBody, door);
}

const writeKey = Symbol('write key');
/** Its head has named the key. */
type KeyedRequest = FastifyRequest & { [writeKey]?: WriteKey };

function registerPath(app: FastifyInstance, path: string, offers: readonly Offer[], readBody: BodyReader, door: IngestDoor): void {
  const names = new Set(offers.map(({ dialect }) => dialect.name));
  const keyInBody = offers.some(({ route }) => route.sdk);
  const challenges = [...new Set(offers.map(({ dialect }) => dialect.challenge))];
  const stranger = (request: FastifyRequest, reply: FastifyReply): FastifyReply => sendError(request, reply, 'unauthorized', 'a known write key is needed', undefined, challenges);

  // Before the body is read: a stranger's bytes are not worth keeping.
  const onRequest = (request: KeyedRequest, reply: FastifyReply, next: () => void): void => {
    // Fastify would refuse what is no media type at all.
    if (keyInBody && request.headers['content-type'] !== undefined) request.raw.headers['content-type'] = 'application/json';
    const token = tokenOf(request.headers, request.query);
    const key = token === null ? null : door.keys.find(token);
    const about = aboutOf(request);
    about.key = key?.id ?? (token === null ? noKey : unknownKey);
    for (const name of names) if (names.size === 1) about.dialect = name;
    if (key !== null) {
      if (!mayComeFrom(request, key)) return void foreign(request, reply);
      request[writeKey] = key;
    } else if (token !== null || !keyInBody) return void stranger(request, reply);
    next();
  };

  app.post(path, { onRequest }, async (request: KeyedRequest, reply) => {
    const receivedAtMs = door.now();
    if (!keyInBody && !isJsonType(request.headers['content-type'])) return sendError(request, reply, 'unsupported_media_type', 'the content type must be application/json');
    const reading = readBody(Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0), request.headers['content-encoding']);
    const body = reading instanceof Promise ? await reading : reading;
    if (!body.ok) return sendError(request, reply, body.code, body.message);
    const { value } = body;
    const members = typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
    const { dialect, route } = offerFor(offers, members);
    const key = request[writeKey] ?? keyOfBody(route, members, door.keys);
    const about = aboutOf(request);
    about.dialect = dialect.name;
    about.key = key?.id ?? (Object.hasOwn(members, 'writeKey') ? unknownKey : noKey);
    if (key === null) return stranger(request, reply);
    if (!mayComeFrom(request, key)) return foreign(request, reply);
    const envelope = openEnvelope(body, route);
    if (!envelope.ok) return sendError(request, reply, envelope.code, envelope.message);
    if (key.rateLimit !== null) {
      const rate = await door.takeRate(key.id, key.rateLimit, envelope.events.length);
      reply.header('x-ratelimit-limit', String(rate.limit)).header('x-ratelimit-remaining', String(rate.remaining)).header('x-ratelimit-reset', String(rate.resetSeconds));
      if (!rate.ok) {
        tell(request, door, 'rate_limited', envelope.events.length);
        reply.header('retry-after', String(rate.retryAfterSeconds));
        return sendError(request, reply, 'rate_limited', `this write key may send ${key.rateLimit.eventsPerSecond} events a second, and ${key.rateLimit.burst} at once`);
      }
    }
    let ownId = true;
    const newMessageId = (): string => {
      ownId = false;
      return door.newMessageId();
    };
    const source: EventSource = {
      tenant: key.tenant, dialect: dialect.name, writeKeyId: key.id, receivedAtMs, newMessageId, ip: request.ip, userAgent: request.headers['user-agent']?.slice(0, maxUserAgentLength),
      ...(route.type && { type: route.type }), ...(envelope.defaults && { defaults: envelope.defaults }),
    };
    return answer(request, reply, { dialect, route, path, key, source, events: envelope.events, door, hasOwnId: () => ownId });
  });
}

/** A server says no origin. */
function mayComeFrom(request: FastifyRequest, { origins }: WriteKey): boolean {
  const { origin } = request.headers;
  return origins === null || origin === undefined || origins.includes(origin);
}

function foreign(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  return sendError(request, reply, 'origin_forbidden', `this write key may not be used by pages of ${request.headers.origin ?? ''}`);
}

interface Opened extends Offer {
  path: string;
  key: WriteKey;
  source: EventSource;
  events: SentEvent[];
  door: IngestDoor;
  /** Whether no event of the request was given a message id by the door. */
  hasOwnId: () => boolean;
}

async function answer(request: FastifyRequest, reply: FastifyReply, { dialect, route, path, key, source, events, door, hasOwnId }: Opened): Promise<FastifyReply> {
  const errors: (EventError & { index: number })[] = [];
  let good: CanonicalEvent[] = [];
  const indexes: number[] = [];
  const refused: RefusedEvent[] = [];
  const judge = createJudge(door.contracts.current());
  const refuse = (index: number, error: Omit<EventError, 'index'>, text: string, event: CanonicalEvent | null): void => {
    errors.push({ index, ...error });
    refused.push({ error, text, event });
  };
  events.forEach(({ value, text, scanned }, index) => {
    const read = route.read(value, text, source, scanned);
    if (!read.ok) {
      refuse(index, { code: read.code, message: read.message, pointer: read.pointer, ...(read.messageId !== null && { message_id: read.messageId }) }, text, null);
      return;
    }
    const { event } = read;
    if (key.allow !== null && !key.allow.includes(event.type)) {
      refuse(index, { code: 'forbidden', message: `this write key may not send ${event.type} events`, pointer: '/type', message_id: event.messageId }, text, null);
      return;
    }
    const broken = judge(event, read.parsed);
    if (broken !== null) {
      refuse(index, broken, event.raw ?? text, event);
      return;
    }
    good.push(event);
    indexes.push(index);
  });
  const received = events.length;
  // Kafka may take its time: until it answers the memory of thousands of events is better free. So is `good` let go below.
  events.length = 0;
  for (const code of new Set(errors.map(error => error.code))) tell(request, door, code, errors.filter(error => error.code === code).length);
  const [wrong] = errors;
  const isKept = refused.length > 0 && (route.batch !== null || wrong?.code === 'contract_violation');
  const kept = isKept ? lettersOf(key, dialect.name, path, refused, source.receivedAtMs, door.letterLimiter) : null;
  const bury = kept === null ? undefined : door.bury(kept.letters, kept.dropped);
  if (route.batch === null && wrong !== undefined) {
    await bury;
    return sendError(request, reply, wrong.code, wrong.message, wrong.code === 'forbidden' ? undefined : (wrong.violations ?? [{ pointer: wrong.pointer }]));
  }
  const send = (wanted: readonly CanonicalEvent[]): Promise<Accepted[]> => deliver(wanted, door, aside => letterOf(key, dialect.name, path, aside, source.receivedAtMs), traceparentOf(request));

  const single = route.batch === null ? good[0] : undefined;
  if (route.deduplicates === true && single !== undefined && hasOwnId()) {
    const once = await door.known.once(single, async () => (await send([single]))[0] ?? { ok: false, retryable: true, message: 'the event was not accepted' });
    if (once.kind === 'other') {
      tell(request, door, 'idempotency_conflict', 1);
      return sendError(request, reply, 'idempotency_conflict', 'this idempotency key was used for an event of other content');
    }
    if (once.kind === 'published' && !once.result.ok) {
      tell(request, door, 'unavailable', 1);
      return sendError(request, reply, 'unavailable', once.result.message);
    }
    tell(request, door, 'accepted', 1);
    return reply.code(route.status).send(route.one(takenEvent(single, once.kind === 'same')));
  }

  const taken = single === undefined ? null : takenEvent(single, false);
  const ids = good.map(({ messageId }) => messageId);
  const sending = send(good);
  good = [];
  const results = await sending;
  await bury;
  const failed: { result: Accepted | undefined; at: number }[] = [];
  for (let at = 0; at < ids.length; at++) if (results[at]?.ok !== true) failed.push({ result: results[at], at });
  if (failed.length > 0) tell(request, door, 'unavailable', failed.length);
  if (failed.length < ids.length) tell(request, door, 'accepted', ids.length - failed.length);
  // Nothing got through: one answer that a client retries as a whole. Some did: each failed one is named.
  if (failed.length > 0 && failed.length === ids.length) return sendError(request, reply, 'unavailable', messageOf(failed[0]?.result));
  if (taken !== null) return reply.code(route.status).send(route.one(taken));
  for (const { result, at } of failed) errors.push({ index: indexes[at] ?? 0, code: 'unavailable', message: messageOf(result), message_id: ids[at] ?? '' });
  errors.sort((a, b) => a.index - b.index);
  return reply.code(route.status).send(route.many({ received, accepted: received - errors.length, rejected: errors.length, errors }));
}

function tell(request: FastifyRequest, door: IngestDoor, result: 'accepted' | ErrorCode, count: number): void {
  const about = aboutOf(request);
  if (result !== 'accepted') about.told = true;
  door.onEvents({ dialect: about.dialect, key: about.key, result, count, requestId: request.id });
}

function takenEvent({ tenant, messageId, receivedAtMs }: CanonicalEvent, deduplicated: boolean): TakenEvent {
  return { messageId, eventId: () => eventId(tenant, messageId), receivedAtMs, deduplicated };
}

/** Where no route knows the body, the last one says what is wrong with it. */
function offerFor(offers: readonly Offer[], members: Readonly<Record<string, unknown>>): Offer {
  const found = offers.find(({ route }) => route.whenHas === undefined || Object.hasOwn(members, route.whenHas)) ?? offers.at(-1);
  if (found === undefined) throw new RangeError('a path without routes');
  return found;
}

function keyOfBody(route: DialectRoute, members: Readonly<Record<string, unknown>>, keys: KeyRing): WriteKey | null {
  const token = route.sdk === true && Object.hasOwn(members, 'writeKey') ? members['writeKey'] : null;
  return typeof token === 'string' && token !== '' ? keys.find(token) : null;
}

function messageOf(result: Accepted | undefined): string {
  return result?.ok === false ? result.message : 'the event was not accepted';
}

/** W3C trace context, passed on to the record where it is well-formed. */
function traceparentOf(request: FastifyRequest): string | null {
  const header = request.headers['traceparent'];
  return typeof header === 'string' && /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(header) ? header : null;
}
