import { maxIdLength } from '../../event/fields.ts';
import { eventIdText } from '../../event/identity.ts';
import { parseTime } from '../../event/time.ts';
import type { Dialect } from '../dialect.ts';
import { readObject } from '../read-object.ts';
import { idSchema, objectSchema, timeSchema } from '../schemas.ts';

/* Dialect 002: one event a request, with an idempotency key, and an answer that names the event's id. */

const readEvent = readObject({
  name: 'intake',
  sentId: members => members['idempotency_key'],
  read(fields, members, source) {
    const event = fields.id('event_type', { required: true });
    const occurredAt = fields.string('occurred_at', { required: true });
    const timestampMs = occurredAt === null ? null : parseTime(occurredAt);
    if (occurredAt !== null && timestampMs === null) fields.fail('time_invalid', '/occurred_at', 'occurred_at is an ISO 8601 date-time with a zone, like 2025-12-22T10:30:00Z');
    const messageId = fields.id('idempotency_key', { required: true });
    const properties = fields.object('data', { required: true });
    const data = (properties === null ? {} : members['data']) as Record<string, unknown>;
    const userField = (['user_id', 'userId'] as const).find(name => Object.hasOwn(data, name) && data[name] !== null && data[name] !== '');
    const user = userField === undefined ? null : data[userField];
    if (user !== null && (typeof user !== 'string' || user.length > maxIdLength)) fields.fail('field_invalid', `/data/${userField ?? ''}`, `data.${userField ?? ''} is a string of 1 to ${maxIdLength} characters`);
    return { type: 'track', event, messageId, userId: typeof user === 'string' ? user : null, timestampMs: timestampMs ?? source.receivedAtMs, properties, parsed: { properties: members['data'] } };
  },
});

/** `user_id` counts where it says somebody, else `userId`. */
const data = objectSchema('whatever belongs to it; becomes the properties. Its user is `user_id` or `userId`', { required: true }, {
  properties: { user_id: idSchema('the user', { emptyIsAbsent: true }) },
  if: { required: ['user_id'], properties: { user_id: { type: 'string', minLength: 1 } } },
  else: { properties: { userId: idSchema('the user', { emptyIsAbsent: true }) } },
});

export const intakeDialect: Dialect = {
  name: 'intake',
  title: 'One event a request, with an idempotency key',
  schemas: {
    IntakeEvent: {
      type: 'object', description: 'An event with an idempotency key.', required: ['event_type', 'occurred_at', 'idempotency_key', 'data'],
      properties: {
        event_type: idSchema('what happened', { required: true }),
        occurred_at: timeSchema('when it happened, of any age', { required: true }),
        idempotency_key: idSchema('sent again it is the same event: nothing is published twice', { required: true }),
        data,
      },
      additionalProperties: true,
      examples: [{ event_type: 'user.created', occurred_at: '2025-12-22T10:30:00Z', idempotency_key: 'signup-ada', data: { user_id: 'ada', plan: 'pro' } }],
    },
  },
  codes: [],
  challenge: 'Bearer',
  routes: [
    {
      paths: ['/v1/events'],
      batch: null,
      event: 'IntakeEvent',
      answer: 'EventTaken',
      deduplicates: true,
      read: readEvent,
      status: 200,
      one: ({ eventId, receivedAtMs, deduplicated }) => ({ status: 'ok', event_id: eventIdText(eventId()), ...(deduplicated && { deduplicated }), received_at: new Date(receivedAtMs).toISOString() }),
      many: summary => summary,
    },
  ],
};
