import { isUtf8 } from 'node:buffer';

const context = 2;
const maxLines = 60;
const maxColumns = 200;
/** Lines that are compared pairwise at most; beyond, a change is shown as all old lines and then all new ones. */
const maxPairs = 1_000_000;
const hexWindow = 512;

/** What changes from one payload to another, as lines that begin with a blank, `-` or `+`; empty where nothing does. */
export function diffPayloads(before: Buffer, after: Buffer): string[] {
  if (before.equals(after)) return [];
  if (isUtf8(before) && isUtf8(after)) {
    const lines = diffLines(textLines(before), textLines(after));
    // Only white space differs where both look alike.
    if (lines.length > 0) return lines;
  }
  let same = 0;
  while (same < before.length && same < after.length && before[same] === after[same]) same++;
  const from = Math.max(0, (same & ~15) - 32);
  return diffLines(hexLines(before, from), hexLines(after, from));
}

/** Unified, without line numbers: unchanged stretches become `…`. */
export function diffLines(before: readonly string[], after: readonly string[]): string[] {
  const marked = compare(before, after);
  if (marked.every(([mark]) => mark === ' ')) return [];
  const near = marked.map((_, index) => marked.slice(Math.max(0, index - context), index + context + 1).some(([mark]) => mark !== ' '));
  const lines: string[] = [];
  marked.forEach(([mark, line], index) => {
    if (near[index] === true) lines.push(`${mark} ${clip(printable(line))}`);
    else if (lines.at(-1) !== '  …') lines.push('  …');
  });
  return lines.length <= maxLines ? lines : [...lines.slice(0, maxLines), `  … and ${lines.length - maxLines} more lines`];
}

type Marked = readonly [mark: ' ' | '-' | '+', line: string];

function compare(before: readonly string[], after: readonly string[]): Marked[] {
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) head++;
  let tail = 0;
  while (tail < before.length - head && tail < after.length - head && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail++;
  const kept = (lines: readonly string[]): Marked[] => lines.map(line => [' ', line]);
  return [
    ...kept(before.slice(0, head)),
    ...compareMiddle(before.slice(head, before.length - tail), after.slice(head, after.length - tail)),
    ...kept(before.slice(before.length - tail)),
  ];
}

/** Longest common subsequence: `common[i][j]` is its length from line i of one and j of the other on. */
function compareMiddle(before: readonly string[], after: readonly string[]): Marked[] {
  const removed = (lines: readonly string[]): Marked[] => lines.map(line => ['-', line]);
  const added = (lines: readonly string[]): Marked[] => lines.map(line => ['+', line]);
  if (before.length * after.length > maxPairs) return [...removed(before), ...added(after)];
  const width = after.length + 1;
  const common = new Uint32Array((before.length + 1) * width);
  const at = (i: number, j: number): number => common[i * width + j] ?? 0;
  for (let i = before.length - 1; i >= 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      common[i * width + j] = before[i] === after[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const lines: Marked[] = [];
  let i = 0;
  let j = 0;
  while (i < before.length && j < after.length) {
    if (before[i] === after[j]) {
      lines.push([' ', before[i++] ?? '']);
      j++;
    } else if (at(i + 1, j) >= at(i, j + 1)) lines.push(['-', before[i++] ?? '']);
    else lines.push(['+', after[j++] ?? '']);
  }
  return [...lines, ...removed(before.slice(i)), ...added(after.slice(j))];
}

/** JSON one member a line, its numbers and strings as they are; other text as it is. */
export function textLines(bytes: Buffer): string[] {
  const text = bytes.toString('utf8');
  try {
    JSON.parse(text);
  } catch {
    return text.split('\n');
  }
  return indented(text).split('\n');
}

function indented(json: string): string {
  let depth = 0;
  let out = '';
  const line = (): string => `\n${'  '.repeat(depth)}`;
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[[{]\s*[\]}]|[^\s[\]{},:"]+|[[\]{},:]/g)) {
    if (token === '{' || token === '[') {
      depth++;
      out += token + line();
    } else if (token === '}' || token === ']') {
      depth--;
      out += line() + token;
    } else if (token === ',') out += token + line();
    else if (token === ':') out += ': ';
    else out += token;
  }
  return out;
}

function hexLines(bytes: Buffer, from: number): string[] {
  const lines: string[] = [];
  const end = Math.min(bytes.length, from + hexWindow);
  for (let at = from; at < end; at += 16) {
    const row = bytes.subarray(at, Math.min(at + 16, end));
    const hex = [...row].map(byte => byte.toString(16).padStart(2, '0')).join(' ');
    const text = [...row].map(byte => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${at.toString(16).padStart(8, '0')}  ${hex.padEnd(47)}  ${text}`);
  }
  if (end < bytes.length) lines.push(`… ${bytes.length} bytes in all`);
  return lines;
}

/** Control characters as `\xNN`: what a stranger sent must not steer a terminal. */
export function printable(text: string): string {
  // eslint-disable-next-line no-control-regex -- they are what is looked for
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, char => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

function clip(line: string): string {
  return line.length <= maxColumns ? line : `${line.slice(0, maxColumns)} … (${line.length} characters)`;
}
