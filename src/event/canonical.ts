import { eventId } from './identity.ts';

/** Segment's six calls (spec: identify, track, page, screen, group, alias). */
export const eventTypes = ['track', 'identify', 'page', 'screen', 'group', 'alias'] as const;
export type EventType = (typeof eventTypes)[number];

/**
 * The event as it travels on the topic: what the client sent, normalised, never transformed.
 * Field by field the record of schemas/events/event.v1.avsc, except `tenant` and `dialect`, which are record headers.
 * `properties`, `traits`, `context` and `integrations` are JSON texts of objects, with the digits that were sent.
 */
export interface CanonicalEvent {
  tenant: string;
  /** Who spoke: a dialect of the door, or `avro`, `json_schema` or `json` for a record that a direct producer wrote. */
  dialect: string;
  messageId: string;
  type: EventType;
  event: string | null;
  userId: string | null;
  anonymousId: string | null;
  previousId: string | null;
  groupId: string | null;
  email: string | null;
  name: string | null;
  category: string | null;
  timestampMs: number;
  sentAtMs: number | null;
  receivedAtMs: number;
  properties: string | null;
  traits: string | null;
  context: string | null;
  integrations: string | null;
  writeKeyId: string | null;
  violations: string[];
  /** The event's JSON text as it came; null for a record that never was JSON. */
  raw: string | null;
  /** What its contract said; not there where none was asked, or none is for it. */
  judged?: Judgement;
}

export const violationKinds = ['unplanned_event', 'required_missing', 'type_mismatch', 'additional_property', 'other'] as const;
export type ViolationKind = (typeof violationKinds)[number];

/** A place where an event breaks its contract. */
export interface Violation {
  kind: ViolationKind;
  /** JSON pointer (RFC 6901) into the event as it is here: `/properties/total`, `/traits/plan`. */
  pointer: string;
  message: string;
}

export const violationActions = ['reject', 'dead_letter', 'flag'] as const;
export type ViolationAction = (typeof violationActions)[number];

export interface Judgement {
  /** Of the contract; 0 where the violation is that there is none. */
  version: number;
  /** What the contract asks for; `flag` where nothing is wrong. */
  action: ViolationAction;
  violations: readonly Violation[];
}

/** What a contract says of is called by its name: that of a track event, a page or a screen. */
export function contractName({ type, event, name }: Pick<CanonicalEvent, 'type' | 'event' | 'name'>): string {
  return (type === 'track' ? event : type === 'page' || type === 'screen' ? name : null) ?? '';
}

/** Why an event is refused: bad input is a value, not a thrown fault. */
export interface Refusal {
  ok: false;
  code: 'field_missing' | 'field_invalid' | 'field_unknown' | 'time_out_of_range' | 'type_unknown' | 'time_invalid' | 'event_too_large' | 'not_an_object' | 'too_deep' | 'string_invalid' | 'key_forbidden';
  message: string;
  /** JSON pointer (RFC 6901) to the field, relative to the event. */
  pointer: string;
  messageId: string | null;
}

/** What the texts of an event say, where whoever read it has parsed them; `undefined` is not known. */
export interface ParsedObjects {
  properties?: unknown;
  traits?: unknown;
}

export type EventResult = { ok: true; event: CanonicalEvent; parsed?: ParsedObjects } | Refusal;

/** The Kafka key, UTF-8: the user id, else the anonymous id, else the event id. */
export function userKey(event: CanonicalEvent): string {
  return event.userId ?? event.anonymousId ?? eventId(event.tenant, event.messageId);
}
