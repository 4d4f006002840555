import { eventTypes } from './canonical.ts';
import type { EventResult, EventType, Refusal } from './canonical.ts';
import { findFault, isDeeperThan, maxDepth, memberSpans, smells } from './json-text.ts';
import type { Span } from './json-text.ts';
import { parseTime } from './time.ts';

/** Largest event, in bytes of its JSON text (shared limit of all dialects). */
export const maxEventBytes = 262_144;

/** An id's length, in UTF-16 units. */
export const maxIdLength = 512;

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
 * an empty user id is absent, a missing `timestamp` is the receipt.
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
  if (text.length > maxEventBytes || (text.length * 3 > maxEventBytes && Buffer.byteLength(text) > maxEventBytes)) {
    return refuse('event_too_large', '', `an event is at most ${maxEventBytes} bytes`);
  }
  if (isDeeperThan(text, maxDepth)) return refuse('too_deep', '', faultMessages.too_deep);
  if (smells(text)) {
    const fault = findFault(value);
    if (fault !== null) return refuse(fault.code, fault.pointer, faultMessages[fault.code]);
  }

  const spans = memberSpans(text, 0);
  const refusals: Refusal[] = [];
  const fail = (code: Refusal['code'], pointer: string, message: string): null => {
    refusals.push(refuse(code, pointer, message));
    return null;
  };

  /** Absent, null and (where allowed) empty are null; a number is its text as sent. */
  const id = (name: string, emptyIsAbsent: boolean): string | null => {
    const field = fields[name];
    if (field === undefined || field === null || (field === '' && emptyIsAbsent)) return null;
    const read = typeof field === 'number' ? sliceOf(text, spans.get(name)) : field;
    if (typeof read !== 'string') return fail('field_invalid', `/${name}`, `${name} is a string`);
    if (read.length === 0 || read.length > maxIdLength) return fail('field_invalid', `/${name}`, `${name} has 1 to ${maxIdLength} characters`);
    return read;
  };
  const label = (name: string): string | null => {
    const field = fields[name];
    if (field === undefined || field === null) return null;
    return typeof field === 'string' ? field : fail('field_invalid', `/${name}`, `${name} is a string`);
  };
  const object = (name: string): string | null => {
    const field = fields[name];
    if (field === undefined || field === null) return null;
    if (typeof field !== 'object' || Array.isArray(field)) return fail('field_invalid', `/${name}`, `${name} is an object`);
    return sliceOf(text, spans.get(name));
  };
  const time = (name: string, field: unknown): number | null => {
    if (field === undefined || field === null) return null;
    const read = typeof field === 'string' ? parseTime(field) : null;
    return read ?? fail('time_invalid', `/${name}`, `${name} is an RFC 3339 date-time with a zone, like 2025-03-15T14:30:00Z`);
  };

  const type = source.type ?? fields['type'];
  if (type === undefined || type === null) return refuse('field_missing', '/type', 'type is required');
  if (!isEventType(type)) return refuse('type_unknown', '/type', `type is one of ${eventTypes.join(', ')}`);

  const messageId = id('messageId', false);
  const userId = id('userId', true);
  const anonymousId = id('anonymousId', true);
  const groupId = id('groupId', true);
  const previousId = id('previousId', true);
  const event = label('event');
  const name = label('name');
  const category = label('category');
  const properties = object('properties');
  const ownTraits = object('traits');
  const context = object('context') ?? source.defaults?.context ?? null;
  const integrations = object('integrations') ?? source.defaults?.integrations ?? null;
  const sentAtMs = time('sentAt', fields['sentAt'] ?? source.defaults?.sentAt);
  const clientMs = time('timestamp', fields['timestamp']);
  const [refusal] = refusals;
  if (refusal !== undefined) return refusal;

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
  };
}

export const faultMessages = {
  too_deep: `JSON is nested at most ${maxDepth} levels deep`,
  string_invalid: 'a string holds half of a surrogate pair',
  key_forbidden: 'no object may have a key named __proto__',
} as const;

function isEventType(type: unknown): type is EventType {
  return (eventTypes as readonly unknown[]).includes(type);
}

function sliceOf(text: string, span: Span | undefined): string | null {
  return span === undefined ? null : text.slice(span[0], span[1]);
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
  const member = sliceOf(text, memberSpans(text, 0).get(name));
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
