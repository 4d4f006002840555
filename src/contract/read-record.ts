import { isUtf8 } from 'node:buffer';
import type { ErrorCode } from '../errors.ts';
import type { CanonicalEvent, EventResult } from '../event/canonical.ts';
import type { PlainTexts } from '../event/content.ts';
import { originTimestampHeader, redrivenFromHeader, sentPathHeader } from '../event/dead-letter.ts';
import { eventId, maxMessageIdLength, recordMessageId } from '../event/identity.ts';
import { isDeeperThan, maxDepth } from '../event/json-text.ts';
import type { Place } from '../event/row.ts';
import { faultMessages } from '../event/fields.ts';
import { readSegmentEvent } from '../event/segment.ts';
import { trimJson } from '../event/trim.ts';
import { framedSchemaId, frameBytes } from './event-avro.ts';
import type { AvroPart, EventAvro } from './event-avro.ts';
import { createJsonSchemas } from './json-schema.ts';
import type { Registry, WriterSchema } from './registry.ts';

/** A record of the events topic, as far as reading it needs. */
export interface TopicRecord extends Place {
  key: Buffer | null;
  value: Buffer | null;
  /** Milliseconds; Kafka's -1 means none. */
  timestampMs: number;
  /** A header's text, or null. */
  header: (name: string) => string | null;
}

export type ReadRecord =
  | { ok: true; event: CanonicalEvent; eventId: string; source: 'http' | 'kafka'; /** By the door, when it took the event. */ isJudged?: boolean; /** The Kafka key where that is the user's; null: the event says it. */ key: Buffer | null; /** Where whoever read it has scanned its texts. */ plain?: PlainTexts }
  | { ok: false; code: ErrorCode; detail: string; tenant: string; messageId: string | null };

/** Reads the text of an event that was sent to a path of the door; null where there is no such path. */
export type ReadSent = (dialect: string, path: string) => ((value: unknown, text: string, source: SentSource) => EventResult) | null;

export interface SentSource {
  tenant: string;
  writeKeyId: string;
  receivedAtMs: number;
  newMessageId: () => string;
  ip: undefined;
  userAgent: undefined;
}

export interface RecordReader {
  /**
   * What each record holds, in order: an event, or the reason why it is a dead letter. A record never throws;
   * throws `registry_unavailable` where a schema is needed and can't be had now.
   */
  read(records: readonly TopicRecord[]): Promise<ReadRecord[]>;
}

/**
 * Reads what may stand on the events topic: framed Avro (the door's, or a direct producer's in a compatible schema),
 * framed JSON Schema, or plain JSON, both of Segment's shape; and what the door had refused, once it is redriven. `defaultTenant` is for records without a `tenant` header; null makes those dead letters.
 */
export function createRecordReader(avro: EventAvro, registry: Registry, defaultTenant: string | null, readSent: ReadSent = () => null): RecordReader {
  const jsonSchemas = createJsonSchemas();

  const readFramed = (record: TopicRecord, value: Buffer, tenant: string, schema: WriterSchema): ReadRecord => {
    const dead = (code: ErrorCode, detail: string): ReadRecord => ({ ok: false, code, detail, tenant, messageId: record.header('message-id') });
    if (!schema.ok) return dead(schema.code, schema.detail);
    if (schema.kind === 'json') return readJson(record, value.subarray(frameBytes), tenant, 'json_schema', parsed => jsonSchemas.faultOf(schema, parsed));
    const decoded = avro.decode(value, schema.text);
    if (!decoded.ok) return dead('schema_mismatch', decoded.detail);
    if (decoded.part.messageId.length > maxMessageIdLength) return dead('schema_mismatch', `message_id is longer than ${maxMessageIdLength} characters`);
    return found(record, tenant, decoded, value);
  };

  const found = (record: TopicRecord, tenant: string, { part, plain }: { part: AvroPart; plain: PlainTexts }, value: Buffer): ReadRecord => {
    const dialect = record.header('dialect');
    if (part.messageId === '') part.messageId = messageIdOf(record, value);
    part.tenant = tenant;
    part.dialect = dialect ?? 'avro';
    const receivedAtMs = part.receivedAtMs ?? arrival(record);
    // Completed in place: a copy of twenty fields costs as much as a hash.
    const event = Object.assign(part, { receivedAtMs });
    return { ok: true, eventId: eventId(tenant, event.messageId), source: dialect === null ? 'kafka' : 'http', isJudged: dialect !== null, key: record.key, event, plain };
  };

  const readJson = (record: TopicRecord, bytes: Buffer, tenant: string, dialect: string, faultOf: (value: unknown) => string | null = () => null): ReadRecord => {
    const dead = (code: ErrorCode, detail: string, messageId: string | null = null): ReadRecord => ({ ok: false, code, detail, tenant, messageId });
    const json = parseJson(bytes);
    if (!json.ok) return dead(json.code, json.detail);
    const fault = faultOf(json.value);
    if (fault !== null) return dead('schema_mismatch', fault, record.header('message-id'));
    const sent = readSent(record.header('dialect') ?? '', (record.header(redrivenFromHeader) === null ? null : record.header(sentPathHeader)) ?? '');
    if (sent !== null) {
      const source = { tenant, writeKeyId: record.header('write-key-id') ?? '', receivedAtMs: arrival(record), newMessageId: () => messageIdOf(record, record.value ?? Buffer.alloc(0)), ip: undefined, userAgent: undefined };
      return readingOf(sent(json.value, json.text, source), tenant, 'http');
    }
    const result = readSegmentRecord(record, json, tenant, dialect);
    return result.ok ? { ...result, key: record.key } : result;
  };

  return {
    async read(records) {
      const schemas = await schemasOf(registry, records.map(({ value }) => value));
      return records.map((record): ReadRecord => {
        const { value } = record;
        const header = record.header('tenant');
        const tenant = header === null || header === '' ? defaultTenant : header;
        if (tenant === null) return { ok: false, code: 'tenant_missing', detail: 'no tenant header, and no default tenant', tenant: '', messageId: record.header('message-id') };
        if (!isTenant(tenant)) return { ok: false, code: 'tenant_invalid', detail: 'a tenant has 1 to 255 characters, and no NUL among them', tenant: '', messageId: record.header('message-id') };
        if (value === null) return { ok: false, code: 'tombstone', detail: 'the record has no value', tenant, messageId: record.header('message-id') };
        const schema = schemas.get(framedSchemaId(value) ?? -1);
        if (schema !== undefined) return readFramed(record, value, tenant, schema);
        if (value[0] === 0x7b) return readJson(record, value, tenant, 'json');
        return { ok: false, code: 'unreadable', detail: 'the value is neither framed by a schema id nor a JSON object', tenant, messageId: record.header('message-id') };
      });
    },
  };
}

