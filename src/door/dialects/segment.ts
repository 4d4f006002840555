import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ErrorCode } from '../../errors.ts';
import type { CanonicalEvent } from '../../event/canonical.ts';
import { elementSpans, findFault, isDeeperThan, maxDepth, memberSpans, smells } from '../../event/json-text.ts';
import type { JsonFault, Span } from '../../event/json-text.ts';
import { faultMessages } from '../../event/fields.ts';
import { readSegmentEvent } from '../../event/segment.ts';
import type { SegmentDefaults, SegmentSource } from '../../event/segment.ts';
import type { Accepted, AcceptEvents } from '../accept.ts';
import type { WriteKey } from '../keys.ts';
import { isJsonType, readBody } from '../body.ts';
import { sendError } from '../reply.ts';
import type { EventError } from '../reply.ts';

/** Most events of one batch request. */
export const maxBatchEvents = 500;

/** Longest context or integrations that a batch may give to all of its events, in UTF-16 units. */
const maxDefaultsLength = 32_768;

export interface SegmentDoor {
  accept: AcceptEvents;
  authenticate: (request: FastifyRequest) => WriteKey | null;
  now: () => number;
  newMessageId: () => string;
  onEvents: (result: 'accepted' | ErrorCode, count: number) => void;
}

/**
 * Dialect `segment`: POST /api/v1/events and /api/v1/events/batch, Segment's six calls with a Basic write key.
 * Statuses: 200; 400 malformed or missing; 401; 403; 413; 415; 503.
 */
export function segmentDialect(app: FastifyInstance, door: SegmentDoor): void {
  // Before the body is read: a stranger's bytes are not worth keeping.
  const keys = new WeakMap<FastifyRequest, WriteKey>();
  const onRequest = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> => {
    const key = door.authenticate(request);
    if (key !== null) {
      keys.set(request, key);
      return undefined;
    }
    return sendError(request, reply, 'unauthorized', 'a known write key is needed, as the Basic user name for instance');
  };

  app.post('/api/v1/events', { onRequest }, async (request, reply) => {
    const opened = await open(request, reply, door, keys.get(request));
    if (opened === null) return reply;
    const read = readSegmentEvent(opened.value, opened.text, opened.source);
    const refuse = (code: ErrorCode, message: string, details?: unknown): FastifyReply => {
      door.onEvents(code, 1);
      return sendError(request, reply, code, message, details);
    };
    if (!read.ok) return refuse(read.code, read.message, [{ pointer: read.pointer }]);
    if (!maySend(opened.key, read.event)) return refuse('forbidden', `this write key may not send ${read.event.type} events`);
    const [accepted] = await door.accept([read.event], traceparentOf(request));
    if (accepted?.ok !== true) return refuse('unavailable', accepted?.message ?? 'nothing was accepted');
    door.onEvents('accepted', 1);
    return reply.send({ success: true, message_id: read.event.messageId });
  });

  app.post('/api/v1/events/batch', { onRequest }, async (request, reply) => {
    const opened = await open(request, reply, door, keys.get(request));
    if (opened === null) return reply;
    const envelope = openBatch(opened.value, opened.text);
    if (!envelope.ok) return sendError(request, reply, envelope.code, envelope.message);
    const { spans, values, defaults } = envelope;

    const errors: EventError[] = [];
    const events: CanonicalEvent[] = [];
    const indexes: number[] = [];
    spans.forEach(([start, end], index) => {
      const read = readSegmentEvent(values[index], opened.text.slice(start, end), { ...opened.source, defaults });
      if (!read.ok) {
        errors.push({ index, code: read.code, message: read.message, pointer: read.pointer, ...(read.messageId !== null && { message_id: read.messageId }) });
      } else if (!maySend(opened.key, read.event)) {
        errors.push({ index, code: 'forbidden', message: `this write key may not send ${read.event.type} events`, pointer: '/type', message_id: read.event.messageId });
      } else {
        events.push(read.event);
        indexes.push(index);
      }
    });

    const results = events.length === 0 ? [] : await door.accept(events, traceparentOf(request));
    const failed = results.flatMap((result, at) => (result.ok ? [] : [{ result, index: indexes[at] ?? 0, event: events[at] }]));
    for (const { code } of errors) door.onEvents(code, 1);
    if (failed.length > 0) door.onEvents('unavailable', failed.length);
    if (failed.length < events.length) door.onEvents('accepted', events.length - failed.length);
    // Nothing got through: one answer that a client retries as a whole. Some did: each failed one is named.
    if (failed.length > 0 && failed.length === events.length) return sendError(request, reply, 'unavailable', messageOf(failed[0]?.result));
    for (const { result, index, event } of failed) {
      errors.push({ index, code: 'unavailable', message: messageOf(result), ...(event && { message_id: event.messageId }) });
    }
    errors.sort((a, b) => a.index - b.index);
    return reply.send({ received: spans.length, accepted: spans.length - errors.length, rejected: errors.length, errors });
  });
}

