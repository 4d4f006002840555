import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Accepted } from '../../src/door/accept.ts';
import { createKnown } from '../../src/door/known.ts';
import type { FindStored } from '../../src/door/known.ts';
import { createRecentIds } from '../../src/door/recent-ids.ts';
import { contentHash } from '../../src/event/content.ts';
import { eventId } from '../../src/event/identity.ts';
import type { CanonicalEvent } from '../../src/event/canonical.ts';
import { testLog } from '../helpers/shared-stack.ts';

const event = (messageId: string, properties = '{"a":1}'): CanonicalEvent => ({
  tenant: 't', dialect: 'intake', messageId, type: 'track', event: 'E', userId: 'u', anonymousId: null, previousId: null, groupId: null, email: null, name: null, category: null,
  timestampMs: 1, sentAtMs: null, receivedAtMs: 2, properties, traits: null, context: null, integrations: null, writeKeyId: 'k', violations: [], raw: null,
});
const good = async (): Promise<Accepted> => ({ ok: true });
const bad = async (): Promise<Accepted> => ({ ok: false, retryable: true, message: 'no' });
const known = (findStored: FindStored | null = null, maxRecent = 10) => createKnown({ recent: createRecentIds(maxRecent), findStored, gatherMs: 1, log: testLog() });

test('what could not be published is not known; whoever waited for it tries it', async () => {
  const asked = known();
  assert.deepEqual(await asked.once(event('m'), bad), { kind: 'published', result: await bad() });
  let release: () => void = () => undefined;
  const held = new Promise<void>(resolve => (release = resolve));
  const first = asked.once(event('m'), () => held.then(bad));
  const second = asked.once(event('m'), good);
  release();
  assert.deepEqual([(await first).kind, (await second).kind], ['published', 'published']);
  assert.deepEqual([await asked.once(event('m'), good), await asked.once(event('m', '{"a":2}'), good)], [{ kind: 'same' }, { kind: 'other' }]);
  await assert.rejects(asked.once(event('thrown'), () => Promise.reject(new Error('a bug'))), /a bug/);
  assert.equal((await asked.once(event('thrown'), good)).kind, 'published');
});

test('ClickHouse is asked once for many, and where it does not answer the event is published', async () => {
  const questions: string[][] = [];
  const stored = new Map([[eventId('t', 'old'), contentHash(event('old'))], [eventId('t', 'older'), '0']]);
  const asked = known(async ids => {
    questions.push([...ids]);
    if (ids.includes(eventId('t', 'fails'))) throw new Error('ClickHouse is away');
    return stored;
  });
  const answers = await Promise.all([event('old'), event('older', '{"b":1}'), event('new')].map(each => asked.once(each, good)));
  assert.deepEqual(answers.map(({ kind }) => kind), ['same', 'same', 'published']);
  assert.equal((await asked.once(event('old', '{"a":3}'), good)).kind, 'other');
  assert.deepEqual(questions.map(ids => ids.length), [3]);
  assert.equal((await asked.once(event('fails'), good)).kind, 'published');
});

test('only so many are remembered', async () => {
  const asked = known(null, 3);
  for (let n = 0; n < 5; n++) await asked.once(event(`m${n}`), good);
  assert.deepEqual([(await asked.once(event('m4'), good)).kind, (await asked.once(event('m0'), good)).kind], ['same', 'published']);
});
