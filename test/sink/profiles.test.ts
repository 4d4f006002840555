import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import type { CanonicalEvent } from '../../src/event/canonical.ts';
import { feedFrom } from '../../src/sink/profile-feed.ts';
import { rebuildProfiles, rebuildSomeProfiles } from '../../src/sink/rebuild-profiles.ts';
import { inventHistory, randomFrom, shuffled } from '../helpers/profile-history.ts';
import { modelOf } from '../helpers/profile-model.ts';
import type { Model, Profile } from '../helpers/profile-model.ts';
import { anEvent, startProfileStore } from '../helpers/profile-store.ts';
import type { ProfileStore } from '../helpers/profile-store.ts';
import { testLog } from '../helpers/shared-stack.ts';

let profiles: ProfileStore;
before(async () => {
  profiles = await startProfileStore();
});
after(() => profiles.close());

/** Each test has its ids to itself, by a tenant of its own. */
let tenants = 0;
let tenant = 't0';
afterEach(() => {
  tenant = `t${++tenants}`;
});
const of = (part: Parameters<typeof anEvent>[0]): CanonicalEvent => anEvent({ tenant, ...part });
const store = async (...parts: Parameters<typeof anEvent>[0][]): Promise<void> => profiles.store(parts.map(of));
const user = async (id: string): Promise<Partial<Profile> | undefined> => {
  const rows = await profiles.clickhouse.rows(`SELECT toString(traits), anonymous_ids, emails, events, toUnixTimestamp64Milli(first_seen), toUnixTimestamp64Milli(last_seen) FROM users WHERE tenant = {tenant: String} AND user_id = {id: String} SETTINGS output_format_json_quote_64bit_integers = 0`, { tenant, id });
  assert.ok(rows.length <= 1, `${rows.length} rows for ${id}`);
  return rows.map(([traits, anonymous, emails, events]) => ({ traits: JSON.parse(String(traits)) as Record<string, unknown>, anonymous_ids: anonymous as string[], emails: emails as string[], events: Number(events) }))[0];
};
const userIds = async (): Promise<unknown[]> => (await profiles.clickhouse.rows('SELECT user_id FROM users WHERE tenant = {tenant: String} ORDER BY user_id', { tenant })).flat();
const identify = (at: number, ids: Partial<CanonicalEvent>, traits?: string): Parameters<typeof anEvent>[0] => ({ at, type: 'identify', ...ids, traits: traits ?? null });

function sorted(model: Model): Model {
  const by = <T>(rows: T[], ...keys: (keyof T)[]): T[] => [...rows].sort((a, b) => (JSON.stringify(keys.map(key => a[key])) < JSON.stringify(keys.map(key => b[key])) ? -1 : 1));
  return {
    users: by(model.users, 'tenant', 'user_id', 'first_seen'),
    groups: by(model.groups, 'tenant', 'group_id'),
    groupMembers: by(model.groupMembers, 'tenant', 'group_id', 'user_id', 'first_seen'),
    links: by(model.links, 'tenant', 'kind', 'from_id', 'user_id'),
  };
}

test('traits merge by the time of the event, at the top level, and null removes', async () => {
  await store(identify(3, { userId: 'u' }, '{"plan":"pro","company":{"id":"b"},"gone":null,"kept":1}'));
  await store(identify(1, { userId: 'u' }, '{"plan":"free","company":{"id":"a","size":5},"gone":1,"old":"o"}'));
  assert.deepEqual((await user('u'))?.traits, { plan: 'pro', company: { id: 'b' }, kept: 1, old: 'o' });
  await store(identify(4, { userId: 'u' }, '{"gone":"back","kept":null}'), identify(2, { userId: 'u' }, '{"kept":2,"old":null}'));
  assert.deepEqual((await user('u'))?.traits, { plan: 'pro', company: { id: 'b' }, gone: 'back' });
  assert.deepEqual(await profiles.clickhouse.rows('SELECT traits.plan, traits.company.id FROM users WHERE tenant = {tenant: String}', { tenant }), [['pro', 'b']]);
});

test('a link of an event that was not stored is not taken for settled when it comes', async () => {
  await store({ type: 'identify', messageId: `${tenant}-taken`, anonymousId: 'a', userId: 'one' }, { type: 'alias', previousId: 'one', userId: 'two' });
  await store({ type: 'alias', messageId: `${tenant}-taken`, previousId: 'two', userId: 'three', at: 1 });
  await store({ type: 'alias', previousId: 'two', userId: 'three', at: 2 });
  assert.deepEqual(await userIds(), ['three']);
});

