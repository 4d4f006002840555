import type { CanonicalEvent, EventResult } from '../../event/canonical.ts';
import { faultOfEvent, maxIdLength, readFields } from '../../event/fields.ts';
import type { Fields } from '../../event/fields.ts';
import { memberSpans } from '../../event/json-text.ts';
import { parseTime } from '../../event/time.ts';
import type { Dialect, DialectRoute, EventSource } from '../dialect.ts';

/* Dialect 001: events of snake_case names for an external user id, strict about every field. */

const day = 24 * 60 * 60_000;
const mostFutureMs = 5 * 60_000;
const mostPastMs = 30 * day;

const eventFields = new Set(['external_user_id', 'event_type', 'occurred_at', 'properties', 'context']);
const identifyFields = new Set(['external_user_id', 'traits', 'channels', 'preferred_channel', 'occurred_at', 'context']);

const readEvent = (value: unknown, text: string, source: EventSource): EventResult =>
  readStrictly(value, text, source, eventFields, fields => {
    const userId = fields.id('external_user_id', { required: true });
    const event = fields.string('event_type', { required: true });
    if (event !== null && !/^[a-z0-9]+(?:_[a-z0-9]+)*$/.test(event)) fields.fail('field_invalid', '/event_type', 'event_type is lowercase snake_case: ^[a-z0-9]+(?:_[a-z0-9]+)*$');
    const properties = fields.object('properties');
    const context = fields.object('context', { required: true });
    const messageId = messageIdIn(context, fields);
    if (context !== null && messageId === null) fields.fail('field_missing', '/context/$message_id', 'context.$message_id is required');
    return { type: 'track', event, userId, properties, traits: null, context, messageId };
  });

const readIdentify = (value: unknown, text: string, source: EventSource): EventResult =>
  readStrictly(value, text, source, identifyFields, fields => {
    const userId = fields.id('external_user_id', { required: true });
    const traits = fields.object('traits');
    const context = fields.object('context');
    const more = (['channels', 'preferred_channel'] as const).flatMap(name => {
      const sent = fields.text(name);
      return sent === null ? [] : [`"${name}":${sent}`];
    });
    return { type: 'identify', event: null, userId, properties: null, traits: withMembers(traits, more), context, messageId: messageIdIn(context, fields) };
  });

type Read = Pick<CanonicalEvent, 'type' | 'event' | 'userId' | 'properties' | 'traits' | 'context'> & { messageId: string | null };

function readStrictly(value: unknown, text: string, source: EventSource, known: ReadonlySet<string>, read: (fields: Fields) => Read): EventResult {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { ok: false, code: 'not_an_object', message: 'an event is a JSON object', pointer: '', messageId: null };
  const members = value as Record<string, unknown>;
  const context = members['context'];
  const sent: unknown = typeof context === 'object' && context !== null ? (context as Record<string, unknown>)['$message_id'] : null;
  const sentMessageId = typeof sent === 'string' ? sent.slice(0, maxIdLength) : null;
  const unfit = faultOfEvent(value, text);
  if (unfit !== null) return { ok: false, ...unfit, messageId: sentMessageId };

  const fields = readFields(members, text);
  for (const name of fields.spans.keys()) if (!known.has(name)) fields.fail('field_unknown', `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`, `"${name.slice(0, 80)}" is no field of this event: they are ${[...known].join(', ')}`);
  const event = read(fields);
  const timestampMs = occurredAt(members['occurred_at'], source.receivedAtMs, fields);
  const fault = fields.fault();
  if (fault !== null) return { ok: false, ...fault, messageId: sentMessageId };
  return {
    ok: true,
    event: {
      tenant: source.tenant, dialect: 'whisperr', ...event, messageId: event.messageId ?? source.newMessageId(), anonymousId: null, previousId: null, groupId: null, email: null, name: null, category: null,
      timestampMs, sentAtMs: null, receivedAtMs: source.receivedAtMs, integrations: null, writeKeyId: source.writeKeyId, violations: [], raw: text,
    },
  };
}

/** RFC 3339 in UTC, within five minutes after and thirty days before the receipt. */
function occurredAt(sent: unknown, receivedAtMs: number, fields: Fields): number {
  if (sent === undefined || sent === null) return receivedAtMs;
  const ms = typeof sent === 'string' && /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z$/.test(sent) ? parseTime(sent) : null;
  if (ms === null) fields.fail('time_invalid', '/occurred_at', 'occurred_at is RFC 3339 in UTC with a Z, like 2026-06-14T12:00:00.000Z');
  else if (ms > receivedAtMs + mostFutureMs || ms < receivedAtMs - mostPastMs) fields.fail('time_out_of_range', '/occurred_at', 'occurred_at is at most 5 minutes after, and at most 30 days before now');
  return ms ?? receivedAtMs;
}

function messageIdIn(context: string | null, fields: Fields): string | null {
  if (context === null) return null;
  const span = memberSpans(context, 0).get('$message_id');
  const sent: unknown = span === undefined ? null : JSON.parse(context.slice(...span));
  if (sent === null) return null;
  if (typeof sent === 'string' && sent.length > 0 && sent.length <= maxIdLength) return sent;
  return fields.fail('field_invalid', '/context/$message_id', `context.$message_id is a string of 1 to ${maxIdLength} characters`);
}

/** An object's text with these members after its own. */
function withMembers(object: string | null, members: readonly string[]): string | null {
  if (members.length === 0) return object;
  const own = object === null ? '' : object.slice(1, -1).trim();
  return `{${[...(own === '' ? [] : [own]), ...members].join(',')}}`;
}

const answers = {
  status: 202,
  one: () => ({ accepted: 1, rejected: 0, errors: [] }),
  many: ({ accepted, rejected, errors }) => ({ accepted, rejected, errors }),
} as const satisfies Partial<DialectRoute>;

export const whisperrDialect: Dialect = {
  name: 'whisperr',
  challenge: 'Bearer',
  routes: [
    { ...answers, paths: ['/v1/events/track'], batch: null, read: readEvent },
    { ...answers, paths: ['/v1/events/batch'], batch: { member: 'events', maxEvents: 500, withDefaults: false }, read: readEvent },
    { ...answers, paths: ['/v1/identify'], batch: null, read: readIdentify, type: 'identify', isMine: body => Object.hasOwn(body, 'external_user_id') },
  ],
};
