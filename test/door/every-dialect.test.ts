import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { dialects } from '../../src/door/dialects/all.ts';
import { createKeyRing } from '../../src/door/keys.ts';
import { createDoor } from '../helpers/described-door.ts';
import type { CanonicalEvent } from '../../src/event/canonical.ts';
import { testLog } from '../helpers/shared-stack.ts';
import { writeKey } from '../helpers/write-key.ts';

/* faults.md 24, for every way in: what can be kept exactly is, and all else is refused with its reason. */

interface Way {
  path: string;
  /** The member of a batch; null: one event. */
  member: string | null;
  /** An event whose free-form object has these members. */
  event: (members: string) => string;
}

const now = Date.UTC(2026, 5, 20);
const track = (members: string): string => `{"type":"track","event":"E","userId":"u","properties":{${members}}}`;
const whisperr = (members: string): string => `{"external_user_id":"u","event_type":"e","context":{"$message_id":"m"},"properties":{${members}}}`;
const mailerpath = (members: string): string => `{"type":"signup","uid":"u","metadata":{${members}}}`;
const ways: readonly Way[] = [
  { path: '/api/v1/events', member: null, event: track },
  { path: '/api/v1/events/batch', member: 'batch', event: track },
  { path: '/v1/track', member: null, event: track },
  { path: '/v1/identify', member: null, event: members => `{"userId":"u","traits":{${members}}}` },
  { path: '/v1/batch', member: 'batch', event: members => `{"type":"page","anonymousId":"a","properties":{${members}}}` },
  { path: '/v1/events/track', member: null, event: whisperr },
  { path: '/v1/events/batch', member: 'events', event: whisperr },
  { path: '/v1/identify', member: null, event: members => `{"external_user_id":"u","traits":{${members}}}` },
  { path: '/v1/events', member: null, event: members => `{"event_type":"e","occurred_at":"2026-06-20T00:00:00Z","idempotency_key":"${Math.random()}","data":{${members}}}` },
  { path: '/api/v1/client/events', member: null, event: mailerpath },
  { path: '/api/v1/client/events', member: 'events', event: mailerpath },
  { path: '/api/v1/client/events/bulk', member: 'events', event: mailerpath },
];

const taken: CanonicalEvent[] = [];
const app = createDoor({
  log: testLog(), overloaded: () => false, readiness: async () => ({ ready: true, parts: {} }), now: () => now, keys: createKeyRing([writeKey('k', 'acme', 'k')]),
  accept: async events => {
    taken.push(...events);
    return events.map(() => ({ ok: true }) as const);
  },
});

/** What the event, or the request, came to: its code, or null, and what was taken. In a batch it stands between two good ones. */
async function offer({ path, member, event }: Way, members: string): Promise<{ code: string | null; event: CanonicalEvent | undefined }> {
  const one = event(members);
  const answer = await post(path, member === null ? one : `{"${member}":[${event('"n":1')},${one},${event('"n":3')}]}`);
  const events = taken.splice(0);
  if (member === null || answer.status >= 400) return { code: answer.status >= 400 ? answer.code : null, event: events[0] };
  assert.deepEqual(answer.errors.map(({ index }) => index).filter(index => index !== 1), [], 'the neighbours go through');
  assert.equal(events.length, 3 - answer.errors.length);
  return { code: answer.errors[0]?.code ?? null, event: answer.errors.length === 0 ? events[1] : undefined };
}

async function post(path: string, payload: string | Buffer, headers: Record<string, string> = {}): Promise<{ status: number; code: string; errors: { index: number; code: string }[] }> {
  const response = await app.inject({ method: 'POST', url: path, payload, headers: { authorization: 'Bearer k', 'content-type': 'application/json', ...headers } });
  const body = response.json<{ code: string; errors?: { index: number; code: string }[] }>();
  return { status: response.statusCode, code: body.code, errors: body.errors ?? [] };
}

