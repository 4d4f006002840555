import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import type { BatchSummary, ErrorBody as ApiErrorBody, ErrorCode as ApiErrorCode, EventError as ApiEventError, SegmentTrack } from 'millrace/api';
import { createKeyRing } from '../../src/door/keys.ts';
import { dialects } from '../../src/door/dialects/all.ts';
import { docsPage } from '../../src/door/docs-page.ts';
import { apiVersion, describeDoor } from '../../src/door/openapi.ts';
import type { Answer } from '../../src/door/openapi-parts.ts';
import type { ErrorBody, EventError } from '../../src/door/reply.ts';
import { answerSchema, answeredCodes, idSchema } from '../../src/door/schemas.ts';
import type * as dialect from '../../src/door/dialect.ts';
import { catalogue } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { apiTypes, apiTypesPath } from '../helpers/api-types.ts';
import { createDoor } from '../helpers/described-door.ts';
import { document, operationOf, schemaFault } from '../helpers/described.ts';
import { packageRoot } from '../helpers/local.ts';
import { testLog } from '../helpers/shared-stack.ts';
import { writeKey } from '../helpers/write-key.ts';

const door = () => createDoor({
  log: testLog(), overloaded: () => false, readiness: async () => ({ ready: true, parts: { kafka: 'ok' } }), keys: createKeyRing([writeKey('dev', 'dev', 'dev')]),
  metrics: async () => ({ contentType: 'text/plain; version=0.0.4', body: 'up 1\n' }),
  accept: async events => events.map((_, offset) => ({ ok: true, place: { topic: 't', partition: 0, offset: BigInt(offset) } }) as const),
});

const operations = Object.entries(document.paths).flatMap(([path, item]) => (['get', 'post'] as const).flatMap(method => (item[method] === undefined ? [] : [{ path, method, operation: item[method] }])));
const resolved = (answer: Answer): Exclude<Answer, { $ref: string }> => ('$ref' in answer ? document.components.responses[answer.$ref.split('/').at(-1) ?? ''] : answer) as Exclude<Answer, { $ref: string }>;

test('the document is valid OpenAPI 3.1, of this package’s version', async () => {
  const validator = new Validator();
  assert.deepEqual(await validator.validate(structuredClone(document) as unknown as Record<string, unknown>), { valid: true });
  assert.equal(validator.version, '3.1');
  assert.equal(apiVersion, (JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }).version);
  assert.equal(new Set(operations.map(({ operation }) => operation.operationId)).size, operations.length);
});

test('a fifth dialect is in the document by its own words', async () => {
  const ping: dialect.Dialect = {
    name: 'ping', title: 'Signs of life', challenge: 'Bearer', codes: [],
    schemas: { PingEvent: { type: 'object', required: ['host'], properties: { host: idSchema('who lives', { required: true }) }, examples: [{ host: 'web-1' }] }, Pong: answerSchema('Heard, and durable.', { pong: { type: 'string' } }) },
    routes: [{ paths: ['/v1/ping'], batch: null, event: 'PingEvent', answer: 'Pong', read: () => ({ ok: false, code: 'field_missing', message: 'host is required', pointer: '/host', messageId: null }), status: 200, one: ({ eventId }) => ({ pong: eventId() }), many: summary => summary }],
  };
  const five = describeDoor([...dialects, ping]);
  assert.deepEqual(await new Validator().validate(structuredClone(five) as unknown as Record<string, unknown>), { valid: true });
  assert.deepEqual(five.paths['/v1/ping']?.post?.requestBody?.content['application/json'], { schema: { $ref: '#/components/schemas/PingEvent' }, examples: { PingEvent: { value: { host: 'web-1' } } } });
  assert.ok(docsPage(five).includes('<h2 class="tag">ping</h2><p>Signs of life</p>'));
});

test('each route is in the document, and each operation is a route', async () => {
  const app = door();
  await app.ready();
  const branch: string[] = [];
  const routes = app.printRoutes().split('\n').flatMap(line => {
    const [, indent = '', part = '', methods] = /^((?:│ {3}| {4})*)(?:├── |└── )(.*?)(?: \(([A-Z, ]+)\))?$/.exec(line.replace('(empty root node)', '')) ?? [];
    branch.splice(indent.length / 4, Infinity, part);
    return methods?.split(', ').map(method => `${method} ${branch.join('').replaceAll(/:(\w+)/g, '{$1}')}`) ?? [];
  });
  // Preflights of any path are answered by one route.
  assert.deepEqual(routes.filter(route => route !== 'OPTIONS *').sort(), operations.map(({ path, method }) => `${method.toUpperCase()} ${path}`).sort());
});

test('each code that answers a request is in the document, under its status; those of events are among what a batch lists', () => {
  const found = new Set<string>();
  for (const [status, answer] of [...operations.flatMap(({ operation }) => Object.entries(operation.responses)), ...Object.values(document.components.responses).map(answer => [null, answer] as const)]) {
    for (const code of Object.keys(resolved(answer).content['application/json']?.examples ?? {}).filter(name => name in catalogue) as ErrorCode[]) {
      found.add(code);
      if (status !== null) assert.equal(String(catalogue[code].status), status, code);
    }
  }
  assert.deepEqual([...found].sort(), [...answeredCodes].sort());
});

