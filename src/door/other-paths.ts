import type { ErrorCode } from '../errors.ts';
import { answerSchema, ref } from './schemas.ts';
import type { JsonSchema } from './schemas.ts';

/*
 * The paths that are no dialect's, for the document: browsers.ts, receipts.ts, server.ts and documents.ts answer them.
 * test/door/openapi.test.ts holds the list equal to the routes.
 */

export interface OtherPath {
  /** As OpenAPI writes it. */
  path: string;
  summary: string;
  parameters?: readonly { name: string; description: string; example: string }[];
  /** Whether a write key is asked for. */
  keyed: boolean;
  answers: readonly { status: number; type: string; description: string; schema: JsonSchema; example?: unknown }[];
  /** Besides those of every path. */
  codes: readonly ErrorCode[];
}

const place: Readonly<Record<string, JsonSchema>> = { topic: { type: 'string' }, partition: { type: 'integer', minimum: 0 }, offset: { type: 'string', pattern: '^\\d+$', description: 'decimal digits' } };
const fate: Readonly<Record<string, JsonSchema>> = {
  status: { enum: ['accepted', 'stored', 'duplicate', 'conflict', 'dropped', 'suppressed', 'dead_lettered'], description: 'accepted: durable on the topic, the sink has not come to it' },
  ...place,
  received_at: { type: 'string', format: 'date-time' },
  stored_at: { type: 'string', format: 'date-time', description: 'of `stored`' },
  duplicate_of: { ...answerSchema('of `duplicate` and `conflict`: the record that was stored before', place), type: ['object', 'null'] },
  reason: { type: 'string', description: 'of `dropped` and `suppressed`' },
  code: { type: 'string', description: 'of `dead_lettered`' },
  detail: { type: 'string', description: 'of `dead_lettered`' },
  dead_letter_id: { type: 'string', description: 'of `dead_lettered`' },
  dead_letter_status: { type: 'string', description: 'of `dead_lettered`' },
};
const notAlways = Object.keys(fate).filter(name => name !== 'status' && name !== 'received_at');

export const otherSchemas: Readonly<Record<string, JsonSchema>> = {
  Receipt: answerSchema('What became of an event.', {
    event_id: { type: 'string', pattern: '^evt_[0-9a-f]{32}$' },
    ...fate,
    copies: { type: 'array', items: ref('Copy'), description: 'of `stored`: other records of the id' },
  }, [...notAlways, 'copies']),
  Copy: answerSchema('What became of another record of an event.', fate, notAlways),
  Alive: answerSchema('The process runs.', { status: { const: 'ok' } }),
  Readiness: answerSchema('Whether events can be taken.', {
    status: { enum: ['ok', 'not ready', 'closing'] },
    parts: { type: 'object', additionalProperties: { type: 'string' }, description: 'each part in words' },
  }),
  Settings: { type: 'object', description: 'What the browser SDK starts with: events go to the host that was asked.', required: ['integrations'], properties: { integrations: { type: 'object', additionalProperties: true } }, additionalProperties: true },
};

const json = 'application/json';
const ready = { status: 'ok', parts: { kafka: 'ok', schema: 'id 1' } };
const receipt = { event_id: 'evt_9d3c0f7e6b5a4c3d2e1f0a9b8c7d6e5f', status: 'stored', topic: 'millrace.events', partition: 2, offset: '1815', received_at: '2025-03-15T14:30:00.000Z', stored_at: '2025-03-15T14:30:00.950Z' };

export const otherPaths: readonly OtherPath[] = [
  {
    path: '/v1/events/{event_id}', keyed: true, codes: ['not_found', 'unavailable'],
    summary: 'The receipt of an event, of whatever dialect, of the key’s tenant',
    parameters: [{ name: 'event_id', description: '`evt_` and 32 hex digits, or a UUID', example: receipt.event_id }],
    answers: [{ status: 200, type: json, description: 'What became of it', schema: ref('Receipt'), example: receipt }],
  },
  {
    path: '/v1/projects/{writeKey}/settings', keyed: false, codes: ['not_found'],
    summary: 'What the browser SDK starts with',
    parameters: [{ name: 'writeKey', description: 'the write key', example: 'dev' }],
    answers: [{ status: 200, type: json, description: 'Its settings', schema: ref('Settings') }],
  },
  { path: '/livez', keyed: false, codes: [], summary: 'Whether the process runs', answers: [{ status: 200, type: json, description: 'It does', schema: ref('Alive'), example: { status: 'ok' } }] },
  {
    path: '/readyz', keyed: false, codes: [],
    summary: 'Whether events can be taken',
    answers: [
      { status: 200, type: json, description: 'They can', schema: ref('Readiness'), example: ready },
      { status: 503, type: json, description: 'They cannot: Kafka does not answer, or the process is closing', schema: ref('Readiness'), example: { ...ready, status: 'not ready', parts: { ...ready.parts, kafka: 'not answering' } } },
    ],
  },
  { path: '/metrics', keyed: false, codes: ['unavailable'], summary: 'Prometheus’ text', answers: [{ status: 200, type: 'text/plain', description: 'The metrics', schema: { type: 'string' } }] },
  { path: '/openapi.json', keyed: false, codes: [], summary: 'This document', answers: [{ status: 200, type: json, description: 'OpenAPI 3.1', schema: { type: 'object', additionalProperties: true } }] },
  { path: '/docs', keyed: false, codes: [], summary: 'This document, for people', answers: [{ status: 200, type: 'text/html', description: 'A page', schema: { type: 'string' } }] },
];
