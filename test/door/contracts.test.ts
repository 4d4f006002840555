import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createContracts } from '../../src/contract/contracts.ts';
import type { ContractEntry } from '../../src/contract/contracts.ts';
import type { Accepted } from '../../src/door/accept.ts';
import { createKeyRing } from '../../src/door/keys.ts';
import { lettersOfKey } from '../../src/door/letters.ts';
import { createDoor } from '../helpers/described-door.ts';
import type { CanonicalEvent, Violation } from '../../src/event/canonical.ts';
import type { DeadLetter } from '../../src/event/dead-letter.ts';
import { eventId } from '../../src/event/identity.ts';
import { testLog } from '../helpers/shared-stack.ts';
import { writeKey } from '../helpers/write-key.ts';

/* What a broken contract makes of an event, by action, alone and in a batch, in each dialect. What contracts find is in test/contract. */

const now = Date.parse('2026-06-20T00:00:00Z');
const schema = JSON.stringify({ type: 'object', required: ['total'], properties: { total: { type: 'number' }, 'a/b': { type: 'string' } }, additionalProperties: true });
const all: ContractEntry[] = [
  { tenant: 'acme', type: 'track', event: 'strict', version: 1, schema, onViolation: 'reject' },
  { tenant: 'acme', type: 'track', event: 'aside', version: 2, schema, onViolation: 'dead_letter' },
  { tenant: 'acme', type: 'track', event: 'loose', version: 3, schema, onViolation: 'flag' },
  { tenant: 'acme', type: 'identify', version: 4, schema: JSON.stringify({ required: ['plan'] }), onViolation: 'reject' },
  { tenant: 'acme', type: 'page', event: '*', onViolation: 'flag' },
];

interface Answer { code?: string; message?: string; accepted?: number; rejected?: number; errors?: ({ index: number; code: string; message: string; pointer?: string; message_id?: string; violations?: Violation[] })[]; error?: { details?: unknown } }

function door(entries = all, keptAs: () => Accepted = () => ({ ok: true })) {
  const taken: CanonicalEvent[] = [];
  const buried: DeadLetter[] = [];
  const aside: DeadLetter[] = [];
  let current = createContracts(entries);
  let ids = 0;
  const app = createDoor({
    log: testLog(), overloaded: () => false, readiness: async () => ({ ready: true, parts: {} }), now: () => now, monotonicNow: () => 0, newMessageId: () => `new-${++ids}`,
    keys: createKeyRing([writeKey('web', 'acme', 'k')]),
    contracts: { current: () => current },
    accept: async events => {
      taken.push(...events);
      return events.map(() => ({ ok: true }) as const);
    },
    setAside: async letters => {
      aside.push(...letters);
      return letters.map(keptAs);
    },
    bury: async letters => void buried.push(...letters),
  });
  const post = async (url: string, payload: object) => {
    const response = await app.inject({ method: 'POST', url, payload, headers: { 'x-api-key': 'k', authorization: 'Bearer k', 'content-type': 'application/json' } });
    return { status: response.statusCode, body: response.json<Answer>(), text: response.body };
  };
  return { post, taken, buried, aside, replace: (next: ContractEntry[]) => void (current = createContracts(next)) };
}

const wrong = { total: '1', 'a/b': 2 };
const violations: Violation[] = [{ kind: 'type_mismatch', pointer: '/properties/total', message: 'must be number' }, { kind: 'type_mismatch', pointer: '/properties/a~1b', message: 'must be string' }];
const track = (event: string, messageId: string, properties: object = wrong): object => ({ type: 'track', userId: 'u', event, messageId, properties });
const whisperr = (event_type: string, id: string): object => ({ external_user_id: 'u', event_type, properties: wrong, context: { $message_id: id } });
const intake = (event_type: string, idempotency_key: string): object => ({ event_type, occurred_at: '2026-06-14T12:00:00Z', idempotency_key, data: wrong });
const mailerpath = (type: string, idempotency_key: string): object => ({ type, uid: 'u', idempotency_key, ...wrong });
/** Where one event is sent, and one of that name and message id. */
const singles: [string, string, (event: string, id: string) => object][] = [
  ['segment', '/api/v1/events', track], ['segment', '/v1/track', track], ['whisperr', '/v1/events/track', whisperr], ['intake', '/v1/events', intake], ['mailerpath', '/api/v1/client/events', mailerpath],
];
const batches: [string, string, string, (event: string, id: string) => object][] = [
  ['segment', '/api/v1/events/batch', 'batch', track], ['segment', '/v1/batch', 'batch', track], ['whisperr', '/v1/events/batch', 'events', whisperr], ['mailerpath', '/api/v1/client/events/bulk', 'events', mailerpath],
];
/** What mailerpath says of every name here. */
const unplanned = (dialect: string): Violation[] => (dialect === 'mailerpath' ? [{ kind: 'unplanned_event', pointer: '/event', message: 'none of signup, purchase, core_activity, feature_used, support_ticket, cart, re_engagement, referral' }] : []);

