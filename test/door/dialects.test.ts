import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dialects } from '../../src/door/dialects/all.ts';
import { createKeyRing } from '../../src/door/keys.ts';
import { createDoor } from '../helpers/described-door.ts';
import type { CanonicalEvent } from '../../src/event/canonical.ts';
import type { Fate } from '../../src/event/fate.ts';
import { eventId } from '../../src/event/identity.ts';
import { testLog } from '../helpers/shared-stack.ts';
import { writeKey } from '../helpers/write-key.ts';

/* The four documents' examples and failures (000 mailerpath, 001 whisperr, 002 intake, 003 segment), and the paths of SDKs. */

const now = Date.parse('2026-06-20T00:00:00Z');

function door() {
  const taken: CanonicalEvent[] = [];
  let ids = 0;
  const app = createDoor({
    log: testLog(),
    overloaded: () => false,
    readiness: async () => ({ ready: true, parts: {} }),
    now: () => now,
    newMessageId: () => `new-${++ids}`,
    keys: createKeyRing([writeKey('all', 'acme', 'k'), writeKey('pages', 'acme', 'pages', { allow: ['page'] })]),
    accept: async events => {
      taken.push(...events);
      return events.map(() => ({ ok: true }) as const);
    },
  });
  const post = async (url: string, payload: string | object, headers: Record<string, string> = { 'x-api-key': 'k' }) => {
    const response = await app.inject({ method: 'POST', url, payload: typeof payload === 'string' ? payload : JSON.stringify(payload), headers: { 'content-type': 'application/json', ...headers } });
    const body = response.json<Record<string, unknown> & { code?: string; errors?: { index: number; code: string; pointer?: string; message_id?: string }[]; error?: { details?: { pointer: string }[] } }>();
    return { status: response.statusCode, body, headers: response.headers, refused: [response.statusCode, body.code, body.error?.details?.[0]?.pointer] };
  };
  return { app, taken, post };
}

const bearer = { authorization: 'Bearer k' };

/* --- 001 whisperr --- */

const failed = { external_user_id: 'user_8842', event_type: 'payment_failed', occurred_at: '2026-06-14T12:00:00.000Z', properties: { amount_cents: 4900 }, context: { $message_id: 'f7a1c2e0-4b3d-4f6a-9c1e-8d2b5a7e3f10' } };

test('001: the example event, single and in a batch, with either key header', async () => {
  const { post, taken } = door();
  for (const headers of [{ 'x-api-key': 'k' }, bearer]) {
    const single = await post('/v1/events/track', failed, headers);
    assert.deepEqual([single.status, single.body], [202, { accepted: 1, rejected: 0, errors: [] }]);
  }
  const second = { external_user_id: 'user_9917', event_type: 'trial_expired', occurred_at: '2026-06-14T12:00:01.250Z', properties: {}, context: { $message_id: '0b6d9e44' } };
  const batch = await post('/v1/events/batch', { events: [failed, second] });
  assert.deepEqual([batch.status, batch.body], [202, { accepted: 2, rejected: 0, errors: [] }]);
  assert.deepEqual(taken.slice(1).map(({ dialect, type, event, userId, messageId, timestampMs, properties, context }) => [dialect, type, event, userId, messageId, new Date(timestampMs).toISOString(), properties, context]), [
    ['whisperr', 'track', 'payment_failed', 'user_8842', failed.context.$message_id, failed.occurred_at, '{"amount_cents":4900}', JSON.stringify(failed.context)],
    ['whisperr', 'track', 'payment_failed', 'user_8842', failed.context.$message_id, failed.occurred_at, '{"amount_cents":4900}', JSON.stringify(failed.context)],
    ['whisperr', 'track', 'trial_expired', 'user_9917', '0b6d9e44', second.occurred_at, '{}', '{"$message_id":"0b6d9e44"}'],
  ]);
});