test('of identifies at the same moment the one that came later wins', async () => {
  await store(identify(1, { userId: 'u' }, '{"n":1}'), identify(1, { userId: 'u' }, '{"n":2}'), identify(1, { userId: 'u' }, '{"n":3}'));
  assert.deepEqual((await user('u'))?.traits, { n: 3 });
});

test('traits of any text can be read: odd names, what no JSON column holds, dates, the same path twice', async () => {
  await store(
    identify(1, { userId: 'u' }, '{"huge":1,"a.b":1,"":5,"q\\"\\n":"\\u0000","date":"2024-01-15","many":[true,1,"x"],"half":"h"}'),
    identify(2, { userId: 'u' }, '{"huge":12345678901234567890123,"a":{"b":2},"half":"\\ud800","e":1e400,"__proto__":{"x":1}}'),
  );
  const rows = await profiles.clickhouse.rows('SELECT toString(traits) FROM users WHERE tenant = {tenant: String} SETTINGS output_format_json_quote_64bit_integers = 0', { tenant });
  const traits = JSON.parse(String(rows[0]?.[0])) as Record<string, unknown>;
  assert.deepEqual([traits['date'], traits['many'], traits['q"\n'], traits['huge'], traits['half'], traits['e']], ['2024-01-15', [true, 1, 'x'], '\0', undefined, undefined, undefined]);
  assert.ok(JSON.stringify(traits).includes('"b":'));
});

test('an anonymous profile joins its user, whatever comes first', async () => {
  await store({ anonymousId: 'a', at: 1 }, identify(2, { anonymousId: 'a' }, '{"plan":"free","from":"anonymous"}'));
  assert.deepEqual(await user('a'), { traits: { plan: 'free', from: 'anonymous' }, anonymous_ids: ['a'], emails: [], events: 2 });
  await store(identify(3, { anonymousId: 'a', userId: 'u' }, '{"plan":"pro"}'));
  assert.equal(await user('a'), undefined);
  assert.deepEqual(await user('u'), { traits: { plan: 'pro', from: 'anonymous' }, anonymous_ids: ['a'], emails: [], events: 3 });
  await store({ anonymousId: 'a', at: 4 }, identify(0, { anonymousId: 'b', userId: 'u' }), { anonymousId: 'b', at: 1 });
  assert.deepEqual(await user('u'), { traits: { plan: 'pro', from: 'anonymous' }, anonymous_ids: ['a', 'b'], emails: [], events: 6 });
  assert.deepEqual(await userIds(), ['u']);
});

test('a track event with both ids is the user’s, and links nothing', async () => {
  await store({ anonymousId: 'a', at: 1 }, { anonymousId: 'a', userId: 'u', at: 2 });
  assert.deepEqual(await userIds(), ['a', 'u']);
});

test('an anonymous id and a user of the same name are two', async () => {
  await store({ anonymousId: 'x', at: 1 }, { userId: 'x', at: 1 }, identify(2, { anonymousId: 'x', userId: 'u' }));
  assert.deepEqual([(await user('x'))?.events, (await user('u'))?.events], [1, 2]);
});

test('an anonymous id seen with two users belongs to whom it was linked with first', async () => {
  await store({ anonymousId: 'a', at: 1 }, identify(5, { anonymousId: 'a', userId: 'late' }));
  assert.deepEqual((await user('late'))?.anonymous_ids, ['a']);
  await store(identify(3, { anonymousId: 'a', userId: 'early' }));
  assert.deepEqual([(await user('late'))?.anonymous_ids, (await user('early'))?.anonymous_ids, (await user('early'))?.events], [[], ['a'], 2]);
  const links = await profiles.clickhouse.rows('SELECT kind, from_id, user_id, toUnixTimestamp(at) - 1767225600 FROM identity_links WHERE tenant = {tenant: String} ORDER BY at', { tenant });
  assert.deepEqual(links.map(row => row.map(String)), [['anonymous', 'a', 'early', '3'], ['anonymous', 'a', 'late', '5']]);
});

test('an e-mail address joins the uid that it came with, also over an anonymous id', async () => {
  await store({ email: ' Buyer@Example.com', at: 1 }, identify(1, { anonymousId: 'a', userId: 'buyer@example.com' }, '{"email":"Second@example.com"}'), { anonymousId: 'a', at: 2 });
  assert.equal((await user('buyer@example.com'))?.events, 3);
  await store({ email: 'buyer@example.com', userId: 'usr_1', at: 9 });
  assert.deepEqual(await user('usr_1'), { traits: { email: 'Second@example.com' }, anonymous_ids: ['a'], emails: ['buyer@example.com', 'second@example.com'], events: 4 });
  assert.deepEqual(await userIds(), ['usr_1']);
});