test('every example fits its schema, and what is sent is taken', async () => {
  const app = door();
  let bodies = 0;
  let answers = 0;
  for (const { path, method, operation } of operations) {
    const media = operation.requestBody?.content['application/json'];
    for (const [name, { value }] of Object.entries(media?.examples ?? {})) {
      bodies++;
      assert.equal(schemaFault(['paths', path, method, 'requestBody', 'content', 'application/json', 'schema'], value), null, `${path} ${name}`);
      const answer = await app.inject({ method: 'POST', url: path, payload: JSON.stringify(value), headers: { authorization: 'Bearer dev', 'content-type': 'application/json' } });
      assert.equal(answer.statusCode < 300 && (answer.json<{ errors?: unknown[] }>().errors ?? []).length === 0, true, `${path} ${name}: ${answer.body}`);
    }
    for (const [status, answer] of Object.entries(operation.responses)) {
      const place = '$ref' in answer ? answer.$ref.split('/').slice(1) : ['paths', path, method, 'responses', status];
      for (const [type, { examples }] of Object.entries(resolved(answer).content)) {
        for (const [name, { value }] of Object.entries(examples ?? {})) {
          answers++;
          assert.equal(schemaFault([...place, 'content', type, 'schema'], value), null, `${path} ${status} ${name}`);
        }
      }
    }
  }
  for (const name of Object.keys(document.components.schemas)) {
    for (const value of (document.components.schemas[name] as { examples?: unknown[] }).examples ?? []) assert.equal(schemaFault(['components', 'schemas', name], value), null, name);
  }
  assert.ok(bodies >= operations.filter(({ method }) => method === 'post').length && answers > 200, `${bodies} bodies, ${answers} answers`);
});

test('what the pages and examples send and show fits the document', () => {
  const read = (page: string): string => readFileSync(join(packageRoot, page), 'utf8');
  let checked = 0;
  for (const [, url = '', body = ''] of read('README.md').replaceAll(/\\\n\s*/g, ' ').matchAll(/(\/(?:api\/)?v1\/[\w/]+)[^\n]*? -d '(\{[^']*\})'/g)) {
    assert.equal(schemaFault(['paths', url, 'post', 'requestBody', 'content', 'application/json', 'schema'], JSON.parse(body)), null, body);
    checked++;
  }
  assert.ok(checked > 0);
  const [, shown = ''] = /```json\n([^`]*)```/.exec(read('docs/errors.md')) ?? [];
  assert.equal(schemaFault(['components', 'schemas', 'ErrorBody'], JSON.parse(shown)), null);
  // Each path that docs/api.md has in full is one of the document.
  const named = [...read('docs/api.md').matchAll(/`(GET|POST) (\/[^`{ ]*)`/g)].map(([, method = '', path = '']) => [method, path.replaceAll(/<[^>]+>/g, 'x')] as const);
  assert.ok(named.length > 10);
  for (const [method, path] of named) assert.ok(operationOf(method, path), `docs/api.md has ${method} ${path}`);
});

test('src/api.d.ts has the types of the schemas; the door’s own types are theirs', () => {
  assert.equal(readFileSync(apiTypesPath, 'utf8'), apiTypes(), 'npm run api:types writes it anew');
  // These lines are checked by the compiler.
  const same = <A, B>(_both: [A] extends [B] ? ([B] extends [A] ? true : false) : false): void => undefined;
  same<{ [C in ErrorCode]: (typeof catalogue)[C]['status'] extends null ? never : C }[ErrorCode], ApiErrorCode>(true);
  same<dialect.BatchSummary['accepted'], BatchSummary['accepted']>(true);
  same<Omit<EventError, 'code' | 'violations'>, Omit<ApiEventError, 'code' | 'violations'>>(true);
  same<Omit<ErrorBody, 'error' | 'code'>, Omit<ApiErrorBody, 'error' | 'code'>>(true);
  const track: SegmentTrack = { userId: 'ada', event: 'Signed Up', properties: { plan: 'pro' } };
  // @ts-expect-error a track call has a name
  const nameless: SegmentTrack = { userId: 'ada' };
  // @ts-expect-error and a user
  const nobodys: SegmentTrack = { event: 'Signed Up' };
  assert.deepEqual([track, nameless, nobodys].map(body => schemaFault(['components', 'schemas', 'SegmentTrack'], body) === null), [true, false, false]);
});

test('GET /openapi.json is the document; GET /docs shows all of it, with nothing from elsewhere', async () => {
  const app = door();
  const json = await app.inject('/openapi.json');
  assert.deepEqual([json.statusCode, json.json()], [200, JSON.parse(JSON.stringify(document))]);
  const page = await app.inject('/docs');
  assert.match(String(page.headers['content-type']), /^text\/html/);
  const policy = String(page.headers['content-security-policy']);
  assert.match(policy, /^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='; /);
  assert.doesNotMatch(policy, /unsafe|\*|http/);
  assert.doesNotMatch(page.body, /<(script|link|img|iframe|object|embed|form)\b| on\w+=| style=|src=|@import|url\(/i);
  assert.deepEqual([...page.body.matchAll(/href="([^"#][^"]*)"/g)].map(([, target]) => target), ['openapi.json']);
  for (const { operation } of operations) assert.ok(page.body.includes(` id="${operation.operationId}"`), operation.operationId);
  for (const name of [...Object.keys(document.components.schemas), ...answeredCodes]) assert.equal(page.body.split(` id="${name}"`).length, 2, name);
  for (const [, target = ''] of page.body.matchAll(/href="#([^"]+)"/g)) assert.ok(page.body.includes(` id="${target}"`), target);
});