test('001: every documented failure names its field; one bad name does not poison its batch', async () => {
  const { post, taken } = door();
  const day = 86_400_000;
  const at = (ms: number): string => new Date(ms).toISOString();
  const wrong: [Record<string, unknown>, string, string][] = [
    [{ event_type: undefined }, 'field_missing', '/event_type'],
    [{ external_user_id: undefined }, 'field_missing', '/external_user_id'],
    [{ external_user_id: 8842 }, 'field_invalid', '/external_user_id'],
    [{ external_user_id: '' }, 'field_invalid', '/external_user_id'],
    ...['Payment_failed', 'payment-failed', '_failed', 'payment__failed', 'payment_', ''].map((name): [Record<string, unknown>, string, string] => [{ event_type: name }, 'field_invalid', '/event_type']),
    [{ occurred_at: '2026-06-14T12:00:00+00:00' }, 'time_invalid', '/occurred_at'],
    [{ occurred_at: '2026-06-14 12:00:00Z' }, 'time_invalid', '/occurred_at'],
    [{ occurred_at: '2026-06-31T12:00:00Z' }, 'time_invalid', '/occurred_at'],
    [{ occurred_at: 1_781_400_000 }, 'time_invalid', '/occurred_at'],
    [{ occurred_at: at(now + 5 * 60_000 + 1) }, 'time_out_of_range', '/occurred_at'],
    [{ occurred_at: at(now - 30 * day - 1) }, 'time_out_of_range', '/occurred_at'],
    [{ properties: [] }, 'field_invalid', '/properties'],
    [{ context: undefined }, 'field_missing', '/context'],
    [{ context: {} }, 'field_missing', '/context/$message_id'],
    [{ context: { $message_id: 7 } }, 'field_invalid', '/context/$message_id'],
    [{ context: { $message_id: 'x'.repeat(513) } }, 'field_invalid', '/context/$message_id'],
    [{ userId: 'u' }, 'field_unknown', '/userId'],
  ];
  for (const [change, code, pointer] of wrong) assert.deepEqual((await post('/v1/events/track', { ...failed, ...change })).refused, [400, code, pointer], JSON.stringify(change));
  assert.equal(taken.length, 0);
  for (const occurred_at of [at(now + 5 * 60_000), at(now - 30 * day), '2026-06-14T12:00:00Z', '2026-06-14T12:00:00.123456789Z']) assert.equal((await post('/v1/events/track', { ...failed, occurred_at })).status, 202, occurred_at);
  const batch = await post('/v1/events/batch', { events: [failed, { ...failed, event_type: 'Bad Name', context: { $message_id: 'bad' } }, failed] });
  assert.deepEqual([batch.status, batch.body['accepted'], batch.body.errors?.map(({ index, code, pointer, message_id }) => [index, code, pointer, message_id])], [202, 2, [[1, 'field_invalid', '/event_type', 'bad']]]);
});

test('001: batches end at 500, an empty one is no fault; without occurred_at it is the receipt', async () => {
  const { post, taken } = door();
  assert.deepEqual((await post('/v1/events/batch', { events: Array(501).fill(failed) })).refused.slice(0, 2), [400, 'batch_too_large']);
  assert.deepEqual((await post('/v1/events/batch', { batch: [] })).refused.slice(0, 2), [400, 'batch_missing']);
  const empty = await post('/v1/events/batch', { events: [] });
  assert.deepEqual([empty.status, empty.body, taken.length], [202, { accepted: 0, rejected: 0, errors: [] }, 0]);
  const { occurred_at: _, ...undated } = failed;
  assert.equal((await post('/v1/events/track', undated)).status, 202);
  assert.equal(taken[0]?.timestampMs, now);
});