const nested = (levels: number): string => `"d":${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;

test('every path of every dialect is tried here, but for other names of the same', () => {
  const routes = dialects.flatMap(({ routes: all }) => all);
  const tried = routes.filter(({ paths, type }) => type === 'screen' || type === 'page' || type === 'group' || type === 'alias' || paths.some(path => ways.some(way => way.path === path)));
  assert.deepEqual(routes.filter(route => !tried.includes(route)).map(({ paths }) => paths), []);
  assert.deepEqual(ways.filter(({ path }) => !routes.some(({ paths }) => paths.includes(path))), []);
});

const refused: readonly [what: string, members: string, code: string][] = [
  ['__proto__', '"__proto__":{"admin":true}', 'key_forbidden'],
  ['__proto__, escaped, deep within', '"a":[{"__\\u0070roto__":1}]', 'key_forbidden'],
  ['half a surrogate pair in a value', '"x":"\\ud83d"', 'string_invalid'],
  ['the other half, in a name', '"\\udc00":1', 'string_invalid'],
  ['65 levels', nested(65), 'too_deep'],
  ['10,000 levels', nested(10_000), 'too_deep'],
  ['a NUL that is not escaped', '"x":"\0"', 'malformed_json'],
  ['over 256 KiB', `"x":"${'x'.repeat(262_144)}"`, 'event_too_large'],
];
for (const [what, members, code] of refused) {
  test(`refused on every path: ${what}`, async () => {
    for (const way of ways) assert.deepEqual(await offer(way, members), { code, event: undefined }, `${way.path} ${way.member ?? ''}`);
  });
}

const exact: readonly [what: string, members: string][] = [
  ['integers beyond 2^53 and 2^64', '"x":9007199254740993,"y":-18446744073709551617'],
  ['1e400 and long decimals', '"x":1e400,"y":0.1000,"z":3.14159265358979323846264338327950288'],
  ['-0', '"x":-0,"y":-0.0'],
  ['names given twice', '"x":1,"x":{"y":2,"y":3}'],
  ['NUL, escaped', '"x":"a\\u0000b","\\u0000":1'],
  ['whole surrogate pairs', '"x":"\\ud83d\\ude00 😀"'],
  ['names of Object.prototype', '"constructor":1,"toString":{"prototype":2},"hasOwnProperty":null'],
  ['60 levels', nested(60)],
];
for (const [what, members] of exact) {
  test(`kept to the letter on every path: ${what}`, async () => {
    for (const way of ways) {
      const { code, event } = await offer(way, members);
      assert.equal(code, null, way.path);
      assert.equal(event?.raw, way.event(members).replace(/"idempotency_key":"[^"]*"/, `"idempotency_key":"${event?.messageId ?? ''}"`), way.path);
      const free = event?.type === 'identify' ? event.traits : event?.properties;
      assert.ok(free?.includes(members), `${way.path}: ${free ?? ''}`);
    }
  });
}

test('refused on every path, as a whole: bombs, broken gzip, what is no UTF-8', async () => {
  const bodyOf = ({ member, event }: Way): string => (member === null ? event('"n":1') : `{"${member}":[${event('"n":1')}]}`);
  const bomb = gzipSync(Buffer.alloc(100 * 1024 * 1024, ' '));
  assert.ok(bomb.length < 200_000);
  for (const way of ways) {
    const zipped = gzipSync(bodyOf(way));
    const invalid = Buffer.from(bodyOf(way).replace('"n":1', '"n":"?"'));
    invalid[invalid.indexOf('?')] = 0xff;
    const cases: [Buffer, Record<string, string>, number, string][] = [
      [bomb, { 'content-encoding': 'gzip' }, 413, 'body_too_large'],
      [zipped.subarray(0, zipped.length - 9), { 'content-encoding': 'gzip' }, 400, 'malformed_json'],
      [Buffer.concat([zipped.subarray(0, zipped.length - 8), Buffer.alloc(8)]), { 'content-encoding': 'gzip' }, 400, 'malformed_json'],
      [invalid, {}, 400, 'malformed_json'],
      // An overlong form, and a surrogate in UTF-8.
      [Buffer.concat([Buffer.from('{"x":"'), Buffer.from([0xc0, 0xaf]), Buffer.from('"}')]), {}, 400, 'malformed_json'],
      [Buffer.concat([Buffer.from('{"x":"'), Buffer.from([0xed, 0xa0, 0x80]), Buffer.from('"}')]), {}, 400, 'malformed_json'],
    ];
    for (const [index, [bytes, headers, status, code]] of cases.entries()) assert.deepEqual(await post(way.path, bytes, headers).then(answer => [answer.status, answer.code]), [status, code], `${way.path} ${index}`);
    assert.deepEqual(taken.splice(0), []);
    assert.ok((await post(way.path, zipped, { 'content-encoding': 'gzip' })).status < 300, way.path);
    assert.equal(taken.splice(0).length, 1);
  }
});
