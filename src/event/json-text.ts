/**
 * Reading JSON by its text, so that what is passed on keeps the digits and spelling that were sent.
 * Everything here takes text that JSON.parse has accepted: it finds boundaries and does not check grammar again.
 */

/** Deepest nesting that an event may have (shared limit of all dialects). */
export const maxDepth = 64;

/** Half-open range of UTF-16 indexes in a text. */
export type Span = readonly [start: number, end: number];

const quote = 0x22;
const backslash = 0x5c;

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

function skipSpace(text: string, index: number): number {
  while (isSpace(text.charCodeAt(index))) index++;
  return index;
}

/** `index` is at the opening quote; returns the index of the closing one, -1 where the text ends before. */
function closingQuote(text: string, index: number): number {
  let close = text.indexOf('"', index + 1);
  while (close !== -1) {
    let slashes = 0;
    while (text.charCodeAt(close - 1 - slashes) === backslash) slashes++;
    if (slashes % 2 === 0) break;
    close = text.indexOf('"', close + 1);
  }
  return close;
}

/** `index` is at the opening quote; returns the index after the closing one. */
export function stringEnd(text: string, index: number): number {
  const close = closingQuote(text, index);
  if (close === -1) throw new RangeError('a JSON text ends within a string');
  return close + 1;
}

/** `index` is at the first character of a value; returns the index after its last. */
export function valueEnd(text: string, index: number): number {
  const first = text.charCodeAt(index);
  if (first === quote) return stringEnd(text, index);
  if (first !== 0x7b && first !== 0x5b) {
    for (; index < text.length; index++) {
      const code = text.charCodeAt(index);
      if (code === 0x2c || code === 0x7d || code === 0x5d || isSpace(code)) break;
    }
    return index;
  }
  let open = 0;
  for (;;) {
    const code = text.charCodeAt(index);
    if (code === quote) {
      index = stringEnd(text, index);
      continue;
    }
    if (index >= text.length) throw new RangeError('a JSON text ends within an object or array');
    index++;
    if (code === 0x7b || code === 0x5b) open++;
    else if (code === 0x7d || code === 0x5d) {
      open--;
      if (open === 0) return index;
    }
  }
}

/**
 * Walks the members of the object that starts at `index`: `visit` is told where a name begins and ends and where its value begins, and
 * answers where that ends. Returns the index after the object.
 */
function walkMembers(text: string, index: number, visit: (name: number, nameEnd: number, start: number) => number): number {
  index = skipSpace(text, skipSpace(text, index) + 1);
  while (text.charCodeAt(index) === quote) {
    const nameEnd = stringEnd(text, index);
    index = skipSpace(text, visit(index, nameEnd, skipSpace(text, skipSpace(text, nameEnd) + 1)));
    if (text.charCodeAt(index) === 0x2c) index = skipSpace(text, index + 1);
  }
  return index + 1;
}

/**
 * The members of the object that starts at `index`, by name: where each value stands.
 * Of duplicate names the last wins, as in JSON.parse.
 */
export function memberSpans(text: string, index: number): Map<string, Span> {
  const spans = new Map<string, Span>();
  walkMembers(text, index, (name, nameEnd, start) => {
    const end = valueEnd(text, start);
    spans.set(nameAt(text, name, nameEnd), [start, end]);
    return end;
  });
  return spans;
}

/**
 * By name, where those members of an object stand whose texts say more than JSON.parse does: objects, arrays and numbers.
 * Of duplicate names it is the last such one, so the parsed value has to be asked first.
 */
export type RawSpans = ReadonlyMap<string, Span>;

/** The object that starts at `index`, in one pass: the index after it, and its spans, counted from `index`. */
export function objectSpans(text: string, index: number): { end: number; spans: RawSpans } {
  const spans = new Map<string, Span>();
  const objectEnd = walkMembers(text, index, (name, nameEnd, start) => {
    const end = valueEnd(text, start);
    if (saysMore(text.charCodeAt(start))) spans.set(nameAt(text, name, nameEnd), [start - index, end - index]);
    return end;
  });
  return { end: objectEnd, spans };
}

/** An element of an array; `spans` only where it is an object, of not too many members to be kept. */
export interface Element {
  text: string;
  spans: RawSpans | null;
}

const maxKeptSpans = 32;

/**
 * The object that a text is, in one pass: as {@link memberSpans}, and the elements of the array that `name` is; none where it is
 * none, or has more than `most`.
 */