test('001: identify, beside Segment’s on the same path', async () => {
  const { post, taken } = door();
  const answer = await post('/v1/identify', '{"external_user_id":"user_8842","traits":{"plan":"pro","big":12345678901234567890},"channels":{"email":"a@b.c"},"preferred_channel":"email"}');
  assert.deepEqual([answer.status, answer.body], [202, { accepted: 1, rejected: 0, errors: [] }]);
  const bare = await post('/v1/identify', { external_user_id: 'u2', preferred_channel: 'sms' });
  assert.equal(bare.status, 202);
  const other = await post('/v1/identify', { userId: 'u3', traits: { a: 1 } });
  assert.deepEqual([other.status, other.body], [200, { success: true }]);
  assert.deepEqual(taken.map(({ dialect, type, userId, messageId, traits }) => [dialect, type, userId, messageId, traits]), [
    ['whisperr', 'identify', 'user_8842', 'new-1', '{"plan":"pro","big":12345678901234567890,"channels":{"email":"a@b.c"},"preferred_channel":"email"}'],
    ['whisperr', 'identify', 'u2', 'new-2', '{"preferred_channel":"sms"}'],
    ['segment', 'identify', 'u3', 'new-3', '{"a":1}'],
  ]);
  assert.deepEqual((await post('/v1/identify', { external_user_id: 'u', trait: {} })).refused, [400, 'field_unknown', '/trait']);
});

/* --- 002 intake --- */

const created = { event_type: 'user.created', occurred_at: '2025-12-22T10:30:00Z', idempotency_key: '0f3f6f9b-9f0b-4c8d-9f18-5b6a9d9d2d41', data: { user_id: 'u_12345', plan: 'pro' } };

test('002: the example event; its id is a function of tenant and key', async () => {
  const { post, taken } = door();
  const first = await post('/v1/events', created, bearer);
  assert.deepEqual([first.status, first.body], [200, { status: 'ok', event_id: `evt_${eventId('acme', created.idempotency_key).replaceAll('-', '')}`, received_at: '2026-06-20T00:00:00.000Z' }]);
  await post('/v1/events', { ...created, idempotency_key: 'k2', data: { userId: 'other' } }, bearer);
  await post('/v1/events', { ...created, idempotency_key: 'k3', data: {} }, bearer);
  assert.deepEqual(taken.map(({ dialect, type, event, userId, messageId, timestampMs, properties }) => [dialect, type, event, userId, messageId, timestampMs, properties]), [
    ['intake', 'track', 'user.created', 'u_12345', created.idempotency_key, Date.parse(created.occurred_at), JSON.stringify(created.data)],
    ['intake', 'track', 'user.created', 'other', 'k2', Date.parse(created.occurred_at), '{"userId":"other"}'],
    ['intake', 'track', 'user.created', null, 'k3', Date.parse(created.occurred_at), '{}'],
  ]);
});

test('002: a retry is answered with the same id and deduplicated, and published no more; other content is a 409', async () => {
  const { post, taken } = door();
  const first = await post('/v1/events', created, bearer);
  const again = await post('/v1/events', { idempotency_key: created.idempotency_key, data: { plan: 'pro', user_id: 'u_12345' }, occurred_at: '2025-12-22T11:30:00+01:00', event_type: 'user.created' }, bearer);
  assert.deepEqual([again.status, again.body], [200, { ...first.body, deduplicated: true }]);
  const other = await post('/v1/events', { ...created, data: { user_id: 'u_12345', plan: 'free' } }, bearer);
  assert.deepEqual([other.status, other.body.code], [409, 'idempotency_conflict']);
  assert.equal(taken.length, 1);
  const many = await Promise.all(Array.from({ length: 20 }, () => post('/v1/events', { ...created, idempotency_key: 'at once' }, bearer)));
  assert.deepEqual([many.filter(({ body }) => body['deduplicated'] === true).length, taken.length], [19, 2]);
  // 000 says it too, where the client sent a key.
  const signup = { email: 'a@b.c', type: 'signup', idempotency_key: 's' };
  await post('/api/v1/client/events', signup, bearer);
  assert.equal((await post('/api/v1/client/events', signup, bearer)).body['deduplicated'], true);
  const { idempotency_key: _, ...keyless } = signup;
  for (let times = 0; times < 2; times++) assert.equal((await post('/api/v1/client/events', keyless, bearer)).body['deduplicated'], undefined);
  assert.equal(taken.length, 5);
});

