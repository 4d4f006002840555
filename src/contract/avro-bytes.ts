import { isUtf8 } from 'node:buffer';
import type { AvroNode } from './avro-schema.ts';

/*
 * The bytes of an Avro value, read with distrust. avsc loops as often as a block's count says and looks at the end
 * whether it stayed inside the buffer, so that 33 bytes which claim billions of items take it minutes and all memory.
 * Every value is walked here first:
 *
 *   - no read passes the end of the buffer; a length or count is never trusted, nothing is allocated for it
 *   - items without bytes (null, empty records) are bounded by steps: 10,000, and 8 for each byte of the value
 *   - the byte size of a block (its count is negative then) must be the true one, since skipping jumps by it
 *   - records, arrays and maps nest at most 64 deep
 *   - strings are UTF-8, booleans 0 or 1, union and enum indexes exist, and no byte is left over
 */

export interface AvroCursor {
  readonly bytes: Buffer;
  at: number;
  /** How many more values may be visited. */
  steps: number;
}

/** What is wrong with a value's bytes; never leaves this folder. */
export class AvroFault extends Error {
  readonly code: 'schema_mismatch' | 'too_deep' | 'event_too_large';

  constructor(message: string, code: AvroFault['code'] = 'schema_mismatch') {
    super(message);
    this.code = code;
  }
}

const maxNesting = 64;

export function cursorOf(bytes: Buffer): AvroCursor {
  return { bytes, at: 0, steps: 10_000 + 8 * bytes.length };
}

/** What is wrong with a value that this schema is said to have written, or null. Takes at most some 10 ns a step. */
export function faultOfAvro(node: AvroNode, bytes: Buffer): string | null {
  const cursor = cursorOf(bytes);
  try {
    walk(node, cursor, 0);
    requireEnd(cursor);
    return null;
  } catch (error) {
    if (error instanceof AvroFault) return error.message;
    throw error;
  }
}

export function requireEnd({ at, bytes }: AvroCursor): void {
  if (at !== bytes.length) throw new AvroFault(`${bytes.length - at} bytes are left over after the value`);
}

/** One value visited, `depth` records, arrays and maps deep. */
export function step(cursor: AvroCursor, depth: number): void {
  if (--cursor.steps < 0) throw new AvroFault('it claims more items than its bytes can hold');
  if (depth > maxNesting) throw new AvroFault(`it is nested deeper than ${maxNesting} levels`, 'too_deep');
}

function walk(node: AvroNode, cursor: AvroCursor, depth: number): void {
  step(cursor, depth);
  switch (node.kind) {
    case 'null':
      return;
    case 'boolean':
      readBoolean(cursor);
      return;
    case 'int':
    case 'long':
      readCount(cursor);
      return;
    case 'float':
      take(cursor, 4);
      return;
    case 'double':
      take(cursor, 8);
      return;
    case 'bytes':
      take(cursor, readCount(cursor));
      return;
    case 'string':
      skipString(cursor);
      return;
    case 'fixed':
      take(cursor, node.size);
      return;
    case 'enum':
      readSymbol(node.symbols, cursor);
      return;
    case 'union':
      walk(readBranch(node.branches, cursor), cursor, depth);
      return;
    case 'array':
      readBlocks(cursor, () => walk(node.items, cursor, depth + 1));
      return;
    case 'map':
      readBlocks(cursor, () => {
        skipString(cursor);
        walk(node.values, cursor, depth + 1);
      });
      return;
    case 'record':
      for (const field of node.fields) walk(field.type, cursor, depth + 1);
      return;
  }
}

/** Moves on by `length` bytes and answers where they began. */
export function take(cursor: AvroCursor, length: number): number {
  const start = cursor.at;
  if (length < 0 || length > cursor.bytes.length - start) throw new AvroFault(`it ends too early: ${length} bytes are claimed, ${cursor.bytes.length - start} are left`);
  cursor.at = start + length;
  return start;
}

/** A zigzag variable-length integer as a number: exact up to 2^53, which is more than any true length, count or index. */
export function readCount(cursor: AvroCursor): number {
  const { bytes } = cursor;
  let byte = bytes[take(cursor, 1)] ?? 0;
  let sum = byte & 0x7f;
  for (let factor = 128, length = 1; byte >= 0x80; factor *= 128) {
    if (++length > 10) throw new AvroFault('an integer is longer than 64 bits');
    byte = bytes[take(cursor, 1)] ?? 0;
    sum += (byte & 0x7f) * factor;
  }
  return sum % 2 === 0 ? sum / 2 : -(sum + 1) / 2;
}

/** A zigzag variable-length integer with every digit. */
export function readLong(cursor: AvroCursor): bigint {
  const start = cursor.at;
  const near = readCount(cursor);
  if (cursor.at - start <= 7) return BigInt(near);
  let sum = 0n;
  for (let index = cursor.at - 1; index >= start; index--) sum = (sum << 7n) | BigInt((cursor.bytes[index] ?? 0) & 0x7f);
  return BigInt.asIntN(64, (sum >> 1n) ^ -(sum & 1n));
}

export function readBoolean(cursor: AvroCursor): boolean {
  const byte = cursor.bytes[take(cursor, 1)];
  if (byte === 0 || byte === 1) return byte === 1;
  throw new AvroFault('a boolean is neither 0 nor 1');
}

export function readSymbol(symbols: readonly string[], cursor: AvroCursor): string {
  const index = readCount(cursor);
  const symbol = symbols[index];
  if (symbol === undefined) throw new AvroFault(`an enum of ${symbols.length} symbols has no number ${index}`);
  return symbol;
}

export function readBranch(branches: readonly AvroNode[], cursor: AvroCursor): AvroNode {
  const index = readCount(cursor);
  const branch = branches[index];
  if (branch === undefined) throw new AvroFault(`a union of ${branches.length} types has no number ${index}`);
  return branch;
}

/** The blocks of an array or map. */
export function readBlocks(cursor: AvroCursor, readItem: () => void): void {
  for (;;) {
    let count = readCount(cursor);
    if (count === 0) return;
    let end: number | null = null;
    if (count < 0) {
      count = -count;
      const size = readCount(cursor);
      end = take(cursor, size) + size;
      cursor.at = end - size;
    }
    for (; count > 0; count--) readItem();
    if (end !== null && cursor.at !== end) throw new AvroFault('a block has not the size that it claims');
  }
}

function skipString(cursor: AvroCursor): void {
  const length = readCount(cursor);
  requireUtf8(cursor, take(cursor, length));
}

export function readString(cursor: AvroCursor): string {
  const length = readCount(cursor);
  const start = take(cursor, length);
  const text = cursor.bytes.toString('utf8', start, cursor.at);
  // What is no UTF-8 becomes this character; it may have been sent, too.
  if (text.includes('\ufffd')) requireUtf8(cursor, start);
  return text;
}

/** From `start` to where the cursor is. */
function requireUtf8({ bytes, at }: AvroCursor, start: number): void {
  if (at - start <= 64) {
    let index = start;
    while (index < at && (bytes[index] ?? 0) < 0x80) index++;
    if (index === at) return;
  }
  if (!isUtf8(bytes.subarray(start, at))) throw new AvroFault('a string is not UTF-8');
}
