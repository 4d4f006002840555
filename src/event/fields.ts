import type { Refusal } from './canonical.ts';
import { findFault, isDeeperThan, maxDepth, memberSpans, smells } from './json-text.ts';
import type { Span } from './json-text.ts';

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

/** What no dialect takes: too large, too deep, half of a surrogate pair, `__proto__`. `value` is what JSON.parse made of `text`. */
export function faultOfEvent(value: unknown, text: string): Fault | null {
  if (text.length > maxEventBytes || (text.length * 3 > maxEventBytes && Buffer.byteLength(text) > maxEventBytes)) {
    return { code: 'event_too_large', pointer: '', message: `an event is at most ${maxEventBytes} bytes` };
  }
  if (isDeeperThan(text, maxDepth)) return { code: 'too_deep', pointer: '', message: faultMessages.too_deep };
  const fault = smells(text) ? findFault(value) : null;
  return fault === null ? null : { code: fault.code, pointer: fault.pointer, message: faultMessages[fault.code] };
}

/** Reads the members of an event's object; what is wrong first is kept. Absent and null are the same. */
export interface Fields {
  /** A member's JSON text as it was sent, or null. */
  text(name: string): string | null;
  /** A string of 1 to 512 characters; with `numbers` a number is its decimal text, with `emptyIsAbsent` "" is null. */
  id(name: string, options?: { required?: boolean; numbers?: boolean; emptyIsAbsent?: boolean }): string | null;
  string(name: string, options?: { required?: boolean }): string | null;
  /** The JSON text of an object. */
  object(name: string, options?: { required?: boolean }): string | null;
  /** Notes a fault, and is null. */
  fail(code: Refusal['code'], pointer: string, message: string): null;
  /** The first fault, or null. */
  fault(): Fault | null;
  spans: ReadonlyMap<string, Span>;
}

/** `text` is the JSON text of the object `value`, which {@link faultOfEvent} has let pass. */
export function readFields(value: Readonly<Record<string, unknown>>, text: string): Fields {
  const spans = memberSpans(text, 0);
  let first: Fault | null = null;
  const fail: Fields['fail'] = (code, pointer, message) => {
    first ??= { code, pointer, message };
    return null;
  };
  const slice = (name: string): string | null => {
    const span = spans.get(name);
    return span === undefined ? null : text.slice(span[0], span[1]);
  };
  const absent = (name: string, required: boolean | undefined): null => (required === true ? fail('field_missing', `/${name}`, `${name} is required`) : null);
  return {
    spans,
    fail,
    fault: () => first,
    text: slice,
    id(name, { required, numbers, emptyIsAbsent } = {}) {
      const field = value[name];
      if (field === undefined || field === null || (field === '' && emptyIsAbsent === true)) return absent(name, required);
      const read = typeof field === 'number' && numbers === true ? slice(name) : field;
      if (typeof read !== 'string') return fail('field_invalid', `/${name}`, `${name} is a string`);
      if (read.length === 0 || read.length > maxIdLength) return fail('field_invalid', `/${name}`, `${name} has 1 to ${maxIdLength} characters`);
      return read;
    },
    string(name, { required } = {}) {
      const field = value[name];
      if (field === undefined || field === null) return absent(name, required);
      return typeof field === 'string' ? field : fail('field_invalid', `/${name}`, `${name} is a string`);
    },
    object(name, { required } = {}) {
      const field = value[name];
      if (field === undefined || field === null) return absent(name, required);
      if (typeof field !== 'object' || Array.isArray(field)) return fail('field_invalid', `/${name}`, `${name} is an object`);
      return slice(name);
    },
  };
}