test('002: the receipt of an event that is not stored yet, of the key’s own tenant', async () => {
  const place = { topic: 'events', partition: 3, offset: 9_007_199_254_740_993n };
  let away = false;
  let fates: Fate[] = [];
  const app = createDoor({
    log: testLog(), overloaded: () => false, readiness: async () => ({ ready: true, parts: {} }), now: () => now,
    keys: createKeyRing([writeKey('k', 'acme', 'k'), writeKey('o', 'other', 'o')]), accept: async events => events.map(() => ({ ok: true, place }) as const),
    findReceipt: async (_tenant, id) => {
      if (away || id.startsWith('f')) throw new Error('ClickHouse is away');
      return fates;
    },
  });
  const answer = await app.inject({ method: 'POST', url: '/v1/events', payload: created, headers: bearer });
  const { event_id: id } = answer.json<{ event_id: string }>();
  const receipt = await app.inject({ url: `/v1/events/${id}`, headers: bearer });
  assert.deepEqual([receipt.statusCode, receipt.json()], [200, { event_id: id, status: 'accepted', topic: 'events', partition: 3, offset: '9007199254740993', received_at: '2026-06-20T00:00:00.000Z' }]);
  assert.equal((await app.inject({ url: `/v1/events/${id}`, headers: { authorization: 'Bearer o' } })).statusCode, 404);
  assert.equal((await app.inject({ url: `/v1/events/evt_${'f'.repeat(32)}`, headers: bearer })).statusCode, 503);
  // An older record of the same id says nothing of the one that this door has just published; its own fate does.
  const suppressed = (offset: bigint): Fate => ({ status: 'suppressed', place: { ...place, offset }, receivedAt: '2026-06-19T00:00:00.000Z', reason: 'the user was erased' });
  const statusOf = async (): Promise<unknown> => (await app.inject({ url: `/v1/events/${id}`, headers: bearer })).json<{ status: string }>().status;
  fates = [suppressed(7n)];
  assert.equal(await statusOf(), 'accepted');
  fates = [suppressed(place.offset), suppressed(7n)];
  assert.equal(await statusOf(), 'suppressed');
  away = true;
  const silent = await app.inject({ url: `/v1/events/${id}`, headers: bearer });
  assert.deepEqual([silent.statusCode, silent.json<{ error: { details: unknown } }>().error.details], [503, receipt.json()]);
});

test('002: all four fields are required, times have a zone, and no key is a 401 that asks for Bearer', async () => {
  const { post, taken } = door();
  for (const name of Object.keys(created)) assert.deepEqual((await post('/v1/events', { ...created, [name]: undefined }, bearer)).refused, [400, 'field_missing', `/${name}`]);
  for (const occurred_at of ['2025-12-22T10:30:00', '2025-12-22', 'yesterday', '2025-02-30T00:00:00Z', '2025-12-31T23:59:60Z', '10000-01-01T00:00:00Z']) assert.deepEqual((await post('/v1/events', { ...created, occurred_at }, bearer)).refused, [400, 'time_invalid', '/occurred_at'], occurred_at);
  for (const [change, pointer] of [[{ idempotency_key: 7 }, '/idempotency_key'], [{ data: [] }, '/data'], [{ data: { user_id: 7 } }, '/data/user_id'], [{ event_type: '' }, '/event_type']] as const) assert.deepEqual((await post('/v1/events', { ...created, ...change }, bearer)).refused, [400, 'field_invalid', pointer]);
  assert.equal((await post('/v1/events', { ...created, occurred_at: '1999-12-22T10:30:00+02:00' }, bearer)).status, 200, 'of any age');
  const stranger = await post('/v1/events', created, {});
  assert.deepEqual([stranger.status, stranger.body.code, stranger.headers['www-authenticate']], [401, 'unauthorized', 'Bearer realm="millrace"']);
  assert.equal(taken.length, 1);
});

