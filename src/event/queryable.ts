import { elementSpans, isDeeperThan, memberSpans, pointerToken, stringEnd } from './json-text.ts';
import { pathBudget } from './plain-json.ts';

/*
 * What ClickHouse's JSON type cannot hold (26.7, each tried): one such place fails the whole block that it comes in.
 *
 *   an integer below -2^63 or above 2^64-1       no type for it
 *   a number beyond a double, as 1e400           no type for it
 *   half of a surrogate pair                     no UTF-8 for it
 *   nesting beyond some 1,000 levels             stopped at 500 here
 *   arrays nested deeply, mixed                  no failure, but minutes for one event: 8 levels here
 *   long names over many members                 the same, since each path is spelled out: 8 times the text here
 *   the same path twice: a name given twice, or {"a":{"b":1},"a.b":2}, since a dot in a name is a path
 *
 * A member that holds one is left out of the column; the event's raw text keeps it, and a violation names it.
 * A name given twice keeps its last value, as in JSON.parse, and is no violation.
 */

export interface Queryable {
  /** The JSON text for the column; the same string where nothing had to go. */
  text: string;
  /** JSON pointers of the members that were left out, or of the object that was cut short; at most 100 and then `…`, each of at most 512 characters. */
  unfit: string[];
}

const minInt64 = -(2n ** 63n);
const maxUInt64 = 2n ** 64n - 1n;

const maxLevels = 500;
const maxArrayLevels = 8;
const maxNoted = 100;
const maxPointerLength = 512;

/** A text without these has no unfit number (18 digits always fit an Int64) and no escaped half of a surrogate pair. */
const suspicious = /\d{19}|\d[eE]\+?\d{3}|\\u[dD][89a-fA-F]/;

interface Level {
  start: number;
  names: string[];
  /** Length of the path that leads here. */
  path: number;
}

/** What is known while a column is rebuilt. */
interface Rebuild {
  unfit: string[];
  pathCharacters: number;
}

/** The text of an object, made such that a JSON column takes it. `text` is valid JSON that starts with `{`. */
export function makeQueryable(text: string): Queryable {
  if (isDeeperThan(text, maxLevels)) return { text: '{}', unfit: [''] };
  if (!suspicious.test(text) && isPlain(text)) return { text, unfit: [] };
  const state: Rebuild = { unfit: [], pathCharacters: pathBudget(text) };
  const rebuilt = rebuildObject(text, '', '', new Set(), state, 0) ?? '{}';
  return { text: rebuilt, unfit: state.unfit };
}

/** Whether no object in the text gives a name twice, has a dot or an escape in a name, and arrays and paths are within bounds. */
function isPlain(text: string): boolean {
  const levels: Level[] = [];
  let level: Level | undefined;
  let nameNext = false;
  let lastName = 0;
  let arrays = 0;
  let budget = pathBudget(text);
  for (let index = 0; index < text.length; ) {
    const code = text.charCodeAt(index);
    if (code === 0x22) {
      const end = stringEnd(text, index);
      if (nameNext && level !== undefined) {
        const name = text.slice(index + 1, end - 1);
        if (name.includes('.') || name.includes('\\') || level.names.includes(name) || level.names.length > 200) return false;
        level.names.push(name);
        lastName = name.length + 1;
        budget -= level.path + lastName;
        if (budget < 0) return false;
        nameNext = false;
      }
      index = end;
      continue;
    }
    if (code === 0x7b || code === 0x5b) {
      const path = (level?.path ?? 0) + (level === undefined ? 0 : lastName);
      level = code === 0x7b ? { start: index, names: [], path } : undefined;
      levels.push(level ?? { start: index, names: [], path });
      nameNext = code === 0x7b;
      if (code === 0x5b && ++arrays > maxArrayLevels) return false;
    } else if (code === 0x7d || code === 0x5d) {
      if (code === 0x5d) arrays--;
      levels.pop();
      const outer = levels.at(-1);
      level = outer !== undefined && text.charCodeAt(outer.start) === 0x7b ? outer : undefined;
    } else if (code === 0x2c) nameNext = level !== undefined;
    index++;
  }
  return true;
}

/** An object's text without its unfit members, or null where it holds none that can stay. */
function rebuildObject(text: string, pointer: string, path: string, paths: Set<string>, state: Rebuild, arrays: number): string | null {
  const kept: string[] = [];
  const spans = memberSpans(text, 0);
  for (const [name, [start, end]] of spans) {
    const at = `${pointer}/${pointerToken(name)}`;
    if (!name.isWellFormed()) {
      note(state, pointer);
      continue;
    }
    const value = text.slice(start, end);
    let fitting: string | null;
    const child = path === '' ? name : `${path}.${name}`;
    state.pathCharacters -= child.length + 1;
    if (state.pathCharacters < 0) {
      // This object is cut here: what follows in it would not fit either.
      note(state, pointer);
      break;
    }
    if (value.startsWith('{')) {
      fitting = rebuildObject(value, at, child, paths, state, arrays);
    } else {
      fitting = paths.has(child) ? null : rebuildValue(value, state, arrays);
      if (fitting === null) note(state, at);
      else paths.add(child);
    }
    if (fitting !== null) kept.push(`${JSON.stringify(name)}:${fitting}`);
  }
  return kept.length === 0 && spans.size > 0 ? null : `{${kept.join(',')}}`;
}

/** Names a member that was left out. Names may be long and members many: the list says enough, not all. */
function note(state: Rebuild, pointer: string): void {
  if (state.unfit.length > maxNoted) return;
  state.unfit.push(state.unfit.length === maxNoted ? '…' : pointer.length > maxPointerLength ? `${pointer.slice(0, maxPointerLength)}…` : pointer);
}

/** A value as the column can hold it, or null. An array goes in whole or not at all: its positions mean something. */
function rebuildValue(value: string, state: Rebuild, arrays: number): string | null {
  const first = value.charCodeAt(0);
  if (first === 0x22) return !value.includes('\\u') || (JSON.parse(value) as string).isWellFormed() ? value : null;
  if (first === 0x2d || (first >= 0x30 && first <= 0x39)) return numberFits(value) ? value : null;
  if (first === 0x7b) {
    // Paths inside an array's objects are counted anew for each object.
    const inner: Rebuild = { unfit: [], pathCharacters: state.pathCharacters };
    const object = rebuildObject(value, '', '', new Set(), inner, arrays);
    state.pathCharacters = inner.pathCharacters;
    return inner.unfit.length === 0 ? (object ?? '{}') : null;
  }
  if (first !== 0x5b) return value;
  if (arrays === maxArrayLevels) return null;
  const elements: string[] = [];
  for (const [start, end] of elementSpans(value, 0)) {
    const element = rebuildValue(value.slice(start, end), state, arrays + 1);
    if (element === null) return null;
    elements.push(element);
  }
  return `[${elements.join(',')}]`;
}

function numberFits(text: string): boolean {
  if (/[.eE]/.test(text)) return Number.isFinite(Number(text));
  if (text.length < 19) return true;
  // The longest that fit have 20 characters; a number of 250,000 digits would take half a second.
  if (text.length > 20) return false;
  const integer = BigInt(text);
  return integer >= minInt64 && integer <= maxUInt64;
}
