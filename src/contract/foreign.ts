import { isUtf8 } from 'node:buffer';
import type { ErrorCode } from '../errors.ts';
import { eventId, recordMessageId } from '../event/identity.ts';
import { findFault, isDeeperThan, maxDepth, smells } from '../event/json-text.ts';
import { faultMessages, maxEventBytes } from '../event/fields.ts';
import { avroToJson } from './avro-json.ts';
import { parseAvroSchema } from './avro-schema.ts';
import type { ParsedAvroSchema } from './avro-schema.ts';
import { frameBytes, framedSchemaId } from './event-avro.ts';
import { createJsonSchemas } from './json-schema.ts';
import { mapEvent } from './map-event.ts';
import type { TopicMapping } from './mapping.ts';
import { arrival, parseJson, readSegmentRecord, schemasOf } from './read-record.ts';
import type { ReadRecord, RecordReader, TopicRecord } from './read-record.ts';
import type { Registry, WriterSchema } from './registry.ts';

type Converted = { ok: true; text: string; value: unknown; notNumbers: string[] } | { ok: false; code: ErrorCode; detail: string };
type AvroText = Extract<WriterSchema, { kind: 'avro' }>;

/**
 * Reads a topic that somebody else writes: each value becomes JSON text by the schema that wrote it, and that an event by
 * the topic's mapping. Like the reader of the events topic it never throws for a record, only `registry_unavailable`.
 */
export function createForeignReader(mapping: TopicMapping, registry: Registry): RecordReader {
  const { tenant, format, shape } = mapping;
  const jsonSchemas = createJsonSchemas();
  const parsedSchemas = new WeakMap<AvroText, ParsedAvroSchema>();
  const readsKey = Object.values(mapping.fields ?? {}).some(where => where === 'key' || where.startsWith('key.'));

  const fromAvro = (schema: AvroText, bytes: Buffer): Converted => {
    let parsed = parsedSchemas.get(schema);
    if (parsed === undefined) {
      parsed = parseAvroSchema(schema.text);
      parsedSchemas.set(schema, parsed);
    }
    if (!parsed.ok) return { ok: false, code: 'schema_mismatch', detail: parsed.detail };
    const json = avroToJson(parsed.node, bytes, maxEventBytes);
    // Most texts need no second look, so that they need no value either.
    return json.ok ? { ...json, value: smells(json.text) ? JSON.parse(json.text) : null } : json;
  };

  const fromFramed = (framed: Buffer, schema: WriterSchema): Converted => {
    if (!schema.ok) return schema;
    const bytes = framed.subarray(frameBytes);
    if (schema.kind === 'avro') return fromAvro(schema, bytes);
    const json = parseJson(bytes);
    if (!json.ok) return json;
    const fault = jsonSchemas.faultOf(schema, json.value);
    return fault === null ? { ...json, notNumbers: [] } : { ok: false, code: 'schema_mismatch', detail: fault };
  };

  const convert = (value: Buffer, schemas: ReadonlyMap<number, WriterSchema>): Converted => {
    if (format === 'json') {
      const json = parseJson(value);
      return json.ok ? { ...json, notNumbers: [] } : json;
    }
    const schema = schemas.get(framedSchemaId(value) ?? -1);
    if (schema === undefined) return { ok: false, code: 'unreadable', detail: `the value is not framed by a schema id, as format ${format} is` };
    if (schema.ok && schema.kind !== (format === 'avro' ? 'avro' : 'json')) return { ok: false, code: 'schema_mismatch', detail: `its schema is of type ${schema.kind.toUpperCase()}, and the topic's format is ${format}` };
    return fromFramed(value, schema);
  };

  /** The key as JSON text: by its schema where it is framed, else as a string. */
  const keyTextOf = (key: Buffer | null, schemas: ReadonlyMap<number, WriterSchema>): { ok: true; text: string | null } | { ok: false; code: ErrorCode; detail: string } => {
    if (key === null || !readsKey) return { ok: true, text: null };
    const schema = format === 'json' ? undefined : schemas.get(framedSchemaId(key) ?? -1);
    if (schema !== undefined) {
      const converted = fromFramed(key, schema);
      return converted.ok ? converted : { ...converted, detail: `the key: ${converted.detail}` };
    }
    return isUtf8(key) ? { ok: true, text: JSON.stringify(key.toString('utf8')) } : { ok: false, code: 'field_invalid', detail: 'it is not UTF-8 text (key)' };
  };

  const read = (record: TopicRecord, schemas: ReadonlyMap<number, WriterSchema>): ReadRecord => {
    const { value } = record;
    const dead = (code: ErrorCode, detail: string, messageId = record.header('message-id')): ReadRecord => ({ ok: false, code, detail, tenant, messageId });
    if (value === null) return dead('tombstone', 'the record has no value');
    const converted = convert(value, schemas);
    if (!converted.ok) return dead(converted.code, converted.detail);
    const { text, notNumbers } = converted;
    if (shape === 'segment') return readSegmentRecord(record, converted, tenant, format);

    if (!text.startsWith('{')) return dead('not_an_object', 'the value is no object or record');
    if (Buffer.byteLength(text) > maxEventBytes) return dead('event_too_large', `as JSON an event is at most ${maxEventBytes} bytes`);
    if (isDeeperThan(text, maxDepth)) return dead('too_deep', faultMessages.too_deep);
    const fault = smells(text) ? findFault(converted.value) : null;
    if (fault !== null) return dead(fault.code, `${faultMessages[fault.code]} (${fault.pointer})`);
    const key = keyTextOf(record.key, schemas);
    if (!key.ok) return dead(key.code, key.detail);

    const mapped = mapEvent(mapping, {
      text,
      keyText: key.text,
      header: record.header,
      arrivalMs: arrival(record),
      dialect: format,
      newMessageId: () => recordMessageId(record, record.timestampMs, value),
    });
    if (!mapped.ok) return dead(mapped.code, mapped.detail, mapped.messageId ?? record.header('message-id'));
    const event = { ...mapped.event, violations: notNumbers.map(pointer => `not_a_number:${pointer}`) };
    return { ok: true, event, eventId: eventId(tenant, event.messageId), source: 'kafka', key: null };
  };

  return {
    async read(records) {
      const framed = format === 'json' ? [] : records.flatMap(({ key, value }) => (readsKey ? [value, key] : [value]));
      const schemas = await schemasOf(registry, framed);
      return records.map(record => read(record, schemas));
    },
  };
}