test('alias renames, in chains of any order and length, and a circle ends where it was closed last', async () => {
  const rename = (at: number, from: string, to: string): Parameters<typeof anEvent>[0] => ({ at, type: 'alias', previousId: from, userId: to });
  await store({ userId: 'n0', at: 1 }, { anonymousId: 'old', at: 1 });
  for (const step of [4, 1, 3, 6, 2, 5]) await store(rename(step, `n${step - 1}`, `n${step}`));
  await store(rename(9, 'old', 'n0'));
  assert.deepEqual(await userIds(), ['n6']);
  assert.deepEqual([(await user('n6'))?.events, (await user('n6'))?.anonymous_ids], [9, ['old']]);
  await store(rename(20, 'n6', 'n2'));
  assert.deepEqual([await userIds(), (await user('n6'))?.events], [['n6'], 10]);
  await store(rename(2.5, 'n6', 'n2'));
  assert.deepEqual([await userIds(), (await user('n5'))?.events], [['n5'], 11]);
});

test('groups: traits merge, a user is in many, and a linked id counts to its user', async () => {
  const join = (at: number, groupId: string, ids: Partial<CanonicalEvent>, traits: string | null = null): Parameters<typeof anEvent>[0] => ({ at, type: 'group', groupId, ...ids, traits });
  await store(join(1, 'g1', { userId: 'u' }, '{"name":"Acme","size":1}'), join(3, 'g1', { userId: 'v' }, '{"name":null,"size":2}'), join(2, 'g1', { anonymousId: 'a' }, '{"name":"Late"}'), join(2, 'g2', { userId: 'u' }));
  const groups = async (): Promise<unknown> => (await profiles.clickhouse.rows('SELECT group_id, toString(traits), members FROM groups WHERE tenant = {tenant: String} ORDER BY group_id SETTINGS output_format_json_quote_64bit_integers = 0', { tenant })).map(([id, traits, members]) => [id, JSON.parse(String(traits)) as unknown, Number(members)]);
  assert.deepEqual(await groups(), [['g1', { size: 2 }, 3], ['g2', {}, 1]]);
  await store(identify(9, { anonymousId: 'a', userId: 'u' }));
  assert.deepEqual(await groups(), [['g1', { size: 2 }, 2], ['g2', {}, 1]]);
  const members = await profiles.clickhouse.rows('SELECT group_id, user_id, toUnixTimestamp(first_seen) % 60, toUnixTimestamp(last_seen) % 60 FROM group_members WHERE tenant = {tenant: String} ORDER BY group_id, user_id', { tenant });
  assert.deepEqual(members.map(row => row.map(String)), [['g1', 'u', '1', '2'], ['g1', 'v', '3', '3'], ['g2', 'u', '2', '2']]);
  assert.deepEqual((await user('u'))?.traits, {});
});

test('events that are stored without their profile get it on the replay', async () => {
  const events = [of({ anonymousId: 'a', at: 1 }), of(identify(2, { anonymousId: 'a', userId: 'u' }, '{"x":1}')), of({ type: 'alias', previousId: 'u', userId: 'w', at: 3 })];
  await profiles.store(events, { partition: 7, offset: 100 });
  const before = await user('w');
  assert.equal(before?.events, 3);
  for (const table of ['profile_facts', 'profile_members']) await profiles.clickhouse.command(`DELETE FROM ${table} WHERE ${table === 'profile_members' ? `tenant = '${tenant}'` : `startsWith(node, '${tenant}\\0')`}`);
  assert.equal(await user('w'), undefined);
  await profiles.store(events, { partition: 7, offset: 100, replay: true });
  assert.deepEqual(await user('w'), before);
});

test('a link comes again after its row was taken away, and its profile made anew', async () => {
  const link = { type: 'alias', previousId: 'u', userId: 'w', at: 4 } as const;
  await store(identify(1, { userId: 'u', anonymousId: 'a' }), { anonymousId: 'a', at: 2 }, { ...link, messageId: 'gone' });
  assert.deepEqual(await userIds(), ['w']);
  await profiles.clickhouse.command(`DELETE FROM events WHERE tenant = '${tenant}' AND message_id = 'gone'`);
  await rebuildSomeProfiles({ clickhouse: profiles.clickhouse, tenant, ids: ['u', 'w'] });
  assert.deepEqual(await userIds(), ['u']);
  await store({ ...link, messageId: 'genuine' });
  assert.deepEqual([await userIds(), (await user('w'))?.events], [['w'], 3]);
});

