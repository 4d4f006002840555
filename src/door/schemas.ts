import { catalogue } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';
import { violationKinds } from '../event/canonical.ts';
import { maxIdLength } from '../event/fields.ts';
import { timePattern } from '../event/time.ts';

/*
 * JSON Schemas (2020-12) that dialects are described with. The makers of members take the same options as their readers
 * in event/fields.ts, so that a dialect says both in the same words.
 */

export type JsonSchema = Readonly<Record<string, unknown>>;

export interface MemberOptions {
  required?: boolean;
  numbers?: boolean;
  emptyIsAbsent?: boolean;
}

const orNull = (type: string, required: boolean | undefined): string | string[] => (required === true ? type : [type, 'null']);

/** As `Fields.id` reads it. */
export function idSchema(description: string, { required, numbers, emptyIsAbsent }: MemberOptions = {}): JsonSchema {
  const types = ['string', ...(numbers === true ? ['number'] : []), ...(required === true ? [] : ['null'])];
  return { type: types.length === 1 ? 'string' : types, ...(emptyIsAbsent !== true && { minLength: 1 }), maxLength: maxIdLength, description };
}

/** As `Fields.string` reads it. */
export function stringSchema(description: string, { required, pattern }: { required?: boolean; pattern?: string } = {}): JsonSchema {
  return { type: orNull('string', required), ...(pattern !== undefined && { pattern }), description };
}

/** As `Fields.object` reads it: what is in it is free, beside what `more` says. */
export function objectSchema(description: string, { required }: { required?: boolean } = {}, more: JsonSchema = {}): JsonSchema {
  return { type: orNull('object', required), description, additionalProperties: true, ...more };
}

/** As `parseTime` reads it. */
export function timeSchema(description: string, options: { required?: boolean } = {}): JsonSchema {
  return { ...stringSchema(description, { ...options, pattern: timePattern }), examples: ['2025-03-15T14:30:00Z'] };
}

/** At least one of these ids is there, and not empty. */
export function oneOfIds(names: readonly string[], types: readonly string[]): JsonSchema {
  return { anyOf: names.map(name => ({ required: [name], properties: { [name]: { type: types.length === 1 ? types[0] : types, minLength: 1 } } })) };
}

export function ref(name: string): JsonSchema {
  return { $ref: `#/components/schemas/${name}` };
}

const count = (description: string): JsonSchema => ({ type: 'integer', minimum: 0, description });

/** What the answers to batches share; a dialect picks those that it has. */
export const summaryMembers = {
  received: count('events in the batch'),
  accepted: count('of them durable'),
  rejected: count('of them refused, or not taken by Kafka'),
  errors: { type: 'array', items: ref('EventError'), description: 'one line each for those that were not accepted' },
} as const satisfies Record<string, JsonSchema>;

/** An answer: all of its members are named, and those that are not listed as optional are always there. */
export function answerSchema(description: string, properties: Readonly<Record<string, JsonSchema>>, optional: readonly string[] = []): JsonSchema {
  return { type: 'object', description, required: Object.keys(properties).filter(name => !optional.includes(name)), properties };
}

/** Codes that an answer may have. */
export const answeredCodes = (Object.keys(catalogue) as ErrorCode[]).filter(code => catalogue[code].status !== null);

const pointer = { type: 'string', description: 'JSON pointer (RFC 6901) into the event' };

/** What more than one dialect, or every path, answers with. */
export const sharedSchemas: Readonly<Record<string, JsonSchema>> = {
  ErrorCode: { type: 'string', enum: answeredCodes, description: 'what is wrong; the list is closed' },
  ErrorBody: answerSchema('Why a request was refused. `code` and `message` stand at the top too, where some SDKs read them.', {
    error: answerSchema('', {
      code: ref('ErrorCode'),
      message: { type: 'string', description: 'what to mend, for people' },
      request_id: { type: 'string', description: 'as in X-Request-Id' },
      details: { anyOf: [{ type: 'array', items: { type: 'object', required: ['pointer'], properties: { pointer } } }, { type: 'array', items: ref('Violation') }, ref('Receipt')], description: 'where it is wrong; where a contract is broken, each violation; of a receipt that cannot be had whole, what this door knows itself' },
    }, ['details']),
    code: ref('ErrorCode'),
    message: { type: 'string' },
    success: { const: false },
  }),
  EventError: answerSchema('What is wrong with one event of a batch.', {
    index: count('its place in the batch'),
    code: ref('ErrorCode'),
    message: { type: 'string', description: 'what to mend, for people' },
    pointer,
    message_id: { type: 'string', description: 'the event’s own id' },
    violations: { type: 'array', items: ref('Violation'), description: 'where it breaks its contract' },
  }, ['pointer', 'message_id', 'violations']),
  Violation: answerSchema('Where an event breaks its contract.', {
    kind: { enum: violationKinds, description: 'what is wrong there' },
    pointer: { type: 'string', description: 'JSON pointer (RFC 6901) into the event as it is stored: `/properties/total`' },
    message: { type: 'string', description: 'what to mend, for people' },
  }),
  EventTaken: answerSchema('The event is durable.', {
    status: { const: 'ok' },
    event_id: { type: 'string', pattern: '^evt_[0-9a-f]{32}$', description: 'a function of tenant and message id' },
    deduplicated: { const: true, description: 'it was known already, with the same content' },
    received_at: { type: 'string', format: 'date-time' },
  }, ['deduplicated']),
  BatchSummary: answerSchema('What became of a batch.', summaryMembers),
};