export function batchSpans(text: string, name: string, most: number): { members: ReadonlyMap<string, Span>; elements: Element[] } {
  const members = new Map<string, Span>();
  let elements: Element[] = [];
  walkMembers(text, 0, (nameStart, nameEnd, start) => {
    const member = nameAt(text, nameStart, nameEnd);
    let end: number;
    if (member === name) ({ end, elements } = elementsAt(text, start, most));
    else end = valueEnd(text, start);
    members.set(member, [start, end]);
    return end;
  });
  return { members, elements };
}

function elementsAt(text: string, start: number, most: number): { end: number; elements: Element[] } {
  const elements: Element[] = [];
  if (text.charCodeAt(start) !== 0x5b) return { end: valueEnd(text, start), elements };
  let index = skipSpace(text, start + 1);
  while (text.charCodeAt(index) !== 0x5d) {
    if (elements.length === most) return { end: valueEnd(text, start), elements: [] };
    const object = text.charCodeAt(index) === 0x7b ? objectSpans(text, index) : null;
    const end = object?.end ?? valueEnd(text, index);
    elements.push({ text: text.slice(index, end), spans: object !== null && object.spans.size <= maxKeptSpans ? object.spans : null });
    index = skipSpace(text, end);
    if (text.charCodeAt(index) === 0x2c) index = skipSpace(text, index + 1);
  }
  return { end: index + 1, elements };
}

/** By a value's first character: `{`, `[`, `-` or a digit. */
function saysMore(first: number): boolean {
  return first === 0x7b || first === 0x5b || first === 0x2d || (first >= 0x30 && first <= 0x39);
}

function nameAt(text: string, start: number, end: number): string {
  const bare = text.slice(start + 1, end - 1);
  return bare.includes('\\') ? (JSON.parse(text.slice(start, end)) as string) : bare;
}

/** The elements of the array that starts at `index`. */
export function elementSpans(text: string, index: number): Span[] {
  const spans: Span[] = [];
  index = skipSpace(text, skipSpace(text, index) + 1);
  while (text.charCodeAt(index) !== 0x5d) {
    const end = valueEnd(text, index);
    spans.push([index, end]);
    index = skipSpace(text, end);
    if (text.charCodeAt(index) === 0x2c) index = skipSpace(text, index + 1);
  }
  return spans;
}

/** How deep a text nests, `limit + 1` where that is more than `limit`; needs no valid JSON, so that it can be asked before parsing. */
export function nesting(text: string, limit: number): number {
  let open = 0;
  let deepest = 0;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === quote) {
      index = closingQuote(text, index);
      if (index === -1) break;
    } else if (code === 0x7b || code === 0x5b) {
      if (++open > deepest) deepest = open;
      if (open > limit) break;
    } else if (code === 0x7d || code === 0x5d) open--;
  }
  return deepest;
}

export function isDeeperThan(text: string, limit: number): boolean {
  return nesting(text, limit) > limit;
}

/** Escapes a name for a JSON pointer (RFC 6901). */
export function pointerToken(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}

export type JsonFault = { code: 'string_invalid' | 'key_forbidden' | 'too_deep'; pointer: string };

/** Characters that may belong to a text with something to refuse, any letter of `__proto__` as an escape too; a text without them needs no closer look. */
const smell = /\\u(?:[dD][89a-fA-F]|00(?:5[fF]|6[fF]|7[024]))|__proto__/;

/** The cheap question before {@link findFault}: could this text hold half of a surrogate pair or a `__proto__` key? */
export function smells(text: string): boolean {
  return smell.test(text);
}

/** The first place in a parsed value that no event may have: a lone surrogate, a `__proto__` key, too much depth. */
export function findFault(value: unknown, pointer = '', depth = 1): JsonFault | null {
  if (typeof value === 'string') return value.isWellFormed() ? null : { code: 'string_invalid', pointer };
  if (typeof value !== 'object' || value === null) return null;
  if (depth > maxDepth) return { code: 'too_deep', pointer };
  for (const [name, child] of Object.entries(value)) {
    if (!name.isWellFormed()) return { code: 'string_invalid', pointer };
    const at = `${pointer}/${pointerToken(name)}`;
    if (name === '__proto__') return { code: 'key_forbidden', pointer: at };
    const fault = findFault(child, at, depth + 1);
    if (fault !== null) return fault;
  }
  return null;
}
