import { isUtf8 } from 'node:buffer';
import type { ErrorCode } from '../errors.ts';
import type { CanonicalEvent } from '../event/canonical.ts';
import { originTimestampHeader, redrivenFromHeader } from '../event/dead-letter.ts';
import { eventId, maxMessageIdLength, recordMessageId } from '../event/identity.ts';
import type { Place } from '../event/row.ts';
import { readSegmentEvent } from '../event/segment.ts';
import { framedSchemaId } from './event-avro.ts';
import type { AvroPart, EventAvro } from './event-avro.ts';
import type { Registry, WriterSchema } from './registry.ts';

/** A record of the events topic, as far as reading it needs. */
export interface TopicRecord extends Place {
  value: Buffer | null;
  /** Milliseconds; Kafka's -1 means none. */
  timestampMs: number;
  /** A header's text, or null. */
  header: (name: string) => string | null;
}

export type ReadRecord =
  | { ok: true; event: CanonicalEvent; eventId: string; source: 'http' | 'kafka' }
  | { ok: false; code: ErrorCode; detail: string; tenant: string; messageId: string | null };

export interface RecordReader {
  /**
   * What each record holds, in order: an event, or the reason why it is a dead letter. A record never throws;
   * throws `registry_unavailable` where a schema is needed and can't be had now.
   */
  read(records: readonly TopicRecord[]): Promise<ReadRecord[]>;
}

/**
 * Reads what may stand on the events topic: framed Avro (the door's, or a direct producer's in a compatible schema),
 * or plain JSON of Segment's shape. `defaultTenant` is for records without a `tenant` header; null makes those dead letters.
 */
export function createRecordReader(avro: EventAvro, registry: Registry, defaultTenant: string | null): RecordReader {
  const readAvro = (record: TopicRecord, value: Buffer, tenant: string, schema: WriterSchema): ReadRecord => {
    const dead = (code: ErrorCode, detail: string): ReadRecord => ({ ok: false, code, detail, tenant, messageId: record.header('message-id') });
    if (!schema.ok) return dead(schema.code, schema.detail);
    const decoded = avro.decode(value, schema.avroText);
    if (!decoded.ok) return dead('schema_mismatch', decoded.detail);
    if (decoded.part.messageId.length > maxMessageIdLength) return dead('schema_mismatch', `message_id is longer than ${maxMessageIdLength} characters`);
    return found(record, tenant, decoded.part, value);
  };

  const found = (record: TopicRecord, tenant: string, part: AvroPart, value: Buffer): ReadRecord => {
    const dialect = record.header('dialect');
    const messageId = part.messageId === '' ? messageIdOf(record, value) : part.messageId;
    return {
      ok: true,
      eventId: eventId(tenant, messageId),
      source: dialect === null ? 'kafka' : 'http',
      event: { ...part, tenant, messageId, dialect: dialect ?? 'avro', receivedAtMs: part.receivedAtMs ?? arrival(record) },
    };
  };

  const readJson = (record: TopicRecord, value: Buffer, tenant: string): ReadRecord => {
    const dead = (code: ErrorCode, detail: string, messageId: string | null = null): ReadRecord => ({ ok: false, code, detail, tenant, messageId });
    if (!isUtf8(value)) return dead('unreadable', 'the value begins like JSON and is not UTF-8');
    const text = value.toString('utf8').replace(/[ \t\r\n]+$/, '');
    let parsed: unknown;
    try {
      parsed = JSON.parse(text);
    } catch (error) {
      return dead('unreadable', error instanceof Error ? error.message : String(error));
    }
    const result = readSegmentEvent(parsed, text, {
      tenant,
      dialect: 'json',
      writeKeyId: null,
      receivedAtMs: arrival(record),
      newMessageId: () => messageIdOf(record, value),
      userOptional: true,
    });
    if (!result.ok) return dead(result.code, `${result.message} (${result.pointer === '' ? 'the event' : result.pointer})`, result.messageId);
    return { ok: true, event: result.event, eventId: eventId(tenant, result.event.messageId), source: 'kafka' };
  };

  return {
    async read(records) {
      const schemas = new Map<number, WriterSchema>();
      for (const { value } of records) {
        const id = value === null ? null : framedSchemaId(value);
        if (id !== null && !schemas.has(id)) schemas.set(id, await registry.writerSchema(id));
      }
      return records.map((record): ReadRecord => {
        const { value } = record;
        const header = record.header('tenant');
        const tenant = header === null || header === '' ? defaultTenant : header;
        if (tenant === null) return { ok: false, code: 'tenant_missing', detail: 'no tenant header, and no default tenant', tenant: '', messageId: record.header('message-id') };
        if (value === null) return { ok: false, code: 'tombstone', detail: 'the record has no value', tenant, messageId: record.header('message-id') };
        const schema = schemas.get(framedSchemaId(value) ?? -1);
        if (schema !== undefined) return readAvro(record, value, tenant, schema);
        if (value[0] === 0x7b) return readJson(record, value, tenant);
        return { ok: false, code: 'unreadable', detail: 'the value is neither framed by a schema id nor a JSON object', tenant, messageId: record.header('message-id') };
      });
    },
  };
}

/** The message id of a record whose value has none: its header's, else one by where it stands and what it holds. */
function messageIdOf(record: TopicRecord, value: Buffer): string {
  const header = record.header('message-id') ?? '';
  return header !== '' && header.length <= maxMessageIdLength ? header : recordMessageId(record, record.timestampMs, value);
}

/** When the record came first: a redriven one says so in a header. */
function arrival(record: TopicRecord): number {
  if (record.header(redrivenFromHeader) !== null) {
    const first = record.header(originTimestampHeader) ?? '';
    if (/^\d{1,15}$/.test(first)) return Number(first);
  }
  return record.timestampMs >= 0 ? record.timestampMs : Date.now();
}