interface Opened {
  key: WriteKey;
  value: unknown;
  text: string;
  source: SegmentSource;
}

/** Parses; null where the answer has been sent already, as it was to a request without a key. */
async function open(request: FastifyRequest, reply: FastifyReply, door: SegmentDoor, key: WriteKey | undefined): Promise<Opened | null> {
  const receivedAtMs = door.now();
  if (key === undefined) return null;
  if (!isJsonType(request.headers['content-type'])) {
    sendError(request, reply, 'unsupported_media_type', 'the content type must be application/json');
    return null;
  }
  const body = await readBody(Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0), request.headers['content-encoding']);
  if (!body.ok) {
    sendError(request, reply, body.code, body.message);
    return null;
  }
  return {
    key,
    value: body.value,
    text: body.text,
    source: {
      tenant: key.tenant,
      dialect: 'segment',
      writeKeyId: key.id,
      receivedAtMs,
      newMessageId: door.newMessageId,
      ip: request.ip,
      userAgent: request.headers['user-agent'],
    },
  };
}

type Envelope =
  | { ok: true; spans: Span[]; values: unknown[]; defaults: SegmentDefaults }
  | { ok: false; code: 'not_an_object' | 'batch_missing' | 'batch_too_large' | 'field_invalid' | JsonFault['code']; message: string };

/** A batch's events, as values and as ranges of the text, and what the envelope says for all of them. */
function openBatch(value: unknown, text: string): Envelope {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { ok: false, code: 'not_an_object', message: 'the body is a JSON object with a "batch"' };
  const fields = value as Record<string, unknown>;
  const values: unknown = fields['batch'];
  const members = memberSpans(text, 0);
  const batchSpan = members.get('batch');
  if (!Array.isArray(values) || batchSpan === undefined) return { ok: false, code: 'batch_missing', message: '"batch" is an array of events' };
  if (values.length > maxBatchEvents) return { ok: false, code: 'batch_too_large', message: `a batch has at most ${maxBatchEvents} events; this one has ${values.length}` };
  const shared = (name: 'context' | 'integrations'): string | null => {
    const span = members.get(name);
    return span === undefined || fields[name] === null ? null : text.slice(span[0], span[1]);
  };
  for (const name of ['context', 'integrations'] as const) {
    const text = shared(name);
    if (text === null) continue;
    if (!text.startsWith('{')) return { ok: false, code: 'field_invalid', message: `${name} of a batch is an object` };
    // It is copied into each of up to 500 events.
    if (text.length > maxDefaultsLength) return { ok: false, code: 'field_invalid', message: `${name} of a batch has at most ${maxDefaultsLength} characters` };
    if (isDeeperThan(text, maxDepth)) return { ok: false, code: 'too_deep', message: faultMessages.too_deep };
    const fault = smells(text) ? findFault(fields[name], `/${name}`) : null;
    if (fault !== null) return { ok: false, code: fault.code, message: `${faultMessages[fault.code]}, at ${fault.pointer}` };
  }
  return {
    ok: true,
    spans: elementSpans(text, batchSpan[0]),
    values,
    defaults: { context: shared('context'), integrations: shared('integrations'), sentAt: fields['sentAt'] },
  };
}

function maySend(key: WriteKey, event: CanonicalEvent): boolean {
  return key.allow === null || key.allow.includes(event.type);
}

function messageOf(result: Accepted | undefined): string {
  return result?.ok === false ? result.message : 'the event was not accepted';
}

/** W3C trace context, passed on to the record where it is well-formed. */
function traceparentOf(request: FastifyRequest): string | null {
  const header = request.headers['traceparent'];
  return typeof header === 'string' && /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(header) ? header : null;
}