/* --- 000 mailerpath --- */

test('000: every example of the document, and what becomes of its fields', async () => {
  const { post, taken } = door();
  const examples = [
    { email: 'buyer@example.com', type: 'purchase', source: 'api', action: 'renewed', feature: 'billing', plan: 'pro', amount: 49.9, idempotency_key: 'purchase-buyer-example-com-20260622' },
    { email: 'newuser@example.com', type: 'signup', source: 'organic', idempotency_key: 'signup-newuser-example-com-20260622' },
    { email: 'buyer@example.com', type: 'purchase', status: 'success', plan: 'pro', amount: 49.9, upgrade: false, idempotency_key: 'purchase-buyer-example-com-20260622-1' },
    { email: 'trialuser@example.com', type: 'purchase', status: 'trial_started', plan: 'trial', idempotency_key: 'trial-trialuser-example-com-20260622' },
    { uid: 'usr_00123', type: 'core_activity', action: 'login', source: 'web_app', idempotency_key: 'login-usr-00123-20260622t110001z' },
    { uid: 'usr_00123', type: 'feature_used', action: 'explored', feature: 'automation_builder', source: 'dashboard', idempotency_key: 'feature-explored-usr-00123-20260622' },
    { email: 'help@example.com', type: 'support_ticket', action: 'multiple_tickets', source: 'support_system', idempotency_key: 'support-multiple-help-example-com-20260622' },
    { email: 'shopper@example.com', type: 'cart', status: 'abandoned', action: 'abandoned', amount: 129.0, idempotency_key: 'cart-abandoned-shopper-example-com-20260622' },
    { email: 'returning@example.com', type: 're_engagement', action: 'returned', status: 'success', idempotency_key: 'reengaged-returning-example-com-20260622' },
    { email: 'fixed@example.com', type: 'signup', idempotency_key: 'signup-fixed-example-com-20260622' },
  ];
  for (const example of examples) {
    const answer = await post('/api/v1/client/events', example, bearer);
    assert.deepEqual([answer.status, answer.body], [200, { status: 'ok', event_id: `evt_${eventId('acme', example.idempotency_key).replaceAll('-', '')}`, received_at: '2026-06-20T00:00:00.000Z' }]);
  }
  assert.deepEqual(taken.map(({ event, userId, email, messageId, violations }) => [event, userId, email, messageId, violations]), examples.map(({ type, uid, email, idempotency_key }) => [type, uid ?? email, email ?? null, idempotency_key, []]));
  assert.equal(taken[2]?.properties, '{"status":"success","plan":"pro","amount":49.9,"upgrade":false}');
  const bulk = { events: [examples[1], examples[2]] };
  for (const path of ['/api/v1/client/events/bulk', '/api/v1/client/events']) {
    const answer = await post(path, bulk, bearer);
    assert.deepEqual([answer.status, answer.body], [200, { received: 2, accepted: 2, rejected: 0, errors: [] }], path);
  }
});

