import type { ErrorCode } from '../errors.ts';
import type { CanonicalEvent } from '../event/canonical.ts';
import { memberSpans, pointerToken } from '../event/json-text.ts';
import { maxIdLength } from '../event/fields.ts';
import { parseTime } from '../event/time.ts';
import type { MappedField, TopicMapping } from './mapping.ts';

/** A record of somebody else's, as far as it is JSON by now. */
export interface MappedSource {
  /** The JSON text of the value, an object. */
  text: string;
  /** The JSON text of the key; null where there is none, or none that is text. */
  keyText: string | null;
  header: (name: string) => string | null;
  arrivalMs: number;
  dialect: string;
  /** Used where nothing else gives an id. */
  newMessageId: () => string;
}

export type MappedEvent = { ok: true; event: CanonicalEvent } | { ok: false; code: ErrorCode; detail: string; messageId: string | null };

/** Where a field's source was found: the JSON text there, and how to name the place. */
interface Found {
  text: string;
  pointer: string;
  /** Names that lead there in the value; null for headers and keys. */
  path: string[] | null;
}

class Refused extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * A record as an event, by its topic's mapping. What is not mapped becomes `properties` (`traits` of identify and group),
 * with the digits and spelling of the text; `raw` is the whole text.
 */
export function mapEvent(mapping: TopicMapping, source: MappedSource): MappedEvent {
  const { fields = {}, type = 'track' } = mapping;
  const taken: string[][] = [];
  const find = (field: MappedField): Found | null => {
    const where = fields[field];
    if (where === undefined) return null;
    const found = where.startsWith('header:') ? inHeader(where.slice(7).trim(), source) : where === 'key' || where.startsWith('key.') ? inKey(where, source) : inValue(where, source.text);
    if (found !== null && found.path !== null) taken.push(found.path);
    return found === null || found.text === 'null' ? null : found;
  };
  const id = (field: MappedField): string | null => {
    const found = find(field);
    const read = found === null ? null : scalarText(found, field);
    if (found === null || read === null || read === '') return null;
    if (read.length > maxIdLength) throw new Refused('field_invalid', `${field} has at most ${maxIdLength} characters (${found.pointer})`);
    return read;
  };
  const label = (field: MappedField): string | null => {
    const found = find(field);
    return found === null ? null : scalarText(found, field);
  };
  const time = (field: MappedField): number | null => {
    const found = find(field);
    if (found === null || found.text === '""') return null;
    const read = found.text.startsWith('"') ? JSON.parse(found.text) as string : found.text;
    const ms = /^-?\d/.test(read) && !/^\d{4}-\d/.test(read) ? epochMs(read) : parseTime(read);
    if (ms === null) throw new Refused('time_invalid', `${field} is an RFC 3339 date-time with a zone, or a number of seconds, milliseconds, microseconds or nanoseconds since 1970 (${found.pointer})`);
    return ms;
  };

  let messageId: string | null = null;
  try {
    messageId = id('messageId');
    const userId = id('userId');
    const anonymousId = id('anonymousId');
    const previousId = id('previousId');
    const groupId = id('groupId');
    const event = mapping.event ?? label('event');
    const name = label('name');
    const category = label('category');
    const email = label('email');
    if ((email?.length ?? 0) > maxIdLength) throw new Refused('field_invalid', `the email (${fields.email ?? ''}) has at most ${maxIdLength} characters`);
    const timestampMs = time('timestamp') ?? source.arrivalMs;
    const sentAtMs = time('sentAt');
    if (type === 'track' && (event === null || event === '')) throw new Refused('field_missing', `a track event needs its name in event (${fields.event ?? ''})`);
    if (type === 'group' && groupId === null) throw new Refused('field_missing', `a group event needs groupId (${fields.groupId ?? ''})`);
    const rest = without(source.text, taken);
    const aboutSomebody = type === 'identify' || type === 'group';
    return {
      ok: true,
      event: {
        tenant: mapping.tenant,
        dialect: source.dialect,
        messageId: messageId ?? source.newMessageId(),
        type,
        event: type === 'track' ? event : null,
        userId,
        anonymousId,
        previousId,
        groupId,
        email,
        name,
        category,
        timestampMs,
        sentAtMs,
        receivedAtMs: source.arrivalMs,
        properties: aboutSomebody ? null : rest,
        traits: aboutSomebody ? rest : null,
        context: null,
        integrations: null,
        writeKeyId: null,
        violations: [],
        raw: source.text,
      },
    };
  } catch (error) {
    if (error instanceof Refused) return { ok: false, code: error.code, detail: error.message, messageId };
    throw error;
  }
}

