import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createBodyReader } from '../../src/door/body.ts';
import type { EventSource } from '../../src/door/dialect.ts';
import { dialects } from '../../src/door/dialects/all.ts';
import { openEnvelope } from '../../src/door/envelope.ts';

/* What is found out about a batch in one go says the same as a look at each of its events alone. */

const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
const wide = Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`m${n}`, n]));
const events = [
  '{"type":"track","event":"E","userId":"u","messageId":"m","properties": {"n":12345678901234567890, "d":4500.00},"timestamp":"2026-06-20T00:00:00.123Z"}',
  ' { "type" : "identify" , "userId" : 12345678901234567890 , "traits" : [ ] , "context" : [] } ',
  '{"type":"page","userId":5,"userId":"u","properties":{"a":1},"properties":{"b":2}}',
  '{"type":"page","userId":"u","userId":5,"properties":{"a":1},"properties":"x"}',
  '{"type":"page","userId":"u","properties":{"a":1},"properties":null,"context":{"a":1},"context":null}',
  '{"type":"page","user\\u0049d":7,"prop\\u0065rties":{"a":"\\\\"},"context":{"ip":null,"userAgent":"own"}}',
  `{"type":"page","userId":"u","context":{"traits":{"a":"}"}},"integrations":{"All":true},${JSON.stringify(wide).slice(1)}`,
  '{"type":"identify","userId":"u","context":{"traits":{"a":1}},"sentAt":"2026-06-19T00:00:00Z"}',
  `{"type":"page","userId":"u","properties":{"a":${nested(62)}}}`,
  `{"type":"page","userId":"u","properties":{"a":${nested(63)}}}`,
  '{"type":"page","userId":"u","properties":{"a":"\\ud83d"}}',
  '{"type":"page","userId":"u","properties":{"a":{"__proto__":1}}}',
  `{"type":"page","userId":"u","properties":{"a":"${'é'.repeat(131_072)}"}}`,
  '[{}]', '"{"', '-1.5e3', 'null', '{}',
];
const shared = ['', '"context":{"ip":"9.9.9.9","app":{"v":1.0}},"integrations":{"x":true},"sentAt":"2026-06-20T00:00:00Z",', '"context":{},'];

for (const { name, routes } of dialects) {
  for (const route of routes.filter(({ batch }) => batch !== null)) {
    test(`${name}, ${route.paths.join(', ')}: events of a batch are read as each alone`, async () => {
      const { member, maxEvents } = route.batch ?? { member: '', maxEvents: 0 };
      const source: EventSource = { tenant: 't', dialect: name, writeKeyId: 'k', receivedAtMs: Date.parse('2026-06-20T00:00:00Z'), newMessageId: () => 'new', ip: '127.0.0.1', userAgent: 'UA "1"' };
      // All at once, and each in a body that has nothing odd beside it.
      for (const texts of [events, ...events.map(event => [event])]) {
        for (const more of shared) {
          const body = await createBodyReader()(Buffer.from(`{${more}"${member}":[${texts.join(',')}]}`), undefined);
          assert.ok(body.ok);
          const envelope = openEnvelope(body, route);
          assert.ok(envelope.ok && texts.length <= maxEvents);
          assert.deepEqual(envelope.events.map(({ text }) => text), texts.map(text => text.trim()));
          const given = { ...source, ...(envelope.defaults && { defaults: envelope.defaults }) };
          for (const { value, text, scanned } of envelope.events) assert.deepEqual(route.read(value, text, given, scanned), route.read(JSON.parse(text), text, given));
        }
      }
    });
  }
}
