import type { Fields } from '../../event/fields.ts';
import { eventIdText } from '../../event/identity.ts';
import { parseTime, timePattern } from '../../event/time.ts';
import type { Dialect, DialectRoute } from '../dialect.ts';
import { readObject } from '../read-object.ts';
import { idSchema, objectSchema, oneOfIds, stringSchema } from '../schemas.ts';
import type { JsonSchema } from '../schemas.ts';

/* Dialect 000: lifecycle events of an e-mail address or a user id, with a small list of planned names. */

const planned = new Set(['signup', 'purchase', 'core_activity', 'feature_used', 'support_ticket', 'cart', 're_engagement', 'referral']);

/** What is not a property of the event. */
const ownFields = new Set(['type', 'email', 'uid', 'idempotency_key', 'ts']);

const typePattern = '^[a-z][a-z0-9_]*$';
const typeForm = new RegExp(typePattern);
const addressPattern = '^\\s*[^\\s@]+@[^\\s@]+\\s*$';
const addressForm = new RegExp(addressPattern);

/** Beyond the year 9999 there is no date-time to write. */
const endMs = 253_402_300_800_000;

/** Below this a number of `ts` is seconds since 1970, else milliseconds. */
const firstMilliseconds = 1e11;

const readEvent = readObject({
  name: 'mailerpath',
  sentId: members => members['idempotency_key'],
  read(fields, members, source) {
    const type = fields.string('type', { required: true });
    if (type !== null && !typeForm.test(type)) fields.fail('field_invalid', '/type', `type is lowercase snake_case: ${typePattern}`);
    const uid = fields.id('uid', { emptyIsAbsent: true });
    const email = address(fields);
    if (uid === null && email === null) fields.fail('field_missing', '/email', 'email or uid is required');
    for (const name of ['source', 'action', 'feature', 'plan', 'status'] as const) fields.string(name);
    ofType('amount', 'number', members, fields);
    ofType('upgrade', 'boolean', members, fields);
    fields.object('metadata');
    const messageId = fields.id('idempotency_key');
    const timestampMs = time(members['ts'], source.receivedAtMs, fields);
    const properties = [...fields.spans.keys()].filter(name => !ownFields.has(name)).map(name => `${JSON.stringify(name)}:${fields.text(name) ?? 'null'}`);
    return {
      type: 'track', event: type, messageId, userId: uid ?? email, email, timestampMs, properties: properties.length === 0 ? null : `{${properties.join(',')}}`,
      ...(type !== null && !planned.has(type) && { violations: ['unplanned_event'], judged: { version: 0, action: 'flag', violations: [{ kind: 'unplanned_event', pointer: '/event', message: `none of ${[...planned].join(', ')}` }] } }),
    };
  },
});

/** Trimmed and in lower case: so it is a user's id. */
function address(fields: Fields): string | null {
  const email = fields.id('email', { emptyIsAbsent: true })?.trim().toLowerCase() ?? null;
  return email === null || addressForm.test(email) ? email : fields.fail('field_invalid', '/email', 'email is an e-mail address');
}

function ofType(name: string, type: 'number' | 'boolean', members: Readonly<Record<string, unknown>>, fields: Fields): void {
  const sent = members[name];
  if (sent !== undefined && sent !== null && typeof sent !== type) fields.fail('field_invalid', `/${name}`, `${name} is a ${type}`);
}

/** ISO 8601 with a zone, or seconds or milliseconds since 1970; of any age. */
function time(sent: unknown, receivedAtMs: number, fields: Fields): number {
  if (sent === undefined || sent === null) return receivedAtMs;
  const ms = typeof sent === 'number' ? Math.trunc(Math.abs(sent) < firstMilliseconds ? sent * 1_000 : sent) : typeof sent === 'string' ? parseTime(sent) : null;
  if (ms !== null && Math.abs(ms) < endMs) return ms;
  fields.fail('time_invalid', '/ts', 'ts is an ISO 8601 date-time with a zone, or Unix seconds or milliseconds');
  return receivedAtMs;
}

const event: JsonSchema = {
  type: 'object', description: 'A lifecycle event of an e-mail address or a user id. What is not named here becomes a property too.', required: ['type'],
  properties: {
    type: stringSchema(`what happened; planned are ${[...planned].join(', ')}`, { required: true, pattern: typePattern }),
    email: { ...idSchema('the address; this or `uid` is required', { emptyIsAbsent: true }), pattern: `^$|${addressPattern}` },
    uid: idSchema('the user', { emptyIsAbsent: true }),
    idempotency_key: idSchema('makes a repeat a duplicate; without one it is generated'),
    ts: { type: ['string', 'number', 'null'], pattern: timePattern, exclusiveMinimum: -endMs, exclusiveMaximum: endMs, description: 'when it happened: a date-time with a zone, or seconds or milliseconds since 1970; without one it is the receipt', examples: ['2025-03-15T14:30:00Z', 1_742_049_000] },
    source: stringSchema('where it comes from'),
    action: stringSchema('what was done'),
    feature: stringSchema('which part of the product'),
    plan: stringSchema('the user’s plan'),
    status: stringSchema('how it ended'),
    amount: { type: ['number', 'null'], description: 'of money' },
    upgrade: { type: ['boolean', 'null'], description: 'whether it is one' },
    metadata: objectSchema('whatever else belongs to it'),
  },
  ...oneOfIds(['uid', 'email'], ['string']),
  additionalProperties: true,
  examples: [
    { email: 'ada@example.com', type: 'purchase', source: 'api', plan: 'pro', amount: 49.9, idempotency_key: 'purchase-ada-1' },
    { uid: 'ada', type: 'feature_used', feature: 'reports', ts: '2025-03-15T14:30:00Z' },
  ],
};

const answers = {
  read: readEvent,
  event: 'MailerpathEvent',
  deduplicates: true,
  status: 200,
  one: ({ eventId, receivedAtMs, deduplicated }) => ({ status: 'ok', event_id: eventIdText(eventId()), ...(deduplicated && { deduplicated }), received_at: new Date(receivedAtMs).toISOString() }),
  many: ({ received, accepted, rejected, errors }) => ({ received, accepted, rejected, errors }),
} as const satisfies Partial<DialectRoute>;

const paths = ['/api/v1/client/events', '/api/v1/client/events/bulk'];

export const mailerpathDialect: Dialect = {
  name: 'mailerpath',
  title: 'Lifecycle events of an e-mail address or a user id',
  schemas: { MailerpathEvent: event },
  codes: [],
  challenge: 'Bearer',
  routes: [
    { ...answers, paths, batch: { name: 'MailerpathBatch', member: 'events', maxEvents: 500, withDefaults: false }, answer: 'BatchSummary', whenHas: 'events' },
    { ...answers, paths: paths.slice(0, 1), batch: null, answer: 'EventTaken' },
    // Where neither is there, bulk says what is lacking.
    { ...answers, paths: paths.slice(1), batch: { name: 'MailerpathBatch', member: 'events', maxEvents: 500, withDefaults: false }, answer: 'BatchSummary' },
  ],
};
