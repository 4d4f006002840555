import type { Refusal } from './canonical.ts';
import { findFault, isDeeperThan, maxDepth, memberSpans, smells } from './json-text.ts';
import type { RawSpans, Span } from './json-text.ts';

/** Largest event, in bytes of its JSON text (shared limit of all dialects). */
export const maxEventBytes = 262_144;

/** An id's length, in UTF-16 units. */
export const maxIdLength = 512;

export const faultMessages = {
  too_deep: `JSON is nested at most ${maxDepth} levels deep`,
  string_invalid: 'a string holds half of a surrogate pair',
  key_forbidden: 'no object may have a key named __proto__',
} as const;

type Fault = Pick<Refusal, 'code' | 'pointer' | 'message'>;

/** What a look at the whole body has told of an event in it already. */
export interface Scanned {
  /** The text that it is a part of holds nothing that is too deep, no half of a surrogate pair, no `__proto__`. */
  plain: boolean;
  /** Of the event's own text. */
  spans: RawSpans | null;
}

/** What no dialect takes: too large, too deep, half of a surrogate pair, `__proto__`. `value` is what JSON.parse made of `text`. */
export function faultOfEvent(value: unknown, text: string, plain = false): Fault | null {
  if (text.length > maxEventBytes || (text.length * 3 > maxEventBytes && Buffer.byteLength(text) > maxEventBytes)) {
    return { code: 'event_too_large', pointer: '', message: `an event is at most ${maxEventBytes} bytes` };
  }
  if (plain) return null;
  if (isDeeperThan(text, maxDepth)) return { code: 'too_deep', pointer: '', message: faultMessages.too_deep };
  const fault = smells(text) ? findFault(value) : null;
  return fault === null ? null : { code: fault.code, pointer: fault.pointer, message: faultMessages[fault.code] };
}

/** An event's object while it is read: what is wrong first is kept. Absent and null are the same. */
export interface Reading {
  value: Readonly<Record<string, unknown>>;
  text: string;
  spans: RawSpans;
  fault: Fault | null;
}

interface IdOptions {
  required?: boolean;
  numbers?: boolean;
  emptyIsAbsent?: boolean;
}

/** Notes a fault, and is null. */
export function fail(reading: Reading, code: Refusal['code'], pointer: string, message: string): null {
  reading.fault ??= { code, pointer, message };
  return null;
}

/** A string of 1 to 512 characters; with `numbers` a number is its decimal text, with `emptyIsAbsent` "" is null. */
export function idOf(reading: Reading, name: string, options: IdOptions = {}): string | null {
  const field = reading.value[name];
  if (field === undefined || field === null || (field === '' && options.emptyIsAbsent === true)) return absent(reading, name, options.required);
  const read = typeof field === 'number' && options.numbers === true ? textOf(reading, name) : field;
  if (typeof read !== 'string') return fail(reading, 'field_invalid', `/${name}`, `${name} is a string`);
  if (read.length === 0 || read.length > maxIdLength) return fail(reading, 'field_invalid', `/${name}`, `${name} has 1 to ${maxIdLength} characters`);
  return read;
}

export function stringOf(reading: Reading, name: string, required = false): string | null {
  const field = reading.value[name];
  if (field === undefined || field === null) return absent(reading, name, required);
  return typeof field === 'string' ? field : fail(reading, 'field_invalid', `/${name}`, `${name} is a string`);
}

/** The JSON text of an object, as it was sent. */
export function objectOf(reading: Reading, name: string, required = false): string | null {
  const field = reading.value[name];
  if (field === undefined || field === null) return absent(reading, name, required);
  if (typeof field !== 'object' || Array.isArray(field)) return fail(reading, 'field_invalid', `/${name}`, `${name} is an object`);
  return textOf(reading, name);
}

function textOf({ spans, text }: Reading, name: string): string | null {
  const span = spans.get(name);
  return span === undefined ? null : text.slice(span[0], span[1]);
}

function absent(reading: Reading, name: string, required: boolean | undefined): null {
  return required === true ? fail(reading, 'field_missing', `/${name}`, `${name} is required`) : null;
}

/** The same for a dialect of members of its own: {@link readFields}. */
export interface Fields {
  /** A member's JSON text as it was sent, or null. */
  text(name: string): string | null;
  id(name: string, options?: IdOptions): string | null;
  string(name: string, options?: { required?: boolean }): string | null;
  object(name: string, options?: { required?: boolean }): string | null;
  fail(code: Refusal['code'], pointer: string, message: string): null;
  /** The first fault, or null. */
  fault(): Fault | null;
  /** Of all members. */
  spans: ReadonlyMap<string, Span>;
}

/** `text` is the JSON text of the object `value`, which {@link faultOfEvent} has let pass. */
export function readFields(value: Readonly<Record<string, unknown>>, text: string): Fields {
  const spans = memberSpans(text, 0);
  const reading: Reading = { value, text, spans, fault: null };
  return {
    spans,
    text: name => textOf(reading, name),
    id: (name, options) => idOf(reading, name, options),
    string: (name, options) => stringOf(reading, name, options?.required),
    object: (name, options) => objectOf(reading, name, options?.required),
    fail: (code, pointer, message) => fail(reading, code, pointer, message),
    fault: () => reading.fault,
  };
}