function inHeader(name: string, { header }: MappedSource): Found | null {
  const value = header(name);
  if (value === null || value === '') return null;
  const pointer = `header ${name}`;
  // Bytes that are no text become U+FFFD: two ids could become one.
  if (value.includes('\ufffd')) throw new Refused('field_invalid', `it is not UTF-8 text (${pointer})`);
  return { text: JSON.stringify(value), pointer, path: null };
}

function inKey(where: string, { keyText }: MappedSource): Found | null {
  if (keyText === null) return null;
  if (where === 'key') return { text: keyText, pointer: 'key', path: null };
  const found = inValue(where.slice(4), keyText);
  return found === null ? null : { ...found, pointer: `key ${found.pointer}`, path: null };
}

/** A dotted path into an object's text; a name that holds dots itself is found before one that is split. */
function inValue(dotted: string, text: string): Found | null {
  const path: string[] = [];
  for (let rest = dotted, at = text; at.startsWith('{'); ) {
    const spans = memberSpans(at, 0);
    const dot = rest.indexOf('.');
    const name = dot === -1 || spans.has(rest) ? rest : rest.slice(0, dot);
    const span = spans.get(name);
    if (span === undefined) return null;
    path.push(name);
    at = at.slice(span[0], span[1]);
    if (name === rest) return { text: at, pointer: path.map(part => `/${pointerToken(part)}`).join(''), path };
    rest = rest.slice(dot + 1);
  }
  return null;
}

/** A string as it is, a number as its text. */
function scalarText({ text, pointer }: Found, field: string): string {
  if (text.startsWith('"')) return JSON.parse(text) as string;
  if (/^[-\d]/.test(text)) return text;
  throw new Refused('field_invalid', `${field} is a string or a number (${pointer})`);
}

/**
 * Milliseconds of a count since 1970. Its size says its unit: below 10^11 seconds, below 10^14 milliseconds, below 10^17
 * microseconds, else nanoseconds. (10^11 seconds are the year 5138, 10^11 milliseconds 1973.) Null for what no Date holds.
 */
export function epochMs(text: string): number | null {
  const plain = /[eE]/.test(text) ? Number(text).toFixed(9) : text;
  const parts = /^(-?)(\d{1,25})(?:\.(\d+))?$/.exec(plain);
  if (parts === null) return null;
  const whole = BigInt(parts[2] ?? '');
  const inMs =
    whole < 10n ** 11n ? whole * 1_000n + BigInt((parts[3] ?? '').slice(0, 3).padEnd(3, '0'))
    : whole < 10n ** 14n ? whole
    : whole < 10n ** 17n ? whole / 1_000n
    : whole / 1_000_000n;
  const ms = Number(inMs) * (parts[1] === '-' ? -1 : 1);
  return Math.abs(ms) <= 8.64e15 ? ms : null;
}

/** An object's text without the members at these paths, and without objects that this leaves empty. */
function without(text: string, paths: readonly string[][]): string {
  if (paths.length === 0) return text;
  const members: string[] = [];
  for (const [name, [start, end]] of memberSpans(text, 0)) {
    const here = paths.filter(path => path[0] === name);
    if (here.some(path => path.length === 1)) continue;
    const value = here.length === 0 ? text.slice(start, end) : without(text.slice(start, end), here.map(path => path.slice(1)));
    if (here.length === 0 || value !== '{}') members.push(`${JSON.stringify(name)}:${value}`);
  }
  return `{${members.join(',')}}`;
}
