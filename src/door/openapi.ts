import type { ErrorCode } from '../errors.ts';
import { eventId } from '../event/identity.ts';
import { offersByPath } from './dialect.ts';
import type { BatchSummary, Dialect, DialectRoute, Offer, TakenEvent } from './dialect.ts';
import { anyKey, headerRefs, headers, parameters, rateHeaders, requestId, securitySchemes } from './openapi-parts.ts';
import type { Answer, OpenApiDocument, Operation } from './openapi-parts.ts';
import { otherPaths, otherSchemas } from './other-paths.ts';
import type { OtherPath } from './other-paths.ts';
import { createRefusals } from './refusals.ts';
import type { Refusals } from './refusals.ts';
import { ref, sharedSchemas } from './schemas.ts';
import type { JsonSchema } from './schemas.ts';

/*
 * The OpenAPI 3.1 document of the door, made of the table that makes the routes: paths, keys, bodies, answers, and every code that
 * each of them may answer. Its examples come from the functions that answer.
 */

/** As in package.json; a test holds them equal. */
export const apiVersion = '0.1.0';

/** Every path may answer these: what is no HTTP, or comes too slowly, and faults of the door. */
const anyCodes: readonly ErrorCode[] = ['bad_request', 'request_timeout', 'headers_too_large', 'internal'];

/** What can be wrong with an event of any dialect. `forbidden`: its type is none of the key's. */
const eventCodes: readonly ErrorCode[] = ['not_an_object', 'field_missing', 'field_invalid', 'time_invalid', 'event_too_large', 'too_deep', 'string_invalid', 'key_forbidden', 'forbidden', 'contract_violation'];

const bodyCodes: readonly ErrorCode[] = ['unauthorized', 'origin_forbidden', 'body_too_large', 'malformed_json', 'too_deep', 'unsupported_encoding', 'rate_limited', 'unavailable'];
const batchCodes: readonly ErrorCode[] = ['not_an_object', 'batch_missing', 'batch_too_large'];
/** Of the members that a batch gives to its events. */
const defaultsCodes: readonly ErrorCode[] = ['field_invalid', 'string_invalid', 'key_forbidden'];

