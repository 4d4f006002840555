import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { anyJson, spoilt } from '../helpers/arbitrary.ts';
import { answerFaults, document, operationOf, requestFaults } from '../helpers/described.ts';
import type { AnswerHeaders } from '../helpers/described.ts';

/*
 * Requests made of the OpenAPI document and then bent, at a door: every answer must be one that the document has for the path
 * (status, content type, headers, body), none of them 5xx, and every body taken or refused as its schema says.
 */

export interface FuzzRequest {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: Buffer | null;
  /** The body's text where it is plain JSON. */
  sent: string | null;
}

export interface FuzzAnswer {
  status: number;
  headers: AnswerHeaders;
  body: string;
}

export interface FuzzOptions {
  /** A key of the door that may do everything. */
  key: string;
  send: (request: FuzzRequest) => Promise<FuzzAnswer>;
  seed: number;
  /** Ends by number or by time, whichever comes first. */
  maxRequests: number;
  maxMs: number;
}

export interface FuzzReport {
  requests: number;
  /** How often each path answered with each status. */
  answers: Map<string, number>;
  /** The first fault, with the smallest request that has it; null where there was none. */
  fault: string | null;
}

const operations = Object.entries(document.paths).flatMap(([path, item]) => (['get', 'post'] as const).flatMap(method => (item[method] === undefined ? [] : [{ path, method, operation: item[method] }])));

const keyed = (key: string): fc.Arbitrary<{ headers: Record<string, string>; query: string }> => {
  const basic = `Basic ${Buffer.from(`${key}:`).toString('base64')}`;
  const headers = (own: Record<string, string>) => fc.constant({ headers: own, query: '' });
  return fc.oneof(
    { weight: 12, arbitrary: fc.oneof(headers({ authorization: `Bearer ${key}` }), headers({ authorization: basic }), headers({ 'x-api-key': key }), headers({ 'x-write-key': key }), fc.constant({ headers: {}, query: `?writeKey=${encodeURIComponent(key)}` })) },
    { weight: 2, arbitrary: fc.oneof(headers({}), headers({ authorization: 'Bearer nobody' }), headers({ authorization: 'Basic' }), headers({ 'x-api-key': '' }), fc.constant({ headers: {}, query: '?writeKey=a&writeKey=b' })) },
    { weight: 1, arbitrary: fc.string({ maxLength: 30 }).map(text => ({ headers: { authorization: text.replaceAll(/[^\x20-\x7e]/g, '') }, query: '' })) },
  );
};

const extras = fc.record({
  origin: fc.constantFrom('https://shop.example', 'null'), 'x-request-id': fc.constantFrom('mine', '', 'ä', 'x'.repeat(200)), traceparent: fc.constantFrom('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', 'nonsense'),
  accept: fc.constantFrom('*/*', 'text/html', 'nothing'), 'user-agent': fc.constantFrom('', '"\\'), expect: fc.constantFrom('200-ok'),
}, { requiredKeys: [] });

const types = fc.oneof({ weight: 10, arbitrary: fc.constantFrom('application/json', 'application/json; charset=utf-8', 'text/json', 'application/vnd.x+json') }, { weight: 2, arbitrary: fc.constantFrom('text/plain', 'application/x-www-form-urlencoded', '', ';', 'application/json/x', 'multipart/form-data') });

const same = (body: Buffer): Buffer => body;
const encodings = new Map([['identity', same], ['gzip', gzipSync], ['deflate', deflateSync], ['br', brotliCompressSync], ['lzma', same], ['constructor', same]]);

interface Bytes {
  bytes: Buffer;
  text: string | null;
}

const bytesOf = (value: unknown): Bytes => ({ bytes: Buffer.from(JSON.stringify(value) ?? ''), text: JSON.stringify(value) ?? '' });