test('000: neither email nor uid, faulty names, times and types; addresses in one spelling; unplanned names are flagged', async () => {
  const { post, taken } = door();
  const signup = { email: 'a@b.c', type: 'signup' };
  const wrong: [Record<string, unknown>, string, string][] = [
    [{ email: undefined }, 'field_missing', '/email'], [{ email: '', uid: '' }, 'field_missing', '/email'], [{ type: undefined }, 'field_missing', '/type'], [{ type: 'Sign up' }, 'field_invalid', '/type'], [{ type: '1up' }, 'field_invalid', '/type'],
    [{ email: 'nobody' }, 'field_invalid', '/email'], [{ email: 'a b@c.d' }, 'field_invalid', '/email'], [{ uid: 7 }, 'field_invalid', '/uid'], [{ amount: '49.9' }, 'field_invalid', '/amount'], [{ upgrade: 'no' }, 'field_invalid', '/upgrade'],
    [{ metadata: [] }, 'field_invalid', '/metadata'], [{ plan: 1 }, 'field_invalid', '/plan'], [{ idempotency_key: '' }, 'field_invalid', '/idempotency_key'], [{ ts: 'yesterday' }, 'time_invalid', '/ts'], [{ ts: 1e300 }, 'time_invalid', '/ts'], [{ ts: true }, 'time_invalid', '/ts'],
  ];
  for (const [change, code, pointer] of wrong) assert.deepEqual((await post('/api/v1/client/events', { ...signup, ...change }, bearer)).refused, [400, code, pointer], JSON.stringify(change));
  assert.deepEqual((await post('/api/v1/client/events/bulk', signup, bearer)).refused.slice(0, 2), [400, 'batch_missing']);
  assert.equal(taken.length, 0);
  const times: [unknown, number][] = [['1999-01-01T00:00:00+01:00', Date.UTC(1998, 11, 31, 23)], [915_148_800, Date.UTC(1999, 0, 1)], [915_148_800_123, Date.UTC(1999, 0, 1) + 123], [915_148_800.5, Date.UTC(1999, 0, 1) + 500], [undefined, now]];
  for (const [ts, ms] of times) {
    await post('/api/v1/client/events', { ...signup, ts }, bearer);
    assert.equal(taken.at(-1)?.timestampMs, ms, String(ts));
  }
  await post('/api/v1/client/events', `{"uid":"u1","email":" Ada@Example.COM ","type":"first_win","amount":1.10,"metadata":{"a":12345678901234567890},"more":[1.0]}`, bearer);
  assert.deepEqual(taken.slice(-1).map(({ userId, email, event, properties, violations, messageId }) => [userId, email, event, properties, violations, messageId]), [
    ['u1', 'ada@example.com', 'first_win', '{"amount":1.10,"metadata":{"a":12345678901234567890},"more":[1.0]}', ['unplanned_event'], 'new-6'],
  ]);
});

/* --- SDK paths --- */

test('SDK paths: each call by its path, long and short, with and without a slash, whatever the content type', async () => {
  const { post, taken } = door();
  const calls = { track: 't', identify: 'i', page: 'p', screen: 's', group: 'g', alias: 'a' };
  for (const [type, short] of Object.entries(calls)) {
    for (const path of [`/v1/${type}`, `/v1/${short}`, `/v1/${type}/`, `//v1/${short}/`]) {
      const answer = await post(path, { userId: 7, anonymousId: null, event: 'E', groupId: 'g', previousId: 'p', messageId: path, writeKey: 'k', sequence: 1 }, { 'content-type': 'text/plain' });
      assert.deepEqual([answer.status, answer.body], [200, { success: true }], path);
    }
  }
  const sent = taken.length;
  for (const type of ['garbage', '', '/', 'a/b/c', 'image/png']) assert.equal((await post('/v1/page', { userId: 'u' }, { 'content-type': type, 'x-api-key': 'k' })).status, 200, type);
  assert.deepEqual(taken.slice(0, sent).map(({ type, userId }) => `${type} ${userId}`), Object.keys(calls).flatMap(type => Array<string>(4).fill(`${type} 7`)));
});

test('SDK batches: up to 2,500 events, never a 4xx for a mixed one, an envelope’s own fields tolerated', async () => {
  const { post, taken } = door();
  const page = { type: 'page', anonymousId: 'a', messageId: 'm' };
  for (const path of ['/v1/batch', '/v1/b', '/v1/import', '/v1/batch/']) {
    const envelope = { batch: [page, { type: 'nonsense', messageId: 'bad' }, 5], sentAt: '2026-06-20T00:00:00Z', messageId: 'of the envelope', timestamp: null, sequence: 3, userId: null, context: { library: { name: 'x' } }, writeKey: 'k' };
    const answer = await post(path, envelope, { 'content-type': 'application/x-www-form-urlencoded' });
    assert.deepEqual([answer.status, answer.body['success'], answer.body['accepted'], answer.body.errors?.map(({ index, code }) => [index, code])], [200, true, 1, [[1, 'type_unknown'], [2, 'not_an_object']]]);
  }
  assert.deepEqual(new Set(taken.map(({ messageId, context }) => `${messageId} ${String(context?.includes('"library":{"name":"x"}'))}`)), new Set(['m true']));
  assert.equal((await post('/v1/batch', { batch: Array(2_500).fill(page) })).body['accepted'], 2_500);
  assert.deepEqual((await post('/v1/batch', { batch: Array(2_501).fill(page) })).refused.slice(0, 2), [400, 'batch_too_large']);
});

