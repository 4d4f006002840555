import { join } from 'node:path';
import { createEventAvro } from '../../src/contract/event-avro.ts';
import { createRecordReader } from '../../src/contract/read-record.ts';
import { userKey } from '../../src/event/canonical.ts';
import { elementSpans } from '../../src/event/json-text.ts';
import { contentHash } from '../../src/event/content.ts';
import { eventColumns, eventRow } from '../../src/event/row.ts';
import { readSegmentEvent } from '../../src/event/segment.ts';
import { packageRoot } from '../helpers/local.ts';

const jsonColumns = new Set(['properties', 'traits', 'context', 'integrations']);
const avro = createEventAvro(join(packageRoot, 'schemas', 'events', 'event.v1.avsc'));

export interface VectorResult {
  key: string;
  avroHex: string;
  /** By column; of JSON columns the text that goes in. */
  row: Record<string, unknown>;
}

/** A body's way from the dialect to the row, without the parts that carry it. */
export async function runVector(body: string): Promise<VectorResult> {
  const read = readSegmentEvent(JSON.parse(body), body, {
    tenant: 'acme', dialect: 'segment', writeKeyId: 'web', receivedAtMs: Date.parse('2025-03-15T14:30:00Z'), newMessageId: () => 'generated', ip: '203.0.113.7', userAgent: 'curl/8',
  });
  if (!read.ok) throw new Error(`refused: ${JSON.stringify(read)}`);
  const key = userKey(read.event);
  const value = avro.encode(read.event, 1);
  const headers: Record<string, string> = { tenant: 'acme', dialect: 'segment', 'message-id': read.event.messageId };
  const reader = createRecordReader(avro, { register: () => Promise.reject(new Error('not asked')), writerSchema: async () => ({ ok: true, kind: 'avro', text: avro.schemaText }), ping: () => Promise.resolve() }, null);
  const [found] = await reader.read([{ topic: 'events', partition: 3, offset: 7n, key: Buffer.from(key), value, timestampMs: 0, header: name => headers[name] ?? null }]);
  if (found?.ok !== true) throw new Error(`unreadable: ${JSON.stringify(found)}`);
  const line = eventRow(found.event, { topic: 'events', partition: 3, offset: 7n, eventId: found.eventId, source: found.source, key: found.key, contentHash: contentHash(found.event) });
  const cells = elementSpans(line, 0).map(([start, end]) => line.slice(start, end));
  const cell = (column: string, text = ''): unknown => (jsonColumns.has(column) || column === 'content_hash' ? text : JSON.parse(text));
  return { key, avroHex: value.toString('hex'), row: Object.fromEntries(eventColumns.map((column, index) => [column, cell(column, cells[index])])) };
}
