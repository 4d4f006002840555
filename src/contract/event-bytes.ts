import { AvroFault, cursorOf, readBlocks, readCount, readString, requireEnd } from './avro-bytes.ts';
import type { AvroCursor } from './avro-bytes.ts';

/** Fields of event.v1.avsc, named as there. Times are milliseconds since the epoch. */
export interface AvroEvent {
  message_id: string;
  type: string;
  event: string | null;
  user_id: string | null;
  anonymous_id: string | null;
  previous_id: string | null;
  group_id: string | null;
  email: string | null;
  name: string | null;
  category: string | null;
  timestamp: number;
  sent_at: number | null;
  received_at: number | null;
  properties: string | null;
  traits: string | null;
  context: string | null;
  integrations: string | null;
  write_key_id: string | null;
  violations: string[];
  raw: string | null;
}

/**
 * A value that event.v1.avsc has written, its fields in the order of that file: walked with the distrust of avro-bytes.ts and read in one
 * go, which takes a fifth of the time of a walk and avsc. Null where anything is unusual; the walk and avsc then say what.
 */
export function readEventBytes(payload: Buffer): AvroEvent | null {
  const cursor = cursorOf(payload);
  try {
    // An object literal's members are read from first to last.
    const event: AvroEvent = {
      message_id: readString(cursor),
      type: readString(cursor),
      event: readOptional(cursor, readString),
      user_id: readOptional(cursor, readString),
      anonymous_id: readOptional(cursor, readString),
      previous_id: readOptional(cursor, readString),
      group_id: readOptional(cursor, readString),
      email: readOptional(cursor, readString),
      name: readOptional(cursor, readString),
      category: readOptional(cursor, readString),
      timestamp: readTime(cursor),
      sent_at: readOptional(cursor, readTime),
      received_at: readOptional(cursor, readTime),
      properties: readOptional(cursor, readString),
      traits: readOptional(cursor, readString),
      context: readOptional(cursor, readString),
      integrations: readOptional(cursor, readString),
      write_key_id: readOptional(cursor, readString),
      violations: readStrings(cursor),
      raw: readOptional(cursor, readString),
    };
    requireEnd(cursor);
    return event;
  } catch (error) {
    if (error instanceof AvroFault) return null;
    throw error;
  }
}

/** A union of null and something else. */
function readOptional<T>(cursor: AvroCursor, read: (cursor: AvroCursor) => T): T | null {
  const branch = readCount(cursor);
  if (branch === 0) return null;
  if (branch !== 1) throw new AvroFault(`a union of 2 types has no number ${branch}`);
  return read(cursor);
}

/** Seven bytes are exact as a number, and reach the year 10889. */
function readTime(cursor: AvroCursor): number {
  const start = cursor.at;
  const time = readCount(cursor);
  if (cursor.at - start > 7) throw new AvroFault('a time is far away');
  return time;
}

function readStrings(cursor: AvroCursor): string[] {
  const strings: string[] = [];
  readBlocks(cursor, () => strings.push(readString(cursor)));
  return strings;
}
