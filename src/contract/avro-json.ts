import { pointerToken } from '../event/json-text.ts';
import { AvroFault, cursorOf, readBlocks, readBoolean, readBranch, readCount, readLong, readString, readSymbol, requireEnd, step, take } from './avro-bytes.ts';
import type { AvroCursor } from './avro-bytes.ts';
import type { AvroLogical, AvroNode } from './avro-schema.ts';
import { dateText, decimalText, durationText, timeText, timestampText, uuidText } from './avro-logical.ts';

/*
 * An Avro value as JSON text, by the schema that wrote it, with every digit:
 *
 *   record, map            object                            union                     the value alone
 *   array                  array                             enum                      its symbol
 *   int, long              number, all digits                bytes, fixed              base64 (RFC 4648)
 *   float, double          the shortest number that is it, with a point; NaN and infinities are strings, and noted
 *   decimal                number with all digits of its scale, as 12.50
 *   date                   "2025-03-15"                      uuid                      "6ba7b810-9dad-…"
 *   time-millis, -micros   "14:30:00.123", "….123456"        duration                  "P1M2DT3.004S"
 *   timestamp-*            "2025-03-15T14:30:00.123Z" with 3, 6 or 9 digits; local-timestamp-* without the Z
 *
 * A date or timestamp outside the years 1 to 9999, or a time outside a day, stays a number.
 */

export type AvroJson =
  | { ok: true; text: string; /** JSON pointers of numbers that JSON has none for: at most 100. */ notNumbers: string[] }
  | { ok: false; code: AvroFault['code']; detail: string };

interface Writer extends AvroCursor {
  /** How long the text may still grow. */
  characters: number;
  path: (string | number)[];
  notNumbers: string[];
}

const maxNotes = 100;

/** Refuses a text over `maxCharacters`, and whatever avro-bytes.ts does. */
export function avroToJson(node: AvroNode, bytes: Buffer, maxCharacters: number): AvroJson {
  const writer: Writer = { ...cursorOf(bytes), characters: maxCharacters, path: [], notNumbers: [] };
  try {
    const text = write(node, writer, 0);
    requireEnd(writer);
    return { ok: true, text, notNumbers: writer.notNumbers };
  } catch (error) {
    if (error instanceof AvroFault) return { ok: false, code: error.code, detail: `${error.message}${writer.path.length === 0 ? '' : ` (${pointerOf(writer.path)})`}` };
    throw error;
  }
}

function write(node: AvroNode, writer: Writer, depth: number): string {
  step(writer, depth);
  switch (node.kind) {
    case 'array': {
      const items: string[] = [];
      readBlocks(writer, () => {
        writer.path.push(items.length);
        spend(writer, 1);
        items.push(write(node.items, writer, depth + 1));
        writer.path.pop();
      });
      return `[${items.join(',')}]`;
    }
    case 'map': {
      const members: string[] = [];
      readBlocks(writer, () => {
        const name = readString(writer);
        members.push(writeMember(name, JSON.stringify(name), node.values, writer, depth));
      });
      return `{${members.join(',')}}`;
    }
    case 'record': {
      const members: string[] = [];
      for (const { name, quoted, type } of node.fields) members.push(writeMember(name, quoted, type, writer, depth));
      return `{${members.join(',')}}`;
    }
    case 'union':
      return write(readBranch(node.branches, writer), writer, depth);
    default: {
      const text = writeScalar(node, writer);
      spend(writer, text.length);
      return text;
    }
  }
}

function writeMember(name: string, quoted: string, type: AvroNode, writer: Writer, depth: number): string {
  writer.path.push(name);
  spend(writer, quoted.length + 2);
  const member = `${quoted}:${write(type, writer, depth + 1)}`;
  writer.path.pop();
  return member;
}

function writeScalar(node: Exclude<AvroNode, { kind: 'array' | 'map' | 'record' | 'union' }>, writer: Writer): string {
  switch (node.kind) {
    case 'null':
      return 'null';
    case 'boolean':
      return String(readBoolean(writer));
    case 'string':
      return JSON.stringify(readString(writer));
    case 'enum':
      return JSON.stringify(readSymbol(node.symbols, writer));
    case 'float': {
      const value = writer.bytes.readFloatLE(take(writer, 4));
      return writeFraction(value, shortestFloat, writer);
    }
    case 'double':
      return writeFraction(writer.bytes.readDoubleLE(take(writer, 8)), String, writer);
    case 'int': {
      const value = readCount(writer);
      if (value !== (value | 0)) throw new AvroFault('an int is larger than 32 bits');
      if (node.logical?.name === 'date') return dateText(value);
      return node.logical?.name === 'time-millis' ? timeText(BigInt(value), 3) : String(value);
    }
    case 'long': {
      const value = readLong(writer);
      if (node.logical?.name === 'timestamp') return timestampText(value, node.logical);
      return node.logical?.name === 'time-micros' ? timeText(value, 6) : String(value);
    }
    case 'bytes': {
      const length = readCount(writer);
      return writeBytes(node.logical, take(writer, length), writer);
    }
    case 'fixed':
      return writeBytes(node.logical, take(writer, node.size), writer);
  }
}

/** The bytes from `start` to the cursor. */
function writeBytes(logical: AvroLogical | null, start: number, writer: Writer): string {
  const bytes = writer.bytes.subarray(start, writer.at);
  if (logical?.name === 'decimal') return decimalText(bytes, logical.scale);
  if (logical?.name === 'uuid') return uuidText(bytes);
  if (logical?.name === 'duration') return durationText(bytes);
  return `"${bytes.toString('base64')}"`;
}

function writeFraction(value: number, textOf: (value: number) => string, writer: Writer): string {
  if (!Number.isFinite(value)) {
    if (writer.notNumbers.length < maxNotes) writer.notNumbers.push(pointerOf(writer.path));
    return `"${value}"`;
  }
  if (Object.is(value, -0)) return '-0.0';
  const text = textOf(value);
  // With a point, so that the column of a price is not now one of integers, now one of fractions.
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

/** The fewest digits that are this 32-bit number, as other languages print it. */
function shortestFloat(value: number): string {
  for (let digits = 1; digits < 9; digits++) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) return String(Number(text));
  }
  return String(Number(value.toPrecision(9)));
}

function spend(writer: Writer, characters: number): void {
  writer.characters -= characters;
  if (writer.characters < 0) throw new AvroFault('as JSON it is too large for an event', 'event_too_large');
}

function pointerOf(path: readonly (string | number)[]): string {
  const pointer = path.map(name => `/${pointerToken(String(name))}`).join('');
  return pointer.length > 512 ? `${pointer.slice(0, 512)}…` : pointer;
}
