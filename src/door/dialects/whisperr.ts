import { maxIdLength } from '../../event/fields.ts';
import type { Fields } from '../../event/fields.ts';
import { memberSpans, pointerToken } from '../../event/json-text.ts';
import { parseTime } from '../../event/time.ts';
import type { Dialect, DialectRoute } from '../dialect.ts';
import { readObject } from '../read-object.ts';
import { answerSchema, idSchema, objectSchema, stringSchema, summaryMembers } from '../schemas.ts';
import type { JsonSchema } from '../schemas.ts';

/* Dialect 001: events of snake_case names for an external user id, strict about every field. */

const day = 24 * 60 * 60_000;
const mostFutureMs = 5 * 60_000;
const mostPastMs = 30 * day;

const namePattern = '^[a-z0-9]+(?:_[a-z0-9]+)*$';
const nameForm = new RegExp(namePattern);
const utcPattern = '^\\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\\d|3[01])T(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?Z$';
const utcForm = new RegExp(utcPattern);

const userIdMember = idSchema('the user', { required: true });
const timeMember = { ...stringSchema('when it happened, in UTC, at most 5 minutes after and 30 days before now; without one it is the receipt', { pattern: utcPattern }), examples: ['2026-06-14T12:00:00.000Z'] };
const eventMembers: Record<string, JsonSchema> = {
  external_user_id: userIdMember,
  event_type: stringSchema('what happened', { required: true, pattern: namePattern }),
  occurred_at: timeMember,
  properties: objectSchema('of what happened'),
  context: objectSchema('circumstances', { required: true }, { required: ['$message_id'], properties: { $message_id: idSchema('makes a repeat a duplicate', { required: true }) } }),
};
const identifyMembers: Record<string, JsonSchema> = {
  external_user_id: userIdMember,
  traits: objectSchema('of the user'),
  channels: { description: 'how to reach the user; kept as a trait' },
  preferred_channel: { description: 'kept as a trait' },
  occurred_at: timeMember,
  context: objectSchema('circumstances', {}, { properties: { $message_id: idSchema('makes a repeat a duplicate; without one it is generated') } }),
};
const eventFields = new Set(Object.keys(eventMembers));
const identifyFields = new Set(Object.keys(identifyMembers));

const readEvent = readObject({
  name: 'whisperr',
  sentId: sentMessageId,
  read(fields, members, { receivedAtMs }) {
    refuseOthers(fields, eventFields);
    const userId = fields.id('external_user_id', { required: true });
    const event = fields.string('event_type', { required: true });
    if (event !== null && !nameForm.test(event)) fields.fail('field_invalid', '/event_type', `event_type is lowercase snake_case: ${namePattern}`);
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
  const ms = typeof sent === 'string' && utcForm.test(sent) ? parseTime(sent) : null;
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
  answer: 'WhisperrSummary',
  status: 202,
  one: () => ({ accepted: 1, rejected: 0, errors: [] }),
  many: ({ accepted, rejected, errors }) => ({ accepted, rejected, errors }),
} as const satisfies Partial<DialectRoute>;

export const whisperrDialect: Dialect = {
  name: 'whisperr',
  title: 'Events of snake_case names for a user id of one’s own, strict about every field',
  schemas: {
    WhisperrEvent: {
      type: 'object', description: 'An event of a user.', required: ['external_user_id', 'event_type', 'context'], properties: eventMembers, additionalProperties: false,
      examples: [{ external_user_id: 'ada', event_type: 'payment_failed', properties: { amount_cents: 4900 }, context: { $message_id: 'payment-1815' } }],
    },
    WhisperrIdentify: {
      type: 'object', description: 'What is known of a user.', required: ['external_user_id'], properties: identifyMembers, additionalProperties: false,
      examples: [{ external_user_id: 'ada', traits: { plan: 'pro' }, channels: { email: 'ada@example.com' }, preferred_channel: 'email' }],
    },
    WhisperrSummary: answerSchema('What became of the events.', { accepted: summaryMembers.accepted, rejected: summaryMembers.rejected, errors: summaryMembers.errors }),
  },
  codes: ['field_unknown', 'time_out_of_range'],
  challenge: 'Bearer',
  routes: [
    { ...answers, paths: ['/v1/events/track'], batch: null, event: 'WhisperrEvent', read: readEvent },
    { ...answers, paths: ['/v1/events/batch'], batch: { name: 'WhisperrBatch', member: 'events', maxEvents: 500, withDefaults: false }, event: 'WhisperrEvent', read: readEvent },
    { ...answers, paths: ['/v1/identify'], batch: null, event: 'WhisperrIdentify', read: readIdentify, type: 'identify', whenHas: 'external_user_id' },
  ],
};