for (const [dialect, path, make] of singles) {
  test(`${path}: reject is 422 with every violation, and a dead letter; dead_letter is answered as accepted; flag is an event`, async () => {
    const { post, taken, buried, aside } = door();
    const refused = await post(path, make('strict', 'm-1'));
    assert.deepEqual([refused.status, refused.body.code, refused.body.message], [422, 'contract_violation', '/properties/total must be number; /properties/a~1b must be string']);
    assert.deepEqual(refused.body.error?.details, violations);
    assert.equal(taken.length, 0);
    const [letter] = buried;
    assert.deepEqual([buried.length, letter?.code, letter?.tenant, letter?.writeKeyId, letter?.messageId, letter?.payload.toString()], [1, 'contract_violation', 'acme', 'web', 'm-1', JSON.stringify(make('strict', 'm-1'))]);
    assert.deepEqual(letter?.judged, { version: 1, action: 'reject', violations: [...unplanned(dialect), ...violations], eventId: eventId('acme', 'm-1'), type: 'track', event: 'strict' });
    assert.deepEqual(letter.origin?.headers.map(([name, value]) => `${name}: ${value?.toString()}`), ['tenant: acme', `dialect: ${dialect}`, `sent-to: ${path}`, 'write-key-id: web']);

    const kept = await post(path, make('aside', 'm-2'));
    const sound = await post(path, make('none_is_for_this', 'm-2b'));
    assert.equal(kept.status, sound.status);
    assert.deepEqual([taken.length, aside.length, aside[0]?.judged?.action, aside[0]?.judged?.version, aside[0]?.messageId], [1, 1, 'dead_letter', 2, 'm-2']);

    assert.equal((await post(path, make('loose', 'm-3'))).status, sound.status);
    const flagged = taken.at(-1);
    assert.deepEqual(flagged?.judged, { version: 3, action: 'flag', violations: [...unplanned(dialect), ...violations] });
    assert.deepEqual(flagged?.violations, [...unplanned(dialect).map(({ kind }) => kind), 'type_mismatch:/properties/total', 'type_mismatch:/properties/a~1b']);
    assert.deepEqual([taken.length, buried.length, aside.length], [2, 1, 1]);
  });
}

for (const [dialect, path, member, make] of batches) {
  test(`${path}: in a batch the event's error, its neighbours go through`, async () => {
    const { post, taken, buried, aside } = door();
    const { status, body } = await post(path, { [member]: [make('strict', 'b-0'), make('aside', 'b-1'), make('loose', 'b-2'), make('other', 'b-3'), make('strict', 'b-4')] });
    assert.deepEqual([status, body.accepted, body.rejected], [dialect === 'whisperr' ? 202 : 200, 3, 2]);
    assert.deepEqual(body.errors, [0, 4].map(index => ({ index, code: 'contract_violation', message: '/properties/total must be number; /properties/a~1b must be string', message_id: `b-${index}`, pointer: '/properties/total', violations })));
    assert.deepEqual([taken.map(({ messageId }) => messageId), buried.map(({ messageId }) => messageId), aside.map(({ messageId }) => messageId)], [['b-2', 'b-3'], ['b-0', 'b-4'], ['b-1']]);
  });
}

