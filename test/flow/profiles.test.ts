import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../helpers/eventually.ts';
import { freshConfig } from '../helpers/shared-stack.ts';
import { startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';

let system: System;
before(async () => {
  system = await startSystem(freshConfig());
});
after(() => system.close());

test('what a browser and a server send becomes one user, with groups; sent twice it is the same', async () => {
  const at = (second: number): string => `2025-03-15T14:30:0${second}Z`;
  const batch = [
    { type: 'page', anonymousId: 'anon_1', name: 'Pricing', messageId: '1', timestamp: at(1) },
    { type: 'identify', anonymousId: 'anon_1', messageId: '2', timestamp: at(2), context: { traits: { plan: 'trial', referrer: 'search' } } },
    { type: 'identify', anonymousId: 'anon_1', userId: 'user_123', messageId: '3', timestamp: at(4), traits: { email: 'jane@example.com', plan: 'enterprise', company: { id: 'comp_456', size: 250 }, tags: ['vip'] } },
    { type: 'identify', userId: 'user_123', messageId: '4', timestamp: at(3), traits: { plan: 'pro', name: 'Jane' } },
    { type: 'identify', userId: 'user_123', messageId: '5', timestamp: at(5), traits: { referrer: null, company: { id: 'comp_789' } } },
    { type: 'group', userId: 'user_123', groupId: 'comp_456', messageId: '6', timestamp: at(6), traits: { name: 'Acme Corp', mrr: 15000 } },
    { type: 'group', userId: 'user_123', groupId: 'comp_789', messageId: '7', timestamp: at(7) },
    { type: 'alias', userId: 'user_9', previousId: 'user_123', messageId: '8', timestamp: at(8) },
  ];
  for (const sent of [batch, [...batch].reverse()]) {
    const { status, body } = await system.post('/api/v1/events/batch', { batch: sent });
    assert.deepEqual([status, body['accepted']], [200, batch.length]);
  }
  await eventually(() => system.query<{ n: number }>('SELECT (SELECT count() FROM events) + (SELECT count() FROM outcomes) AS n'), ([row]) => Number(row?.n) === 2 * batch.length);
  const [user, ...others] = await eventually(() => system.query("SELECT *, toString(traits) AS t FROM users WHERE tenant = 'dev'"), rows => rows.length === 1);
  assert.deepEqual(others, []);
  assert.deepEqual(JSON.parse(String(user?.['t'])), { email: 'jane@example.com', plan: 'enterprise', company: { id: 'comp_789' }, tags: ['vip'], name: 'Jane' });
  assert.deepEqual(
    ['tenant', 'user_id', 'anonymous_ids', 'emails', 'first_seen', 'last_seen', 'events'].map(column => user?.[column]),
    ['dev', 'user_9', ['anon_1'], ['jane@example.com'], '2025-03-15 14:30:01.000', '2025-03-15 14:30:08.000', 8],
  );
  assert.deepEqual(await system.query('SELECT group_id, toString(traits) AS t, members FROM groups ORDER BY group_id'), [{ group_id: 'comp_456', t: '{"mrr":15000,"name":"Acme Corp"}', members: 1 }, { group_id: 'comp_789', t: '{}', members: 1 }]);
  assert.deepEqual(await system.query('SELECT group_id, user_id FROM group_members ORDER BY group_id'), [{ group_id: 'comp_456', user_id: 'user_9' }, { group_id: 'comp_789', user_id: 'user_9' }]);
  const links = await system.query<Record<string, string>>('SELECT kind, from_id, user_id FROM identity_links ORDER BY kind');
  assert.deepEqual(links, [{ kind: 'alias', from_id: 'user_123', user_id: 'user_9' }, { kind: 'anonymous', from_id: 'anon_1', user_id: 'user_123' }]);
});

test('the columns are those that analysts were promised', async () => {
  const columns = await system.query<{ table: string; names: string[] }>("SELECT table, groupArray(name) AS names FROM (SELECT * FROM system.columns WHERE database = currentDatabase() AND table IN ('users', 'groups', 'group_members', 'identity_links') ORDER BY position) GROUP BY table ORDER BY table");
  assert.deepEqual(Object.fromEntries(columns.map(({ table, names }) => [table, names])), {
    users: ['tenant', 'user_id', 'traits', 'anonymous_ids', 'emails', 'first_seen', 'last_seen', 'events'],
    groups: ['tenant', 'group_id', 'traits', 'members', 'first_seen', 'last_seen'],
    group_members: ['tenant', 'group_id', 'user_id', 'first_seen', 'last_seen'],
    identity_links: ['tenant', 'kind', 'from_id', 'user_id', 'at', 'event_id'],
  });
});
