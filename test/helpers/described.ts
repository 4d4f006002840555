import { Ajv2020 } from 'ajv/dist/2020.js';
import type { ValidateFunction } from 'ajv/dist/2020.js';
import { dialects } from '../../src/door/dialects/all.ts';
import { describeDoor } from '../../src/door/openapi.ts';
import type { Answer, Operation } from '../../src/door/openapi-parts.ts';
import { catalogue } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';

/* Holds what the door takes and answers against its OpenAPI document. */

type Json = Record<string, unknown>;

export const document = describeDoor(dialects);

/** Answers have no members but those that are named, so that a new one is not forgotten; clients need not hold them to that. */
function closed(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(closed);
  const copy = Object.fromEntries(Object.entries(value).map(([name, each]) => [name, closed(each)]));
  return copy['type'] === 'object' && copy['properties'] !== undefined && copy['additionalProperties'] === undefined && copy['allOf'] === undefined ? { ...copy, unevaluatedProperties: false } : copy;
}

const ajv = new Ajv2020({ strict: false, allErrors: false, formats: { 'date-time': text => !Number.isNaN(Date.parse(text)) && new Date(text).toISOString() === text } });
ajv.addSchema(closed(document) as object, 'door');
const compiled = new Map<string, ValidateFunction>();

/** The first fault of a value by a schema of the document, or null. `at` is a JSON pointer's tokens. */
export function schemaFault(at: readonly string[], value: unknown): string | null {
  const pointer = `door#/${at.map(token => encodeURIComponent(token.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')}`;
  const validate = compiled.get(pointer) ?? ajv.compile({ $ref: pointer });
  compiled.set(pointer, validate);
  return validate(value) ? null : ajv.errorsText(validate.errors);
}

export type AnswerHeaders = Readonly<Record<string, string | string[] | number | undefined>>;

export interface Exchange {
  method: string;
  /** With or without a query. */
  url: string;
  status: number;
  headers: AnswerHeaders;
  body: string;
}

const operations = Object.entries(document.paths).flatMap(([path, item]) => (['get', 'post'] as const).flatMap(method => {
  const operation = item[method];
  return operation === undefined ? [] : [{ path, method, operation, form: new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/]+')}/?$`) }];
}));

export function operationOf(method: string, url: string): { path: string; method: 'get' | 'post'; operation: Operation } | null {
  const path = (url.split('?')[0] ?? '').replaceAll(/\/{2,}/g, '/');
  return operations.find(each => each.method === method.toLowerCase() && each.form.test(path)) ?? null;
}

/** What of an answer is not as the document says. */
export function answerFaults({ method, url, status, headers, body }: Exchange): string[] {
  const say = (what: string): string => `${method} ${url} ${status}: ${what}: ${body.slice(0, 300)}`;
  const found = operationOf(method, url);
  if (found === null || found.operation.responses[status] === undefined) {
    // No path of the document: 204 of a preflight, else what is wrong.
    if (method === 'OPTIONS' && status === 204) return [];
    if (found !== null) return [say('a status that the document does not have')];
    const fault = schemaFault(['components', 'schemas', 'ErrorBody'], parsed(body));
    return fault !== null || catalogue[(parsed(body) as { code: ErrorCode }).code].status !== status ? [say(fault ?? 'another status than the code’s')] : [];
  }
  const { path, operation } = found;
  const named = operation.responses[status] as Answer;
  const place = '$ref' in named ? named.$ref.split('/').slice(1) : ['paths', path, found.method, 'responses', String(status)];
  const answer = ('$ref' in named ? document.components.responses[place.at(-1) ?? ''] : named) as Exclude<Answer, { $ref: string }>;
  const faults: string[] = [];
  const type = (headers['content-type'] ?? '').toString().split(';')[0] ?? '';
  if (answer.content[type] === undefined) faults.push(say(`a content type that the document does not have, "${type}"`));
  else {
    const fault = schemaFault([...place, 'content', type, 'schema'], type === 'application/json' ? parsed(body) : body);
    if (fault !== null) faults.push(say(fault));
  }
  for (const name of Object.keys(answer.headers)) {
    const { required, schema } = document.components.headers[name] as { required?: boolean; schema: Json };
    const sent = headers[name.toLowerCase()];
    if (sent === undefined ? required === true : !fitsHeader(schema, sent.toString())) faults.push(say(`the header ${name} is ${sent?.toString() ?? 'missing'}`));
  }
  return faults;
}

function fitsHeader({ type, minimum }: Json, sent: string): boolean {
  return type === 'integer' ? /^\d+$/.test(sent) && Number(sent) >= Number(minimum) : sent.length > 0;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Codes that say that a body is not as its schema wants it. Of `time_invalid` the schema knows the form, not the month's days. */
const schemaCodes: ReadonlySet<string> = new Set(['field_missing', 'field_invalid', 'field_unknown', 'type_unknown', 'not_an_object', 'batch_missing', 'batch_too_large', 'time_invalid']);

/** Whether what was taken fits the schema of bodies, and what was refused for its form does not; both say where they differ. */
export function requestFaults({ method, url, status, body: answer }: Exchange, sent: string): string[] {
  const found = operationOf(method, url);
  const value = parsed(sent.replace(/^\uFEFF/, ''));
  const { code, errors } = (parsed(answer) ?? {}) as { code?: string; errors?: { index: number; code: string }[] };
  if (found?.method !== 'post' || value === undefined) return [];
  const fault = schemaFault(['paths', found.path, 'post', 'requestBody', 'content', 'application/json', 'schema'], value);
  const say = (what: string): string[] => [`${method} ${url} ${status} ${code ?? ''}: ${what}: ${sent.slice(0, 300)}`];
  const taken = status < 300 && (errors ?? []).every(error => !schemaCodes.has(error.code));
  if (taken && fault !== null) return say(`taken, though by the document ${fault}`);
  const refused = code ?? errors?.find(error => schemaCodes.has(error.code) && error.code !== 'time_invalid')?.code;
  if (!taken && refused !== undefined && schemaCodes.has(refused) && refused !== 'time_invalid' && fault === null) return say('refused, though it fits the document');
  return [];
}