/** A tenant stands in front of ids, with a NUL between them. */
function isTenant(text: string): boolean {
  return text.length <= 255 && !text.includes('\0');
}

/** The message id of a record whose value has none: its header's, else one by where it stands and what it holds. */
function messageIdOf(record: TopicRecord, value: Buffer): string {
  const header = record.header('message-id') ?? '';
  return header !== '' && header.length <= maxMessageIdLength ? header : recordMessageId(record, record.timestampMs, value);
}

export type ParsedJson = { ok: true; text: string; value: unknown } | { ok: false; code: 'unreadable' | 'too_deep'; detail: string };

/** A record's JSON text, without the space around it, and its value. */
export function parseJson(bytes: Buffer): ParsedJson {
  if (!isUtf8(bytes)) return { ok: false, code: 'unreadable', detail: 'the value should be JSON and is not UTF-8' };
  const text = trimJson(bytes.toString('utf8'));
  // Asked before anything goes down into it, as a validator does.
  if (isDeeperThan(text, maxDepth)) return { ok: false, code: 'too_deep', detail: faultMessages.too_deep };
  try {
    return { ok: true, text, value: JSON.parse(text) };
  } catch (error) {
    return { ok: false, code: 'unreadable', detail: error instanceof Error ? error.message : String(error) };
  }
}

/** A record of Segment's shape. Without an id of its own, the `message-id` header is it, or where it stands. */
export function readSegmentRecord(record: TopicRecord, { value, text }: { value: unknown; text: string }, tenant: string, dialect: string): ReadRecord {
  const result = readSegmentEvent(value, text, {
    tenant,
    dialect,
    writeKeyId: null,
    receivedAtMs: arrival(record),
    newMessageId: () => messageIdOf(record, record.value ?? Buffer.alloc(0)),
    userOptional: true,
  });
  return readingOf(result, tenant, 'kafka');
}

function readingOf(result: EventResult, tenant: string, source: 'http' | 'kafka'): ReadRecord {
  if (!result.ok) return { ok: false, code: result.code, detail: `${result.message} (${result.pointer === '' ? 'the event' : result.pointer})`, tenant, messageId: result.messageId };
  return { ok: true, event: result.event, eventId: eventId(tenant, result.event.messageId), source, key: null };
}

/** The schemas that framed values name, by id. Throws `registry_unavailable`. */
export async function schemasOf(registry: Registry, values: readonly (Buffer | null)[]): Promise<Map<number, WriterSchema>> {
  const schemas = new Map<number, WriterSchema>();
  for (const value of values) {
    const id = value === null ? null : framedSchemaId(value);
    if (id !== null && !schemas.has(id)) schemas.set(id, await registry.writerSchema(id));
  }
  return schemas;
}

/** When the record came first: a redriven one says so in a header. Milliseconds. */
export function arrival(record: TopicRecord): number {
  if (record.header(redrivenFromHeader) !== null) {
    const first = record.header(originTimestampHeader) ?? '';
    if (/^\d{1,15}$/.test(first)) return Number(first);
  }
  return record.timestampMs >= 0 ? record.timestampMs : Date.now();
}