test('feeding reads what was stored lately, though a partition is far ahead of the others', async () => {
  const own = await startProfileStore();
  try {
    // Partition 5 has half of all, so the others' offsets lie within each of its granules; stored over five hours.
    await own.clickhouse.command(`INSERT INTO events (tenant, event_id, type, event, user_id, timestamp, received_at, stored_at, topic, partition, offset)
      SELECT 't', generateUUIDv4(number), 'track', 'e', 'u', now64(3) - toIntervalMillisecond(at), now64(3), now64(3) - toIntervalMillisecond(at), 'e', number % 2 = 0 ? 5 : intDiv(number, 2) % 5, number % 2 = 0 ? intDiv(number, 2) : intDiv(number, 10)
      FROM (SELECT number, (200000 - number) * 90 AS at FROM numbers(200000)) SETTINGS insert_deduplicate = 0`);
    const statements: string[] = [];
    const feed = feedFrom({ ...own.clickhouse, command: async (statement, signal) => { statements.push(statement); await own.clickhouse.command(statement, signal); } });
    const lately = Array.from({ length: 6 }, (_none, partition) => ({ topic: 'e', partition, first: partition === 5 ? 99_980n : 19_980n, last: 200_000n, storedWithinMs: 600_000 }));
    await feed(lately, new AbortController().signal);
    const select = statements.find(statement => statement.includes('INSERT INTO profile_feed'))?.replace(/^[\s\S]*?(?=SELECT tenant)/, '').replace(/SETTINGS [\s\S]*$/, '');
    const [estimate] = await own.clickhouse.rows(`EXPLAIN ESTIMATE ${select}`);
    assert.ok(Number(estimate?.[4]) <= 3, `${String(estimate?.[4])} granules of 25 are read`);
    assert.deepEqual((await own.clickhouse.rows(`SELECT toUInt32(events) FROM users WHERE tenant = 't' AND user_id = 'u'`)).flat(), [20 + 5 * 20]);
  } finally {
    await own.close();
  }
});

test('after rows were deleted, the profiles of their ids are made anew', async () => {
  await store({ userId: 'u', at: 1 }, identify(2, { userId: 'u', anonymousId: 'a' }, '{"x":1}'), { anonymousId: 'a', at: 3 }, { ...of({ type: 'alias', previousId: 'u', userId: 'w', at: 4 }), messageId: 'doomed' }, identify(5, { userId: 'u' }, '{"x":2}'));
  assert.deepEqual(await userIds(), ['w']);
  await profiles.clickhouse.command(`DELETE FROM events WHERE tenant = '${tenant}' AND (message_id = 'doomed' OR timestamp = '2026-01-01 00:00:05')`);
  await rebuildSomeProfiles({ clickhouse: profiles.clickhouse, tenant, ids: ['u', 'w'] });
  assert.deepEqual(await userIds(), ['u']);
  assert.deepEqual(await user('u'), { traits: { x: 1 }, anonymous_ids: ['a'], emails: [], events: 3 });
});

test('2,000 users in any order, with duplicates, from three partitions at once: as a plain calculation has it, and so after a rebuild', async t => {
  const own = await startProfileStore();
  try {
    const seed = Number(process.env['MILLRACE_TEST_SEED'] ?? Date.now() % 1_000_000);
    t.diagnostic(`seed ${seed}`);
    const random = randomFrom(seed);
    const history = inventHistory(2_000, random);
    const arriving = shuffled(history, random, 10);
    const batches: CanonicalEvent[][] = [];
    for (let index = 0; index < arriving.length; ) {
      const size = 1 + random(6_000);
      batches.push(arriving.slice(index, index + size));
      index += size;
    }
    for (let index = 0; index < batches.length; index += 3) {
      await Promise.all(batches.slice(index, index + 3).map((batch, partition) => own.store(batch, { partition })));
    }
    const expected = sorted(modelOf(history));
    assert.ok(expected.users.some(({ anonymous_ids: ids, emails }) => ids.length > 2 && emails.length > 0) && expected.links.some(({ kind }) => kind === 'alias'));
    assert.deepEqual(sorted(await own.read()), expected, `seed ${seed}`);
    await rebuildProfiles({ clickhouse: own.clickhouse, log: testLog() });
    assert.deepEqual(sorted(await own.read()), expected, `seed ${seed}, rebuilt over what was there`);
    await rebuildProfiles({ clickhouse: own.clickhouse, log: testLog(), fromScratch: true });
    assert.deepEqual(sorted(await own.read()), expected, `seed ${seed}, rebuilt from nothing`);
  } finally {
    await own.close();
  }
});
