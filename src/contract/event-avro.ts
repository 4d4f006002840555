import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import avro from 'avsc';
import type { Type } from 'avsc';
import { eventTypes } from '../event/canonical.ts';
import type { CanonicalEvent, EventType } from '../event/canonical.ts';
import { plainTexts } from '../event/content.ts';
import type { PlainTexts } from '../event/content.ts';
import { maxIdLength } from '../event/fields.ts';
import { faultOfAvro } from './avro-bytes.ts';
import { parseAvroSchema } from './avro-schema.ts';
import { readEventBytes } from './event-bytes.ts';
import type { AvroEvent } from './event-bytes.ts';

/*
 * Confluent wire format, as schema registries' clients write it:
 *
 *   byte 0      magic, 0
 *   bytes 1–4   schema id, unsigned, big-endian
 *   bytes 5–    the Avro binary encoding of one record
 */
const magic = 0;
export const frameBytes = 5;

/** What a record's value says about an event: `tenant` and `dialect` are empty, and `receivedAtMs` is null from producers who leave it to the record's timestamp. */
export type AvroPart = Omit<CanonicalEvent, 'receivedAtMs'> & { receivedAtMs: number | null };

export type Decoded = { ok: true; part: AvroPart; plain: PlainTexts } | { ok: false; detail: string };

export interface EventAvro {
  /** The schema's JSON text, to be registered. */
  schemaText: string;
  /** An event as a framed Avro value. */
  encode(event: CanonicalEvent, schemaId: number): Buffer;
  /** The same in memory that the next call uses again. */
  encodeShared(event: CanonicalEvent, schemaId: number): Buffer;
  /** A framed value, read by the schema that wrote it (its JSON text). A value that does not fit is no fault but a result. */
  decode(value: Buffer, writerSchemaText: string): Decoded;
}

/** The schema id of a framed value, or null where the value is not framed. */
export function framedSchemaId(value: Buffer): number | null {
  return value.length > frameBytes && value[0] === magic ? value.readUInt32BE(1) : null;
}

/** `schemaPath` is the .avsc file that millrace writes with and reads into. */
export function createEventAvro(schemaPath: string): EventAvro {
  const schemaText = readFileSync(schemaPath, 'utf8');
  const reader = avro.Type.forSchema(JSON.parse(schemaText) as avro.Schema);
  const decoders = new Map<string, Decoder>();
  let pool = Buffer.allocUnsafe(65_536);

  const decoderFor = (writerSchemaText: string): Decoder => {
    const known = decoders.get(writerSchemaText);
    if (known !== undefined) return known;
    const decoder = makeDecoder(reader, schemaText, writerSchemaText);
    if (decoders.size >= maxDecoders) decoders.delete(decoders.keys().next().value ?? '');
    decoders.set(writerSchemaText, decoder);
    return decoder;
  };

  function encodeShared(event: CanonicalEvent, schemaId: number): Buffer {
    const record: AvroEvent = {
      message_id: event.messageId,
      type: event.type,
      event: event.event,
      user_id: event.userId,
      anonymous_id: event.anonymousId,
      previous_id: event.previousId,
      group_id: event.groupId,
      email: event.email,
      name: event.name,
      category: event.category,
      timestamp: event.timestampMs,
      sent_at: event.sentAtMs,
      received_at: event.receivedAtMs,
      properties: event.properties,
      traits: event.traits,
      context: event.context,
      integrations: event.integrations,
      write_key_id: event.writeKeyId,
      violations: event.violations,
      raw: event.raw,
    };
    let end = reader.encode(record, pool, frameBytes);
    if (end < 0) {
      // avsc answers how many bytes were lacking, as a negative number.
      pool = Buffer.allocUnsafe(2 * (pool.length - end));
      end = reader.encode(record, pool, frameBytes);
    }
    pool[0] = magic;
    pool.writeUInt32BE(schemaId, 1);
    return pool.subarray(0, end);
  }

  return {
    schemaText,
    encode: (event, schemaId) => Buffer.from(encodeShared(event, schemaId)),
    encodeShared,
    decode(value, writerSchemaText) {
      const decoded = decoderFor(writerSchemaText)(value.subarray(frameBytes));
      if (typeof decoded === 'string') return { ok: false, detail: decoded };
      const record = decoded;
      if (!knownTypes.has(record.type)) return { ok: false, detail: `type is "${record.type}", none of ${eventTypes.join(', ')}` };
      const plain = plainTexts(record);
      for (const name of objectNames) {
        const text = record[name];
        if (text !== null && plain[name] === null && !isObjectText(text)) return { ok: false, detail: `${name} is not the JSON text of an object` };
      }
      for (const name of idNames) {
        if ((record[name]?.length ?? 0) > maxIdLength) return { ok: false, detail: `${name} is longer than ${maxIdLength} characters` };
      }
      return {
        ok: true,
        plain,
        part: {
          tenant: '',
          dialect: '',
          messageId: record.message_id,
          type: record.type as EventType,
          event: record.event,
          userId: record.user_id,
          anonymousId: record.anonymous_id,
          previousId: record.previous_id,
          groupId: record.group_id,
          email: record.email,
          name: record.name,
          category: record.category,
          timestampMs: record.timestamp,
          sentAtMs: record.sent_at,
          receivedAtMs: record.received_at,
          properties: record.properties,
          traits: record.traits,
          context: record.context,
          integrations: record.integrations,
          writeKeyId: record.write_key_id,
          violations: record.violations,
          raw: record.raw,
        },
      };
    },
  };
}

const objectNames = ['properties', 'traits', 'context', 'integrations'] as const;
const idNames = ['user_id', 'anonymous_id', 'previous_id', 'group_id', 'email'] as const;
const knownTypes: ReadonlySet<string> = new Set(eventTypes);

/** A value's record, or what is wrong with it. */
type Decoder = (payload: Buffer) => AvroEvent | string;

/** Schemas whose decoders are kept; each takes some 100 kB. */
const maxDecoders = 200;

/** avsc resolves between the schemas; no byte reaches it that has not been walked by the writer's schema before. */
function makeDecoder(reader: Type, schemaText: string, writerSchemaText: string): Decoder {
  const parsed = parseAvroSchema(writerSchemaText);
  if (!parsed.ok) return () => parsed.detail;
  let resolver: ReturnType<Type['createResolver']>;
  try {
    resolver = reader.createResolver(avro.Type.forSchema(JSON.parse(writerSchemaText) as avro.Schema));
  } catch (error) {
    const detail = messageOf(error);
    return () => detail;
  }
  const isOwn = isDeepStrictEqual(parsed, parseAvroSchema(schemaText));
  return payload => {
    const event = isOwn ? readEventBytes(payload) : null;
    if (event !== null) return event;
    const fault = faultOfAvro(parsed.node, payload);
    if (fault !== null) return fault;
    try {
      return reader.fromBuffer(payload, resolver) as AvroEvent;
    } catch (error) {
      return messageOf(error);
    }
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function isObjectText(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