test('what is accepted and kept aside is as durable as an event: 503 where Kafka does not have it, and listed in a batch', async () => {
  const { post, taken } = door(all, () => ({ ok: false, retryable: true, message: 'Kafka did not acknowledge' }));
  for (const [, path, make] of singles) assert.deepEqual((await post(path, make('aside', `d-${path}`))).body.code, 'unavailable', path);
  const { status, body } = await post('/api/v1/events/batch', { batch: [track('aside', 'd-1'), track('loose', 'd-2')] });
  assert.deepEqual([status, body.accepted, body.errors?.map(({ index, code, message_id }) => [index, code, message_id])], [200, 1, [[0, 'unavailable', 'd-1']]]);
  assert.equal((await post('/api/v1/events/batch', { batch: [track('aside', 'd-3')] })).status, 503);
  assert.deepEqual(taken.map(({ messageId }) => messageId), ['d-2']);
});

test('traits of identify; a page without a contract; batch defaults count', async () => {
  const { post, taken, buried } = door();
  assert.equal((await post('/v1/identify', { external_user_id: 'u', traits: {} })).status, 422);
  assert.equal((await post('/v1/identify', { userId: 'u', context: { traits: { plan: 'pro' } } })).status, 200);
  assert.equal((await post('/v1/identify', { userId: 'u', traits: { a: 1 } })).status, 422);
  assert.equal((await post('/api/v1/events', { type: 'page', userId: 'u', name: 'Home' })).status, 200);
  assert.deepEqual(taken.at(-1)?.judged, { version: 0, action: 'flag', violations: [{ kind: 'unplanned_event', pointer: '/name', message: 'no contract is for page "Home"' }] });
  await post('/v1/batch', { batch: [{ type: 'identify', userId: 'u', messageId: 'x' }], context: { locale: 'de' } });
  assert.match(buried.at(-1)?.payload.toString() ?? '', /"locale":"de"/);
});

test('letters: one for the same event, another for another version; those of a key are limited, those that were accepted are not', async () => {
  const { post, buried, aside, replace } = door();
  for (let round = 0; round < 2; round++) await post('/api/v1/events', track('strict', 'same'));
  replace(all.map(entry => ({ ...entry, ...(entry.version !== undefined && { version: entry.version + 10 }) })));
  await post('/api/v1/events', track('strict', 'same'));
  assert.deepEqual([new Set(buried.slice(0, 2).map(({ id }) => id)).size, new Set(buried.map(({ id }) => id)).size], [1, 2]);
  // Two events of the same text, which only their ids tell apart, are two letters: both were accepted.
  const anonymous = { type: 'track', userId: 'u', event: 'aside', properties: wrong };
  await post('/api/v1/events/batch', { batch: [anonymous, anonymous] });
  await post('/api/v1/events/batch', { batch: [track('aside', 'again'), track('aside', 'again')] });
  assert.equal(new Set(aside.map(({ id }) => id)).size, 3);
  for (let sent = 0; sent < 6; sent++) await post('/api/v1/events/batch', { batch: Array.from({ length: 500 }, (_none, index) => track(index % 2 === 0 ? 'strict' : 'aside', `${sent}-${index}`)) });
  assert.deepEqual([buried.length, aside.length], [lettersOfKey.burst, 4 + 1_500]);
});

test('a request has the contracts of one moment, and an answer names a bounded number of violations', async () => {
  const { post, replace } = door([{ tenant: 'acme', type: 'track', event: 'wide', version: 1, schema: '{"properties":{"list":{"items":{"type":"string"}}}}', onViolation: 'reject' }]);
  const { body, text } = await post('/api/v1/events/batch', { batch: Array.from({ length: 500 }, (_none, index) => track('wide', `w-${index}`, { list: Array(200).fill(1) })) });
  assert.equal(body.rejected, 500);
  assert.equal(body.errors?.reduce((sum, error) => sum + (error.violations?.length ?? 0), 0), 1_000);
  assert.match(body.errors?.at(-1)?.message ?? '', /and 95 more$/);
  assert.ok(text.length < 500_000);
  replace([]);
  assert.equal((await post('/api/v1/events', track('wide', 'free', { list: [1] }))).status, 200);
});

test('a retry of what was kept aside says so, and is not kept again', async () => {
  const { post, aside } = door();
  assert.equal((await post('/v1/events', intake('aside', 'once'))).status, 200);
  const again = await post('/v1/events', intake('aside', 'once'));
  assert.match(again.text, /"deduplicated":true/);
  assert.equal((await post('/v1/events', { ...intake('aside', 'once'), data: { ...wrong, more: 1 } })).body.code, 'idempotency_conflict');
  assert.equal(aside.length, 1);
});