function bodies(schema: Record<string, unknown>): fc.Arbitrary<Bytes> {
  const meant = spoilt(schema).map(bytesOf);
  return fc.oneof(
    { weight: 16, arbitrary: meant },
    { weight: 2, arbitrary: anyJson.map(bytesOf) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }).map(bytes => ({ bytes: Buffer.from(bytes), text: null })) },
    { weight: 1, arbitrary: fc.tuple(meant, fc.nat(200)).map(([{ bytes }, length]): Bytes => ({ bytes: bytes.subarray(0, length), text: null })) },
    // Deep, or with names and digits that only the text has.
    { weight: 1, arbitrary: fc.constantFrom('{"__proto__":{"userId":"u"}}', '{"userId":"u","type":"page","properties":{"a":1e999,"b":-0,"b":18446744073709551616}}', `${'['.repeat(600)}${']'.repeat(600)}`, `{"type":"page","userId":"u","traits":${'{"a":'.repeat(70)}1${'}'.repeat(71)}`, '{"userId":"\\ud800","type":"page"}', '\uFEFF{}', '', ' ').map(text => ({ bytes: Buffer.from(text), text: null })) },
  );
}

/** With now and then another method, or a path nearby. */
function requests(key: string): fc.Arbitrary<FuzzRequest> {
  const each = operations.map(({ path, method, operation }) => {
    const media = operation.requestBody?.content['application/json'];
    const parameter = fc.oneof(fc.constantFrom(key, 'evt_9d3c0f7e6b5a4c3d2e1f0a9b8c7d6e5f', `evt_${'f'.repeat(32)}`, '9d3c0f7e-6b5a-4c3d-2e1f-0a9b8c7d6e5f'), fc.string({ maxLength: 20 }));
    return fc.record({
      method: fc.oneof({ weight: 30, arbitrary: fc.constant(method.toUpperCase()) }, { weight: 1, arbitrary: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS') }),
      parameter, slash: fc.oneof({ weight: 9, arbitrary: fc.constant('') }, { weight: 1, arbitrary: fc.constantFrom('/', '//', '/x', '%ff', '/../..') }),
      auth: keyed(key), extra: extras, type: types, encoding: fc.oneof({ weight: 6, arbitrary: fc.constant('identity') }, { weight: 2, arbitrary: fc.constantFrom(...encodings.keys()) }), lies: fc.nat(19),
      body: media === undefined ? fc.constant(null) : bodies(media.schema),
    }).map((made): FuzzRequest => {
      const url = `${path.replaceAll(/\{\w+\}/g, () => encodeURIComponent(made.parameter.toWellFormed()))}${made.slash}${made.auth.query}`;
      const body = made.method === 'GET' ? null : made.body;
      const encoded = body === null ? null : made.lies === 0 ? body.bytes : (encodings.get(made.encoding) ?? same)(body.bytes);
      const headers = { ...made.extra, ...made.auth.headers, ...(body !== null && made.type !== '' && { 'content-type': made.type }), ...(body !== null && made.encoding !== 'identity' && { 'content-encoding': made.encoding }) };
      return { method: made.method, url, headers, body: encoded, sent: made.encoding === 'identity' ? (body?.text ?? null) : null };
    });
  });
  return fc.oneof(...each);
}

export async function fuzzDoor({ key, send, seed, maxRequests, maxMs }: FuzzOptions): Promise<FuzzReport> {
  const answers = new Map<string, number>();
  let sentSoFar = 0;
  const details = await fc.check(fc.asyncProperty(requests(key), async request => {
    sentSoFar++;
    const answer = await send(request);
    const exchange = { method: request.method, url: request.url, ...answer };
    const place = `${operationOf(request.method, request.url)?.path ?? 'elsewhere'} ${answer.status}`;
    answers.set(place, (answers.get(place) ?? 0) + 1);
    if (answer.status >= 500) throw new Error(`${request.method} ${request.url} ${answer.status}: ${answer.body}`);
    const faults = [...answerFaults(exchange), ...(request.sent === null ? [] : requestFaults(exchange, request.sent))];
    if (faults.length > 0) throw new Error(faults.join('\n'));
  }), { seed, numRuns: maxRequests, interruptAfterTimeLimit: maxMs, markInterruptAsFailure: false });
  const [smallest] = details.counterexample ?? [];
  const { body, ...rest } = smallest ?? { body: null };
  return { requests: sentSoFar, answers, fault: details.failed ? `${details.errorInstance instanceof Error ? details.errorInstance.message : String(details.errorInstance)}\nby ${JSON.stringify(rest)} with ${JSON.stringify(body?.toString() ?? null)}\nseed ${details.seed}, path ${details.counterexamplePath ?? ''}` : null };
}
