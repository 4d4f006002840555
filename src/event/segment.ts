import { eventTypes } from './canonical.ts';
import type { EventResult, EventType, Refusal } from './canonical.ts';
import { faultOfEvent, maxIdLength, readFields } from './fields.ts';
import { memberSpans } from './json-text.ts';
import { parseTime } from './time.ts';

/** Beyond this distance between `sentAt` and receipt the client's clock is taken to be wrong. */
export const clockToleranceMs = 5 * 60_000;

/** What a batch says once for all of its events, as JSON texts. */
export interface SegmentDefaults {
  context: string | null;
  integrations: string | null;
  sentAt: unknown;
}

export interface SegmentSource {
  tenant: string;
  dialect: string;
  writeKeyId: string | null;
  receivedAtMs: number;
  /** Used where the event brings no message id. */
  newMessageId: () => string;
  defaults?: SegmentDefaults;
  /** Filled into the context where the event's own has none. */
  ip?: string | undefined;
  userAgent?: string | undefined;
  /** Set where the path names the type (`/v1/track`). */
  type?: EventType;
  /** A record of a direct producer may do without a user; it is keyed by its event id. */
  userOptional?: boolean;
}

/**
 * One event of Segment's shape (its spec's common fields and six calls) as a canonical event.
 * `text` is the event's JSON text and `value` what JSON.parse made of it.
 * Reads what SDKs send, leniently where nothing is lost: null is absent, a number as an id is its decimal text,
 * an empty user id is absent, an empty array is an empty object (PHP writes both as []),
 * a missing `timestamp` is `originalTimestamp` (RudderStack's name for it), else the receipt.
 */
export function readSegmentEvent(value: unknown, text: string, source: SegmentSource): EventResult {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { ok: false, code: 'not_an_object', message: 'an event is a JSON object', pointer: '', messageId: null };
  }
  const fields = value as Record<string, unknown>;
  const sentMessageId = typeof fields['messageId'] === 'string' ? fields['messageId'].slice(0, maxIdLength) : null;
  const refuse = (code: Refusal['code'], pointer: string, message: string): Refusal => ({
    ok: false, code, message, pointer, messageId: sentMessageId,
  });

  text = withBatchDefaults(fields, text, source.defaults);
  const unfit = faultOfEvent(value, text);
  if (unfit !== null) return { ok: false, ...unfit, messageId: sentMessageId };

  const read = readFields(fields, text);
  const time = (name: string, field: unknown): number | null => {
    if (field === undefined || field === null) return null;
    const ms = typeof field === 'string' ? parseTime(field) : null;
    return ms ?? read.fail('time_invalid', `/${name}`, `${name} is an RFC 3339 date-time with a zone, like 2025-03-15T14:30:00Z`);
  };

  const type = source.type ?? fields['type'];
  if (type === undefined || type === null) return refuse('field_missing', '/type', 'type is required');
  if (!isEventType(type)) return refuse('type_unknown', '/type', `type is one of ${eventTypes.join(', ')}`);

  const lenient = { numbers: true, emptyIsAbsent: true };
  const messageId = read.id('messageId', { numbers: true });
  const userId = read.id('userId', lenient);
  const anonymousId = read.id('anonymousId', lenient);
  const groupId = read.id('groupId', lenient);
  const previousId = read.id('previousId', lenient);
  const event = read.string('event');
  const name = read.string('name');
  const category = read.string('category');
  const object = (field: string): string | null => (isEmptyArray(fields[field]) ? '{}' : read.object(field));
  const properties = object('properties');
  const ownTraits = object('traits');
  const context = object('context') ?? source.defaults?.context ?? null;
  const integrations = object('integrations') ?? source.defaults?.integrations ?? null;
  const sentAtMs = time('sentAt', fields['sentAt'] ?? source.defaults?.sentAt);
  const clientMs = time('timestamp', fields['timestamp']) ?? originalTime(fields);
  const fault = read.fault();
  if (fault !== null) return { ok: false, ...fault, messageId: sentMessageId };

  if (userId === null && anonymousId === null && source.userOptional !== true) return refuse('field_missing', '/userId', 'userId or anonymousId is required');
  if (type === 'track' && (event === null || event === '')) return refuse('field_missing', '/event', 'a track event needs its name in event');
  if (type === 'group' && groupId === null) return refuse('field_missing', '/groupId', 'a group event needs groupId');

  const skewMs = sentAtMs === null ? 0 : source.receivedAtMs - sentAtMs;
  const timestampMs = clientMs === null ? source.receivedAtMs : Math.abs(skewMs) > clockToleranceMs ? clientMs + skewMs : clientMs;

  return {
    ok: true,
    event: {
      tenant: source.tenant,
      dialect: source.dialect,
      messageId: messageId ?? source.newMessageId(),
      type,
      event,
      userId,
      anonymousId,
      previousId,
      groupId,
      email: null,
      name,
      category,
      timestampMs,
      sentAtMs,
      receivedAtMs: source.receivedAtMs,
      properties,
      traits: ownTraits ?? (type === 'identify' ? objectMember(context, 'traits') : null),
      context: withDefaults(context, { ip: source.ip, userAgent: source.userAgent }),
      integrations,
      writeKeyId: source.writeKeyId,
      violations: [],
      raw: text,
    },
    parsed: { properties: fields['properties'], ...(ownTraits !== null && { traits: fields['traits'] }) },
  };
}

/** What RudderStack's SDKs send in place of `timestamp`. No field of Segment's: where it is no time it is not refused. */
export function originalTime(fields: Readonly<Record<string, unknown>>): number | null {
  const sent = Object.hasOwn(fields, 'originalTimestamp') ? fields['originalTimestamp'] : null;
  return typeof sent === 'string' ? parseTime(sent) : null;
}

function isEmptyArray(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

function isEventType(type: unknown): type is EventType {
  return (eventTypes as readonly unknown[]).includes(type);
}

/** The event's text with those members of its batch that it takes as defaults put in front, so that `raw` lacks nothing. */
function withBatchDefaults(fields: Record<string, unknown>, text: string, defaults: SegmentDefaults | undefined): string {
  let added = '';
  for (const name of ['context', 'integrations'] as const) {
    const shared = defaults?.[name] ?? null;
    if (shared !== null && (fields[name] ?? null) === null) added += `"${name}":${shared},`;
  }
  return added === '' ? text : `{${added}${text.slice(1)}`;
}

/** The text of an object-valued member of an object's text, or null. */
function objectMember(text: string | null, name: string): string | null {
  if (text === null || !text.includes(name)) return null;
  const span = memberSpans(text, 0).get(name);
  const member = span && text.slice(span[0], span[1]);
  return member?.startsWith('{') === true ? member : null;
}

/** The object's text with each of `defaults` that it lacks put in front. */
function withDefaults(text: string | null, defaults: Record<string, string | undefined>): string | null {
  const present = text === null ? null : memberSpans(text, 0);
  let added = '';
  for (const [name, value] of Object.entries(defaults)) {
    if (value === undefined || present?.has(name) === true) continue;
    added += `${added === '' ? '' : ','}${JSON.stringify(name)}:${JSON.stringify(value)}`;
  }
  if (added === '') return text;
  if (text === null || present?.size === 0) return `{${added}}`;
  return `{${added},${text.slice(1)}`;
}
