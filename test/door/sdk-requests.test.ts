import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { createKeyRing } from '../../src/door/keys.ts';
import { createDoor } from '../helpers/described-door.ts';
import type { CanonicalEvent } from '../../src/event/canonical.ts';
import { packageRoot } from '../helpers/local.ts';
import { testLog } from '../helpers/shared-stack.ts';
import { writeKey } from '../helpers/write-key.ts';

/*
 * What SDKs of other languages sent when they were run, unmodified but for host and key, against a door: word for word
 * (sdk-requests.json; bodies are inflated there). Each made the same seven calls; docs/sdks.md says how.
 */

interface Recorded {
  sdk: string;
  source: string;
  path: string;
  headers: [string, string][];
  body: string;
}
const recorded = JSON.parse(readFileSync(join(packageRoot, 'test', 'door', 'sdk-requests.json'), 'utf8')) as Recorded[];

interface Call {
  user: string;
  /** Of the last call, which was given a time of its own. */
  dated?: { user?: string; at?: string };
  properties?: object;
}
const calls: Record<string, Call> = {
  'segment-analytics-python 2.4.0': { user: 'py-user', dated: { user: '42', at: '2020-01-02T03:04:05.006Z' } },
  'rudder-sdk-python 2.1.9': { user: 'rpy-user' },
  'com.segment.analytics.java:analytics 3.5.4': { user: 'java-user', properties: { at: '2020-01-02T03:04:05.000Z' } },
  'com.rudderstack.sdk.java.analytics:analytics 3.1.2': { user: 'rjava-user', properties: { at: '2020-01-02T03:04:05.000Z' } },
  'segmentio/analytics-php 3.8.2 (lib_curl)': { user: 'php-user', dated: { user: '42' } },
  'analytics-ruby 2.5.0': { user: 'rb-user', dated: { user: '42' } },
  'segmentio/analytics-go 3.3.0': { user: 'go-user', dated: { at: '2020-01-02T03:04:05.005Z' } },
  'rudderlabs/analytics-go 4.2.3': { user: 'rgo-user', dated: { at: '2020-01-02T03:04:05.005Z' } },
};

function expected({ user, dated, properties }: Call): unknown[] {
  const common = { event: null, userId: user, previousId: null, groupId: null, name: null, properties: {}, traits: {} };
  return [
    { ...common, type: 'track', event: 'Order Completed', properties: { total: 99.5, items: [{ sku: 'a' }], ...properties } },
    { ...common, type: 'identify', traits: { plan: 'pro', company: { id: 'c' } } },
    { ...common, type: 'page', userId: null, name: 'Pricing', properties: { url: 'https://shop.example/' } },
    { ...common, type: 'screen', name: 'Settings' },
    { ...common, type: 'group', groupId: 'g1', traits: { name: 'Acme' } },
    { ...common, type: 'alias', previousId: 'before' },
    { ...common, type: 'track', event: 'Dated', userId: dated?.user ?? user, at: dated?.at ?? '2020-01-02T03:04:05.000Z' },
  ];
}

async function send({ headers, body }: Recorded, path: string): Promise<{ status: number; reply: unknown; taken: CanonicalEvent[] }> {
  const taken: CanonicalEvent[] = [];
  const app = createDoor({
    keys: createKeyRing([writeKey('dev', 'dev', 'dev')]),
    accept: async events => {
      taken.push(...events);
      return events.map(() => ({ ok: true }));
    },
    overloaded: () => false,
    readiness: async () => ({ ready: true, parts: {} }),
    now: () => Date.parse('2026-11-22T15:40:00Z'),
    newMessageId: () => assert.fail('each event brings its id'),
    log: testLog(),
  });
  const sent = Object.fromEntries(headers.filter(([name]) => name !== 'Transfer-Encoding'));
  const response = await app.inject({ method: 'POST', url: path, headers: sent, payload: sent['Content-Encoding'] === 'gzip' ? gzipSync(body) : body });
  return { status: response.statusCode, reply: response.json<unknown>(), taken };
}

const parsed = (text: string | null): unknown => JSON.parse(text ?? '{}');
const told = ({ type, event, userId, previousId, groupId, name, properties, traits, timestampMs }: CanonicalEvent): unknown => ({
  type, event, userId, previousId, groupId, name, properties: parsed(properties), traits: parsed(traits), ...(event === 'Dated' && { at: new Date(timestampMs).toISOString() }),
});

test('each SDK is expected, and each that is expected was recorded', () => {
  assert.deepEqual(recorded.map(({ sdk }) => sdk).sort(), Object.keys(calls).sort());
});

for (const request of recorded) {
  // An SDK whose host was given with a slash at its end asks for //v1/batch.
  for (const path of [request.path, `/${request.path}`]) {
    test(`${request.sdk}: POST ${path}`, async () => {
      const { status, reply, taken } = await send(request, path);
      assert.deepEqual([status, reply], [200, { success: true, received: 7, accepted: 7, rejected: 0, errors: [] }]);
      assert.deepEqual(taken.map(told), expected(calls[request.sdk] ?? assert.fail(request.sdk)));
      assert.ok(taken.every(({ context, sentAtMs }) => context?.includes('"library"') === true && sentAtMs !== null), 'the library and sentAt, of the event or of its batch');
      assert.equal(taken.find(({ type }) => type === 'page')?.anonymousId, calls[request.sdk]?.user);
    });
  }
}

test('Analytics-CSharp says no content type, analytics-kotlin text/plain; both gzip, with the key in the body alone', async () => {
  const java = recorded.find(({ path }) => path === '/v1/import/') ?? assert.fail();
  assert.ok(java.headers.every(([name]) => name !== 'Authorization'), 'so does analytics-java, without gzip');
  for (const type of [[], [['Content-Type', 'text/plain']]] satisfies [string, string][][]) {
    const { status, taken } = await send({ ...java, headers: [['Content-Encoding', 'gzip'], ...type] }, '/v1/b');
    assert.deepEqual([status, taken.length], [200, 7]);
  }
});
