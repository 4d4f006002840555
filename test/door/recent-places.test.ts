import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRecentPlaces } from '../../src/door/recent-places.ts';
import type { CanonicalEvent } from '../../src/event/canonical.ts';
import { eventId } from '../../src/event/identity.ts';

const event = (messageId: string, tenant = 't', receivedAtMs = 1): CanonicalEvent => ({
  tenant, dialect: 'segment', messageId, type: 'page', event: null, userId: 'u', anonymousId: null, previousId: null, groupId: null, email: null, name: null, category: null,
  timestampMs: 1, sentAtMs: null, receivedAtMs, properties: null, traits: null, context: null, integrations: null, writeKeyId: 'k', violations: [], raw: null,
});
const at = (offset: bigint) => ({ ok: true, place: { topic: 'events', partition: 3, offset } }) as const;
const failed = { ok: false, retryable: true, message: 'no' } as const;

test('a place is known by its event’s id, to its tenant alone, as long as not too many came after it', async () => {
  const places = createRecentPlaces(4);
  places.note([event('a'), event('b', 't', 7), event('c')], [at(1n), at(2n ** 60n), failed]);
  assert.deepEqual(await places.find('t', eventId('t', 'b')), { place: { topic: 'events', partition: 3, offset: 2n ** 60n }, receivedAtMs: 7 });
  assert.deepEqual([await places.find('other', eventId('t', 'b')), await places.find('t', eventId('t', 'c'))], [null, null]);
  // Published again, as after an answer that was lost.
  places.note([event('b')], [at(9n)]);
  assert.equal((await places.find('t', eventId('t', 'b')))?.place.offset, 9n);
  places.note([event('d'), event('e'), event('f')], [at(10n), at(11n), at(12n)]);
  assert.deepEqual(await Promise.all(['a', 'b', 'd', 'f'].map(async id => (await places.find('t', eventId('t', id)))?.place.offset ?? null)), [null, 9n, 10n, 12n]);
  for (let n = 0; n < 50; n++) {
    places.note([event(`n${n}`)], [at(BigInt(n))]);
    if (n % 7 === 0) assert.equal((await places.find('t', eventId('t', `n${n}`)))?.place.offset, BigInt(n));
  }
  assert.deepEqual(await Promise.all([45, 46, 49].map(async n => (await places.find('t', eventId('t', `n${n}`)))?.place.offset ?? null)), [null, 46n, 49n]);
});

test('many at once are indexed without holding up the process, and those who ask meanwhile get the same', async () => {
  const places = createRecentPlaces(20_000);
  const many = Array.from({ length: 30_000 }, (_, n) => event(`m${n}`));
  places.note(many, many.map((_, n) => at(BigInt(n))));
  let turns = 0;
  const turn = (): void => void (turns++ < 1_000 && setImmediate(turn));
  setImmediate(turn);
  assert.equal((await places.find('t', eventId('t', 'm10000')))?.place.offset, 10_000n);
  assert.ok(turns >= 4, `${turns}`);
  places.note(many.slice(0, 9_000), many.slice(0, 9_000).map((_, n) => at(BigInt(n))));
  const found = await Promise.all([18_999, 19_000, 8_999].map(n => places.find('t', eventId('t', `m${n}`))));
  assert.deepEqual(found.map(each => each?.place.offset ?? null), [null, 19_000n, 8_999n]);
});
