/*
 * One scan of an object's JSON text instead of a parse, a walk and a second writing. Most texts that are sent are plain:
 *
 *   valid JSON, without space between tokens and without escapes
 *   names that are not empty, have no dot, do not begin with a digit, and come once in an object
 *   numbers of at most 15 digits, written as JSON.stringify writes them
 *   no more levels, members and paths than the bounds here, which lie within those of queryable.ts
 *
 * Of such a text it is known without another look that JSON.parse takes it and that ClickHouse's JSON column does (queryable.ts); and
 * its canonical spelling (content.ts) is the text itself but for the order of names. Any other text somebody has to look at closer.
 */

const maxLevels = 32;
const maxArrayLevels = 8;
const maxMembers = 200;
const maxDigits = 15;

/** How many characters all paths of a text may have together, a path being the names that lead to a member. */
export function pathBudget(text: string): number {
  return 1_024 + 8 * text.length;
}

/** The canonical spelling of a plain text, without the members of the outermost object that are named here. Null where it is not plain. */
export function spellPlain(text: string, without: ReadonlySet<string> | null = null): string | null {
  if (text.charCodeAt(0) !== braceOpen) return null;
  const scan: Scan = { text, spelled: null, pathCharacters: pathBudget(text) };
  return objectEnd(scan, 0, 0, 0, 0, without) === text.length ? (scan.spelled ?? text) : null;
}

interface Scan {
  readonly text: string;
  /** The spelling of what was scanned last, where that is another than its text. */
  spelled: string | null;
  pathCharacters: number;
}

const quote = 0x22;
const comma = 0x2c;
const minus = 0x2d;
const dot = 0x2e;
const zero = 0x30;
const nine = 0x39;
const colon = 0x3a;
const bracketOpen = 0x5b;
const backslash = 0x5c;
const bracketClose = 0x5d;
const braceOpen = 0x7b;
const braceClose = 0x7d;
const firstSurrogate = 0xd800;
const lastSurrogate = 0xdfff;

/* Each function answers where the thing that begins at `at` ends, or this where it is not plain. */
const odd = -1;

function valueEnd(scan: Scan, at: number, path: number, levels: number, arrays: number): number {
  const { text } = scan;
  const code = text.charCodeAt(at);
  scan.spelled = null;
  if (code === quote) return stringEnd(text, at);
  if (code === braceOpen) return objectEnd(scan, at, path, levels, arrays, null);
  if (code === bracketOpen) return arrayEnd(scan, at, levels, arrays);
  if (code === minus || isDigit(code)) return numberEnd(text, at);
  if (text.startsWith('true', at) || text.startsWith('null', at)) return at + 4;
  return text.startsWith('false', at) ? at + 5 : odd;
}

/** `path` is the length of the path that leads here. */
function objectEnd(scan: Scan, start: number, path: number, levels: number, arrays: number, without: ReadonlySet<string> | null): number {
  const { text } = scan;
  if (text.charCodeAt(start + 1) === braceClose) return start + 2;
  const names: string[] = [];
  const starts: number[] = [start + 1];
  /** Of members whose own text is not their spelling. */
  let respelled: Map<string, string> | null = null;
  let isSpelled = true;
  let last = '';
  for (let at = start + 1; names.length < maxMembers && levels < maxLevels; at++) {
    const nameEnd = text.charCodeAt(at) === quote ? stringEnd(text, at) : odd;
    if (nameEnd === odd || text.charCodeAt(nameEnd) !== colon) return odd;
    const name = text.slice(at + 1, nameEnd - 1);
    if (name === '' || isDigit(name.charCodeAt(0)) || name.includes('.')) return odd;
    if (name > last) last = name;
    else if (names.includes(name)) return odd;
    else isSpelled = false;
    names.push(name);
    const own = path + name.length + 1;
    scan.pathCharacters -= own;
    if (scan.pathCharacters < 0) return odd;
    at = valueEnd(scan, nameEnd + 1, own, levels + 1, arrays);
    if (at === odd) return odd;
    if (scan.spelled !== null) (respelled ??= new Map()).set(name, `"${name}":${scan.spelled}`);
    if (without?.has(name) === true) isSpelled = false;
    starts.push(at + 1);
    const code = text.charCodeAt(at);
    if (code === comma) continue;
    if (code !== braceClose) return odd;
    scan.spelled = isSpelled && respelled === null ? null : spellObject(text, names, starts, respelled, without);
    return at + 1;
  }
  return odd;
}

/** Each member ends one before the next begins. */
function spellObject(text: string, names: readonly string[], starts: readonly number[], respelled: ReadonlyMap<string, string> | null, without: ReadonlySet<string> | null): string {
  const members = names.map((name, index) => ({ name, text: respelled?.get(name) ?? text.slice(starts[index], (starts[index + 1] ?? 0) - 1) }));
  members.sort((a, b) => (a.name < b.name ? -1 : 1));
  return `{${(without === null ? members : members.filter(({ name }) => !without.has(name))).map(member => member.text).join()}}`;
}

function arrayEnd(scan: Scan, start: number, levels: number, arrays: number): number {
  const { text } = scan;
  if (arrays === maxArrayLevels || levels === maxLevels) return odd;
  if (text.charCodeAt(start + 1) === bracketClose) return start + 2;
  let spelled: string | null = null;
  for (let at = start + 1; ; at++) {
    const from = at;
    // Paths inside an array's objects begin anew.
    at = valueEnd(scan, from, 0, levels + 1, arrays + 1);
    if (at === odd) return odd;
    if (scan.spelled !== null) spelled ??= text.slice(start, from);
    if (spelled !== null) spelled += (scan.spelled ?? text.slice(from, at)) + text.charAt(at);
    const code = text.charCodeAt(at);
    if (code === comma) continue;
    if (code !== bracketClose) return odd;
    scan.spelled = spelled;
    return at + 1;
  }
}

function stringEnd(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) return at + 1;
    if (code === backslash || code < 0x20 || (code >= firstSurrogate && code <= lastSurrogate)) return odd;
  }
  return odd;
}

/** `0`, `-12`, `3.25`; never `-0`, `1.0`, `1e3` or `0.0000001`. */
function numberEnd(text: string, start: number): number {
  const first = text.charCodeAt(start) === minus ? start + 1 : start;
  const isZero = text.charCodeAt(first) === zero;
  let at = digitsEnd(text, first);
  let digits = at - first;
  if (digits === 0 || (isZero && digits > 1)) return odd;
  if (text.charCodeAt(at) === dot) {
    const fraction = at + 1;
    at = digitsEnd(text, fraction);
    digits += at - fraction;
    if (at === fraction || text.charCodeAt(at - 1) === zero || (isZero && text.startsWith('00000', fraction))) return odd;
  } else if (isZero && first > start) return odd;
  return digits > maxDigits ? odd : at;
}

function digitsEnd(text: string, start: number): number {
  let at = start;
  while (isDigit(text.charCodeAt(at))) at++;
  return at;
}

function isDigit(code: number): boolean {
  return code >= zero && code <= nine;
}
