import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { dialects } from '../../src/door/dialects/all.ts';
import { createKeyRing } from '../../src/door/keys.ts';
import { timePattern } from '../../src/event/time.ts';
import { arbitraryOf, spoilt } from '../helpers/arbitrary.ts';
import { createDoor } from '../helpers/described-door.ts';
import { document, schemaFault } from '../helpers/described.ts';
import { testLog } from '../helpers/shared-stack.ts';
import { writeKey } from '../helpers/write-key.ts';

/* The dialects' schemas and readers say the same: values made of a schema, and spoilt ones, get one verdict from both. */

const now = Date.parse('2026-06-20T00:00:00Z');
const schemaCodes: readonly string[] = ['field_missing', 'field_invalid', 'field_unknown', 'type_unknown', 'not_an_object', 'time_invalid'];

for (const { name, routes } of dialects) {
  for (const route of routes.filter((one, at) => routes.findIndex(({ event }) => event === one.event) === at)) {
    test(`${name}: what its reader takes and refuses is what ${route.event} does`, () => {
      const verdicts = { taken: 0, refused: 0 };
      fc.assert(fc.property(spoilt(document.components.schemas[route.event] as Record<string, unknown>), value => {
        const read = route.read(value, JSON.stringify(value), { tenant: 't', dialect: name, ...(route.type && { type: route.type }), writeKeyId: 'k', receivedAtMs: now, newMessageId: () => 'new', ip: undefined, userAgent: undefined });
        const fault = schemaFault(['components', 'schemas', route.event], value);
        if (read.ok) {
          verdicts.taken++;
          assert.equal(fault, null);
        } else if (schemaCodes.includes(read.code)) {
          verdicts.refused++;
          // The form of a time is the schema's, which days a month has is not; nor are lengths in UTF-16 units.
          const at = read.pointer.split('/').slice(1).reduce<unknown>((each, token) => (each as Record<string, unknown> | undefined)?.[token], value);
          const excused = typeof at === 'string' && (read.code === 'time_invalid' ? new RegExp(timePattern).test(at) : at.length > 512 && [...at].length <= 512);
          if (!excused) assert.notEqual(fault, null, `${read.code} ${read.pointer}`);
        }
      }), { numRuns: 500, seed: 1815 });
      assert.ok(verdicts.taken > 20 && verdicts.refused > 50, JSON.stringify(verdicts));
    });
  }
}

test('a batch’s envelope is taken and refused as its schema says', async () => {
  const app = createDoor({
    log: testLog(), overloaded: () => false, readiness: async () => ({ ready: true, parts: {} }), keys: createKeyRing([writeKey('dev', 'dev', 'dev')]),
    accept: async events => events.map(() => ({ ok: true }) as const),
  });
  // Whose time is none, and nobody's.
  assert.equal((await app.inject({ method: 'POST', url: '/v1/batch', payload: '{"batch":[],"sentAt":{}}', headers: { 'x-api-key': 'dev' } })).statusCode, 200);
  for (const path of ['/v1/batch', '/api/v1/events/batch', '/v1/events/batch', '/api/v1/client/events/bulk']) {
    // described-door.ts compares.
    for (const body of fc.sample(spoilt(document.paths[path]?.post?.requestBody?.content['application/json'].schema as Record<string, unknown>), { numRuns: 60, seed: 12 })) {
      const { statusCode } = await app.inject({ method: 'POST', url: path, payload: JSON.stringify(body), headers: { 'x-api-key': 'dev', 'content-type': 'application/json' } });
      assert.ok(statusCode < 500);
    }
  }
});

test('arbitrary values are mostly what their schema means', () => {
  const schema = document.components.schemas['WhisperrEvent'] as Record<string, unknown>;
  const fitting = fc.sample(arbitraryOf(schema), { numRuns: 100, seed: 3 }).filter(value => schemaFault(['components', 'schemas', 'WhisperrEvent'], value) === null);
  assert.ok(fitting.length > 60, String(fitting.length));
});
