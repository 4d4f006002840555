import type { JsonSchema } from './schemas.ts';

/* The document's types, and what all of its operations share. */

export interface Operation {
  operationId: string;
  summary: string;
  description?: string;
  tags: string[];
  security: readonly Readonly<Record<string, readonly string[]>>[];
  parameters: readonly JsonSchema[];
  requestBody?: { required: true; description: string; content: { 'application/json': MediaType } };
  responses: Record<string, Answer>;
}

export interface MediaType {
  schema: JsonSchema;
  examples?: Record<string, { value: unknown }>;
}

export type Answer = { $ref: string } | { description: string; headers: JsonSchema; content: Record<string, MediaType> };

export interface OpenApiDocument {
  openapi: '3.1.1';
  info: { title: string; version: string; summary: string; description: string; license: { name: string; identifier: string } };
  servers: { url: string }[];
  tags: { name: string; description: string }[];
  paths: Record<string, { get?: Operation; post?: Operation }>;
  components: { schemas: Record<string, JsonSchema>; responses: Record<string, Answer>; headers: JsonSchema; parameters: JsonSchema; securitySchemes: Record<string, JsonSchema> };
}

export const securitySchemes: Record<string, JsonSchema> = {
  basic: { type: 'http', scheme: 'basic', description: 'The write key as user name, an empty password.' },
  bearer: { type: 'http', scheme: 'bearer', description: 'The write key.' },
  apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'The write key.' },
  writeKey: { type: 'apiKey', in: 'header', name: 'X-Write-Key', description: 'The write key.' },
  queryKey: { type: 'apiKey', in: 'query', name: 'writeKey', description: 'The write key, for those who can send no headers.' },
};
export const anyKey = Object.keys(securitySchemes).map(name => ({ [name]: [] }));

export const headers = {
  'X-Request-Id': { description: 'The request’s own id where it sent one of 1 to 128 printable characters, else a new one.', required: true, schema: { type: 'string', minLength: 1, maxLength: 128 } },
  'X-RateLimit-Limit': { description: 'Events that the key may send at once. With the other two, where the key has a limit.', schema: { type: 'integer', minimum: 1 } },
  'X-RateLimit-Remaining': { description: 'Events that it may send now.', schema: { type: 'integer', minimum: 0 } },
  'X-RateLimit-Reset': { description: 'Seconds until it may send the most again.', schema: { type: 'integer', minimum: 0 } },
  'Retry-After': { description: 'Seconds to wait before the next try.', required: true, schema: { type: 'integer', minimum: 1 } },
  'WWW-Authenticate': { description: 'How to bring the write key.', required: true, schema: { type: 'string' } },
  Allow: { description: 'What the path takes instead.', required: true, schema: { type: 'string' } },
};
export const headerRefs = (...names: (keyof typeof headers)[]): JsonSchema => Object.fromEntries(names.map(name => [name, { $ref: `#/components/headers/${name}` }]));
export const rateHeaders = ['X-RateLimit-Limit', 'X-RateLimit-Remaining', 'X-RateLimit-Reset'] as const;

export const parameters = {
  RequestId: { name: 'X-Request-Id', in: 'header', description: 'Comes back, and stands in the log.', schema: { type: 'string' } },
  TraceParent: { name: 'traceparent', in: 'header', description: 'W3C trace context: goes along with the record.', schema: { type: 'string' } },
};
export const requestId = { $ref: '#/components/parameters/RequestId' };
