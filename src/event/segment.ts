import { eventTypes } from './canonical.ts';
import type { EventResult, EventType, Refusal } from './canonical.ts';
import { fail, faultOfEvent, idOf, maxIdLength, objectOf, stringOf } from './fields.ts';
import type { Reading, Scanned } from './fields.ts';
import { memberSpans, objectSpans } from './json-text.ts';
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
export function readSegmentEvent(value: unknown, text: string, source: SegmentSource, scanned?: Scanned): EventResult {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { ok: false, code: 'not_an_object', message: 'an event is a JSON object', pointer: '', messageId: null };
  }
  const fields = value as Record<string, unknown>;
  const { defaults, receivedAtMs } = source;
  const whole = withBatchDefaults(fields, text, defaults);
  const unfit = faultOfEvent(value, whole, scanned?.plain);
  if (unfit !== null) return refusal(fields, unfit.code, unfit.pointer, unfit.message);

  const type = source.type ?? fields['type'];
  if (type === undefined || type === null) return refusal(fields, 'field_missing', '/type', 'type is required');
  if (!isEventType(type)) return refusal(fields, 'type_unknown', '/type', `type is one of ${eventTypes.join(', ')}`);

  // The members of a batch that were put in front have no text of their own to be cut out.
  const reading: Reading = { value: fields, text, spans: scanned?.spans ?? objectSpans(text, 0).spans, fault: null };
  const messageId = idOf(reading, 'messageId', numbersToo);
  const userId = idOf(reading, 'userId', lenient);
  const anonymousId = idOf(reading, 'anonymousId', lenient);
  const groupId = idOf(reading, 'groupId', lenient);
  const previousId = idOf(reading, 'previousId', lenient);
  const event = stringOf(reading, 'event');
  const name = stringOf(reading, 'name');
  const category = stringOf(reading, 'category');
  const properties = objectText(reading, 'properties');
  const ownTraits = objectText(reading, 'traits');
  const ownContext = objectText(reading, 'context');
  const context = ownContext ?? defaults?.context ?? null;
  const integrations = objectText(reading, 'integrations') ?? defaults?.integrations ?? null;
  const sentAtMs = timeOf(reading, 'sentAt', fields['sentAt'] ?? defaults?.sentAt);
  const clientMs = timeOf(reading, 'timestamp', fields['timestamp']) ?? originalTime(fields);
  const { fault } = reading;
  if (fault !== null) return refusal(fields, fault.code, fault.pointer, fault.message);

  if (userId === null && anonymousId === null && source.userOptional !== true) return refusal(fields, 'field_missing', '/userId', 'userId or anonymousId is required');
  if (type === 'track' && (event === null || event === '')) return refusal(fields, 'field_missing', '/event', 'a track event needs its name in event');
  if (type === 'group' && groupId === null) return refusal(fields, 'field_missing', '/groupId', 'a group event needs groupId');

  const skewMs = sentAtMs === null ? 0 : receivedAtMs - sentAtMs;
  const timestampMs = clientMs === null ? receivedAtMs : Math.abs(skewMs) > clockToleranceMs ? clientMs + skewMs : clientMs;

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
      receivedAtMs,
      properties,
      traits: ownTraits ?? (type === 'identify' ? objectMember(context, 'traits') : null),
      context: withCircumstances(context, ownContext === null ? null : (fields['context'] as object), source),
      integrations,
      writeKeyId: source.writeKeyId,
      violations: [],
      raw: whole,
    },
    parsed: ownTraits === null ? { properties: fields['properties'] } : { properties: fields['properties'], traits: fields['traits'] },
  };
}

const numbersToo = { numbers: true };
const lenient = { numbers: true, emptyIsAbsent: true };

function refusal(fields: Readonly<Record<string, unknown>>, code: Refusal['code'], pointer: string, message: string): Refusal {
  const sent = fields['messageId'];
  return { ok: false, code, message, pointer, messageId: typeof sent === 'string' ? sent.slice(0, maxIdLength) : null };
}

/** PHP writes an empty object as an empty array. */
function objectText(reading: Reading, name: string): string | null {
  const field = reading.value[name];
  return Array.isArray(field) && field.length === 0 ? '{}' : objectOf(reading, name);
}

function timeOf(reading: Reading, name: string, field: unknown): number | null {
  if (field === undefined || field === null) return null;
  const ms = typeof field === 'string' ? parseTime(field) : null;
  return ms ?? fail(reading, 'time_invalid', `/${name}`, `${name} is an RFC 3339 date-time with a zone, like 2025-03-15T14:30:00Z`);
}

/** What RudderStack's SDKs send in place of `timestamp`. No field of Segment's: where it is no time it is not refused. */
export function originalTime(fields: Readonly<Record<string, unknown>>): number | null {
  const sent = Object.hasOwn(fields, 'originalTimestamp') ? fields['originalTimestamp'] : null;
  return typeof sent === 'string' ? parseTime(sent) : null;
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

/** A context's text with the peer's address and its header where it has none of its own, put in front. `sent` is what it was parsed to, where that is known. */
function withCircumstances(text: string | null, sent: object | null, { ip, userAgent }: SegmentSource): string | null {
  if (ip === undefined && userAgent === undefined) return text;
  const names = sent !== null || text === null ? null : memberSpans(text, 0);
  const lacks = (name: string): boolean => (sent !== null ? !Object.hasOwn(sent, name) : names?.has(name) !== true);
  const address = ip !== undefined && lacks('ip') ? `"ip":${JSON.stringify(ip)}` : '';
  const agent = userAgent !== undefined && lacks('userAgent') ? `"userAgent":${JSON.stringify(userAgent)}` : '';
  if (address === '' && agent === '') return text;
  const added = address === '' || agent === '' ? address + agent : `${address},${agent}`;
  const isEmpty = sent !== null ? Object.keys(sent).length === 0 : (names?.size ?? 0) === 0;
  return text === null || isEmpty ? `{${added}}` : `{${added},${text.slice(1)}`;
}
