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

/** `index` is at the opening quote; returns the index after the closing one. */
export function stringEnd(text: string, index: number): number {
  let close = text.indexOf('"', index + 1);
  for (;;) {
    if (close === -1) throw new RangeError('a JSON text ends within a string');
    let slashes = 0;
    while (text.charCodeAt(close - 1 - slashes) === backslash) slashes++;
    if (slashes % 2 === 0) return close + 1;
    close = text.indexOf('"', close + 1);
  }
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
 * The members of the object that starts at `index`, by name: where each value stands.
 * Of duplicate names the last wins, as in JSON.parse.
 */
export function memberSpans(text: string, index: number): Map<string, Span> {
  const spans = new Map<string, Span>();
  index = skipSpace(text, skipSpace(text, index) + 1);
  while (text.charCodeAt(index) === quote) {
    const nameEnd = stringEnd(text, index);
    const bare = text.slice(index + 1, nameEnd - 1);
    const name = bare.includes('\\') ? (JSON.parse(text.slice(index, nameEnd)) as string) : bare;
    const start = skipSpace(text, skipSpace(text, nameEnd) + 1);
    const end = valueEnd(text, start);
    spans.set(name, [start, end]);
    index = skipSpace(text, end);
    if (text.charCodeAt(index) === 0x2c) index = skipSpace(text, index + 1);
  }
  return spans;
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

/** Whether a text nests deeper than `limit`; needs no valid JSON, so that it can be asked before parsing. */
export function isDeeperThan(text: string, limit: number): boolean {
  let open = 0;
  let inString = false;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (inString) {
      if (code === backslash) index++;
      else if (code === quote) inString = false;
    } else if (code === quote) inString = true;
    else if (code === 0x7b || code === 0x5b) {
      if (++open > limit) return true;
    } else if (code === 0x7d || code === 0x5d) open--;
  }
  return false;
}

/** Escapes a name for a JSON pointer (RFC 6901). */
export function pointerToken(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}

export type JsonFault = { code: 'string_invalid' | 'key_forbidden' | 'too_deep'; pointer: string };

/** What can only belong to a text with something to refuse; one without needs no closer look. `__proto__` may be spelled with any of its letters escaped. */
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