export function describeDoor(dialects: readonly Dialect[]): OpenApiDocument {
  const refusals = createRefusals();
  const paths: OpenApiDocument['paths'] = {};
  for (const [path, offers] of offersByPath(dialects)) paths[path] = { post: takeOperation(path, offers, refusals) };
  for (const other of otherPaths) paths[other.path] = { ...paths[other.path], get: otherOperation(other, refusals) };
  refusals.named('not_found', 'NothingThere');
  refusals.named('method_not_allowed', 'MethodNotAllowed');
  return {
    openapi: '3.1.1',
    info: {
      title: 'millrace', version: apiVersion, summary: 'Event intake over HTTP, in four dialects',
      description: 'A 2xx means that the events are durable; a batch’s answer lists those that are not. Bodies are JSON in UTF-8, 10 MiB at most, and may be compressed (`Content-Encoding`: gzip, deflate, br, zstd on newer Nodes). An event has 256 KiB at most, 64 levels of nesting, and strings of whole characters; lengths of ids count UTF-16 units. Paths may end in a slash. What is not here answers 404, another method 405.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: [...dialects.map(({ name, title }) => ({ name, description: title })), { name: 'door', description: 'For all' }],
    paths,
    components: {
      schemas: { ...Object.assign({}, ...dialects.map(({ schemas }) => schemas)) as Record<string, JsonSchema>, ...batchSchemas(dialects), ...sharedSchemas, ...otherSchemas },
      responses: refusals.responses(), headers, parameters, securitySchemes,
    },
  };
}

/** `POST /v1/events/batch` → `postV1EventsBatch`. */
function operationId(method: string, path: string): string {
  return method + path.split(/[^A-Za-z0-9]+/).filter(part => part !== '').map(part => part.charAt(0).toUpperCase() + part.slice(1)).join('');
}

function takeOperation(path: string, offers: readonly Offer[], refusals: Refusals): Operation {
  const sdk = offers.some(({ route }) => route.sdk === true);
  const codes = [...anyCodes, ...bodyCodes, ...(sdk ? [] : ['unsupported_media_type'] as const), ...offers.flatMap(codesOf)];
  return {
    operationId: operationId('post', path),
    summary: [...new Set(offers.map(({ route: { batch } }) => (batch === null ? 'one event' : `up to ${batch.maxEvents} events`)))].reverse().join(', or '),
    tags: [...new Set(offers.map(({ dialect }) => dialect.name))],
    security: sdk ? [...anyKey, {}] : anyKey,
    parameters: [requestId, { $ref: '#/components/parameters/TraceParent' }],
    requestBody: {
      required: true,
      description: sdk ? 'Any content type is read as JSON. The write key may also stand in it, as `writeKey`.' : 'Its type is JSON: application/json, text/json or any +json.',
      content: { 'application/json': { schema: oneOf(offers), examples: Object.fromEntries(offers.flatMap(examplesOf)) } },
    },
    responses: { ...answersOf(offers), ...refusals.of(codes, { challenges: [...new Set(offers.map(({ dialect }) => dialect.challenge))], rates: true }) },
  };
}

/** Codes of a whole answer; those of events in a batch stand in its `errors`. */
function codesOf({ dialect, route }: Offer): ErrorCode[] {
  if (route.batch !== null) return [...batchCodes, ...(route.batch.withDefaults ? defaultsCodes : [])];
  return [...eventCodes, ...dialect.codes, ...(route.deduplicates === true ? ['idempotency_conflict'] as const : [])];
}

const bodyName = ({ batch, event }: DialectRoute): string => batch?.name ?? event;

/** The schema of a path's bodies: that of the first route which knows the body, as ingest.ts asks them. */
function oneOf(offers: readonly Offer[]): JsonSchema {
  const claimed: string[] = [];
  const schemas = offers.map(({ route }) => {
    const not = claimed.map(name => ({ required: [name] }));
    if (route.whenHas !== undefined) claimed.push(route.whenHas);
    return { ...ref(bodyName(route)), ...(not.length > 0 && { not: not.length === 1 ? not[0] : { anyOf: not } }) };
  });
  return schemas.length === 1 && schemas[0] !== undefined ? schemas[0] : { anyOf: schemas };
}

function eventsOf({ dialect, route }: Offer): unknown[] {
  return (dialect.schemas[route.event] as { examples?: unknown[] }).examples ?? [];
}

function examplesOf(offer: Offer): [string, { value: unknown }][] {
  const { route } = offer;
  const examples = eventsOf(offer);
  if (route.batch !== null) return [[bodyName(route), { value: { [route.batch.member]: examples } }]];
  return examples.map((value, at) => [examples.length === 1 ? bodyName(route) : `${bodyName(route)}${at + 1}`, { value }]);
}

const taken: TakenEvent = { messageId: 'order-1815', eventId: () => eventId('dev', 'order-1815'), receivedAtMs: Date.UTC(2025, 2, 15, 14, 30), deduplicated: false };
const mixed: BatchSummary = { received: 2, accepted: 1, rejected: 1, errors: [{ index: 1, code: 'field_missing', message: 'userId or anonymousId is required', pointer: '/userId', message_id: 'order-1816' }] };

function answersOf(offers: readonly Offer[]): Record<string, Answer> {
  const answers: Record<string, Answer> = {};
  for (const status of new Set(offers.map(({ route }) => route.status))) {
    const routes = offers.map(({ route }) => route).filter(route => route.status === status);
    const schemas = [...new Set(routes.map(({ answer }) => answer))].map(ref);
    const examples = routes.flatMap(({ batch, one, many, deduplicates }): [string, { value: unknown }][] => batch !== null
      ? [['all', { value: many({ received: 2, accepted: 2, rejected: 0, errors: [] }) }], ['part', { value: many(mixed) }]]
      : [['taken', { value: one(taken) }], ...(deduplicates === true ? [['again', { value: one({ ...taken, deduplicated: true }) }] as [string, { value: unknown }]] : [])]);
    answers[status] = {
      description: routes.some(({ batch }) => batch === null) ? 'Durable' : 'The envelope was sound: each event that `errors` does not list is durable',
      headers: headerRefs('X-Request-Id', ...rateHeaders),
      content: { 'application/json': { schema: schemas.length === 1 && schemas[0] !== undefined ? schemas[0] : { anyOf: schemas }, examples: Object.fromEntries(examples) } },
    };
  }
  return answers;
}

function batchSchemas(dialects: readonly Dialect[]): Record<string, JsonSchema> {
  const schemas: Record<string, JsonSchema> = {};
  for (const { route: { batch, event } } of [...offersByPath(dialects).values()].flat()) {
    if (batch === null) continue;
    const shared = (name: string): JsonSchema => ({ type: ['object', 'null'], description: `${name} of the events that have none; 32,768 characters at most` });
    schemas[batch.name] = {
      type: 'object', description: `Up to ${batch.maxEvents} events. One that does not fit its schema is listed in the answer’s \`errors\`, and the others go through.`, required: [batch.member],
      properties: {
        [batch.member]: { type: 'array', maxItems: batch.maxEvents, items: ref(event) },
        ...(batch.withDefaults && { context: shared('context'), integrations: shared('integrations'), sentAt: { description: 'when the batch was sent, for events that do not say it; where it is no time, those are refused', examples: ['2025-03-15T14:30:00Z'] } }),
      },
      additionalProperties: true,
    };
  }
  return schemas;
}

function otherOperation({ path, summary, parameters: own = [], keyed, answers, codes }: OtherPath, refusals: Refusals): Operation {
  const responses: Record<string, Answer> = {};
  for (const { status, type, description, schema, example } of answers) {
    responses[status] = { description, headers: headerRefs('X-Request-Id'), content: { [type]: { schema, ...(example !== undefined && { examples: { example: { value: example } } }) } } };
  }
  return {
    operationId: operationId('get', path), summary, tags: ['door'], security: keyed ? anyKey : [{}],
    parameters: [...own.map(({ name, description, example }) => ({ name, in: 'path', required: true, description, schema: { type: 'string' }, examples: { example: { value: example } } })), requestId],
    responses: { ...responses, ...refusals.of([...anyCodes, ...(keyed ? ['unauthorized'] as const : []), ...codes], { challenges: ['Bearer'], rates: false }) },
  };
}

