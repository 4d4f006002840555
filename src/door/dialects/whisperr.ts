import { maxIdLength } from '../../event/fields.ts';
import type { Fields } from '../../event/fields.ts';
import { memberSpans, pointerToken } from '../../event/json-text.ts';
import { parseTime } from '../../event/time.ts';
import type { Dialect, DialectRoute } from '../dialect.ts';
import { readObject } from '../read-object.ts';

/* Dialect 001: events of snake_case names for an external user id, strict about every field. */

const day = 24 * 60 * 60_000;
const mostFutureMs = 5 * 60_000;
const mostPastMs = 30 * day;

const eventFields = new Set(['external_user_id', 'event_type', 'occurred_at', 'properties', 'context']);
const identifyFields = new Set(['external_user_id', 'traits', 'channels', 'preferred_channel', 'occurred_at', 'context']);

const readEvent = readObject({
  name: 'whisperr',
  sentId: sentMessageId,
  read(fields, members, { receivedAtMs }) {
    refuseOthers(fields, eventFields);
    const userId = fields.id('external_user_id', { required: true });
    const event = fields.string('event_type', { required: true });
    if (event !== null && !/^[a-z0-9]+(?:_[a-z0-9]+)*$/.test(event)) fields.fail('field_invalid', '/event_type', 'event_type is lowercase snake_case: ^[a-z0-9]+(?:_[a-z0-9]+)*$');
    const properties = fields.object('properties');
    const context = fields.object('context', { required: true });
    const messageId = messageIdIn(context, fields);
    if (context !== null && messageId === null) fields.fail('field_missing', '/context/$message_id', 'context.$message_id is required');
    return { type: 'track', event, userId, properties, parsed: { properties: members['properties'] }, context, messageId, timestampMs: occurredAt(members['occurred_at'], receivedAtMs, fields) };
  },
});

const readIdentify = readObject({
  name: 'whisperr',
  sentId: sentMessageId,
  read(fields, members, { receivedAtMs }) {
    refuseOthers(fields, identifyFields);
    const userId = fields.id('external_user_id', { required: true });
    const traits = fields.object('traits');
    const context = fields.object('context');
    const more = (['channels', 'preferred_channel'] as const).flatMap(name => {
      const sent = fields.text(name);
      return sent === null ? [] : [`"${name}":${sent}`];
    });
    const messageId = messageIdIn(context, fields);
    return { type: 'identify', event: null, userId, traits: withMembers(traits, more), context, messageId, timestampMs: occurredAt(members['occurred_at'], receivedAtMs, fields) };
  },
});

function sentMessageId({ context }: Readonly<Record<string, unknown>>): unknown {
  return typeof context === 'object' && context !== null ? (context as Record<string, unknown>)['$message_id'] : null;
}

function refuseOthers(fields: Fields, known: ReadonlySet<string>): void {
  for (const name of fields.spans.keys()) if (!known.has(name)) fields.fail('field_unknown', `/${pointerToken(name)}`, `"${name.slice(0, 80)}" is no field of this event: they are ${[...known].join(', ')}`);
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
