import type { EventResult } from '../../event/canonical.ts';
import { faultOfEvent, maxIdLength, readFields } from '../../event/fields.ts';
import { eventIdText } from '../../event/identity.ts';
import { parseTime } from '../../event/time.ts';
import type { Dialect, EventSource } from '../dialect.ts';

/* Dialect 002: one event a request, with an idempotency key, and an answer that names the event's id. */

function readEvent(value: unknown, text: string, source: EventSource): EventResult {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { ok: false, code: 'not_an_object', message: 'an event is a JSON object', pointer: '', messageId: null };
  const members = value as Record<string, unknown>;
  const sentMessageId = typeof members['idempotency_key'] === 'string' ? members['idempotency_key'].slice(0, maxIdLength) : null;
  const unfit = faultOfEvent(value, text);
  if (unfit !== null) return { ok: false, ...unfit, messageId: sentMessageId };

  const fields = readFields(members, text);
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
  const fault = fields.fault();
  if (fault !== null || messageId === null) return { ok: false, ...(fault ?? { code: 'field_missing', pointer: '/idempotency_key', message: 'idempotency_key is required' }), messageId: sentMessageId };
  return {
    ok: true,
    event: {
      tenant: source.tenant, dialect: 'intake', messageId, type: 'track', event, userId: typeof user === 'string' ? user : null, anonymousId: null, previousId: null, groupId: null, email: null, name: null, category: null,
      timestampMs: timestampMs ?? source.receivedAtMs, sentAtMs: null, receivedAtMs: source.receivedAtMs, properties, traits: null, context: null, integrations: null, writeKeyId: source.writeKeyId, violations: [], raw: text,
    },
  };
}

export const intakeDialect: Dialect = {
  name: 'intake',
  challenge: 'Bearer',
  routes: [
    {
      paths: ['/v1/events'],
      batch: null,
      deduplicates: true,
      read: readEvent,
      status: 200,
      one: ({ eventId, receivedAtMs, deduplicated }) => ({ status: 'ok', event_id: eventIdText(eventId), ...(deduplicated && { deduplicated }), received_at: new Date(receivedAtMs).toISOString() }),
      many: summary => summary,
    },
  ],
};