test('SDK keys: in the body alone, wrong in the header though right in the body, none at all; a key’s types', async () => {
  const { post, taken } = door();
  const page = { type: 'page', userId: 'u' };
  assert.equal((await post('/v1/page', { ...page, writeKey: 'k' }, {})).status, 200);
  assert.equal((await post('/v1/page', { ...page, writeKey: 'k' }, { authorization: 'Basic d3Jvbmc6' })).status, 401);
  assert.equal((await post('/v1/page', { ...page, writeKey: 'wrong' }, {})).status, 401);
  assert.equal((await post('/v1/page', page, {})).status, 401);
  assert.equal((await post('/api/v1/events', { ...page, writeKey: 'k' }, {})).status, 401, 'not on the documented paths');
  assert.deepEqual((await post('/v1/track', { userId: 'u', event: 'E', writeKey: 'pages' }, {})).refused.slice(0, 2), [403, 'forbidden']);
  assert.equal(taken.length, 1);
});

test('browsers: a preflight of any path, CORS on every answer, the settings of the browser SDK', async () => {
  const { app } = door();
  const preflight = await app.inject({ method: 'OPTIONS', url: '/v1/batch', headers: { origin: 'https://shop.example', 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type, x-retry-count' } });
  assert.deepEqual([preflight.statusCode, preflight.headers['access-control-allow-origin'], preflight.headers['access-control-max-age']], [204, '*', '7200']);
  for (const header of ['authorization', 'content-type', 'x-api-key', 'x-write-key', 'x-retry-count']) assert.ok(String(preflight.headers['access-control-allow-headers']).includes(header), header);
  const refused = await app.inject({ method: 'POST', url: '/v1/batch', payload: '{}', headers: { origin: 'https://shop.example' } });
  assert.deepEqual([refused.statusCode, refused.headers['access-control-allow-origin'], String(refused.headers['access-control-expose-headers']).includes('Retry-After')], [401, '*', true]);
  const settings = await app.inject({ url: '/v1/projects/k/settings', headers: { host: 'in.example:8080' } });
  assert.equal(settings.statusCode, 200);
  assert.equal(settings.json<{ integrations: { 'Segment.io': { apiHost: string } } }>().integrations['Segment.io'].apiHost, 'in.example:8080/v1');
  const protocolOf = async (headers: Record<string, string>): Promise<string> =>
    (await app.inject({ url: '/v1/projects/k/settings', headers })).json<{ integrations: { 'Segment.io': { protocol: string } } }>().integrations['Segment.io'].protocol;
  assert.deepEqual([await protocolOf({}), await protocolOf({ 'x-forwarded-proto': 'https' })], ['http', 'https']);
  assert.equal((await app.inject('/v1/projects/unknown/settings')).statusCode, 404);
});

test('the dialects have names of their own, and no path twice without saying whose a body is', () => {
  assert.equal(new Set(dialects.map(({ name }) => name)).size, dialects.length);
  const routes = dialects.flatMap(({ routes: all }) => all).flatMap(route => route.paths.map(path => ({ path, decides: route.whenHas !== undefined })));
  for (const path of new Set(routes.map(route => route.path))) assert.ok(routes.filter(route => route.path === path && !route.decides).length <= 1, path);
});
