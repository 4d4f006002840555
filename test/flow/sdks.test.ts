import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import RudderAnalytics from '@rudderstack/rudder-sdk-node';
import { Analytics } from '@segment/analytics-node';
import { eventually } from '../helpers/eventually.ts';
import { freshConfig } from '../helpers/shared-stack.ts';
import { startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';

/* SDKs as they are in their packages, with another host and key: every call kind, as rows. */

let system: System;
before(async () => {
  system = await startSystem(freshConfig());
});
after(() => system.close());

const columns = `type, event, user_id, anonymous_id, previous_id, group_id, name, toString(properties) AS properties, toString(traits) AS traits, dialect, tenant, write_key_id, position(toString(context), '"library"') > 0 AS library`;
const rowsOf = (user: string): Promise<Record<string, unknown>[]> =>
  eventually(() => system.query(`SELECT ${columns} FROM events WHERE user_id = '${user}' OR anonymous_id = '${user}' ORDER BY type`), rows => rows.length === 6, 15_000);

const common = { event: '', anonymous_id: '', previous_id: '', group_id: '', name: '', properties: '{}', traits: '{}', dialect: 'segment', tenant: 'dev', write_key_id: 'dev', library: 1 };
const expected = (user: string) => [
  { ...common, type: 'track', event: 'Order Completed', user_id: user, properties: '{"items":[{"sku":"a"}],"total":99.5}' },
  { ...common, type: 'identify', user_id: user, traits: '{"company":{"id":"c"},"plan":"pro"}' },
  { ...common, type: 'page', user_id: '', anonymous_id: user, name: 'Pricing', properties: '{"url":"https:\\/\\/shop.example\\/"}' },
  { ...common, type: 'screen', user_id: user, name: 'Settings' },
  { ...common, type: 'group', user_id: user, group_id: 'g1', traits: '{"name":"Acme"}' },
  { ...common, type: 'alias', user_id: user, previous_id: 'before' },
];
/** What SDKs add on their own is not compared: page and screen get the name among their properties, for instance. */
const told = (row: Record<string, unknown>): Record<string, unknown> => {
  const properties = JSON.parse(String(row['properties'])) as Record<string, unknown>;
  if (row['type'] === 'page' || row['type'] === 'screen') delete properties['name'];
  return { ...row, properties, traits: JSON.parse(String(row['traits'])) as unknown };
};
const byType = (rows: readonly Record<string, unknown>[]): Map<unknown, Record<string, unknown>> => new Map(rows.map(row => [row['type'], told(row)]));

interface Members {
  [name: string]: string | number | Members | Members[];
}

interface Calls {
  track(message: { userId: string; event: string; properties: Members }): unknown;
  identify(message: { userId: string; traits: Members }): unknown;
  page(message: { anonymousId: string; name: string; properties: Members }): unknown;
  screen(message: { userId: string; name: string }): unknown;
  group(message: { userId: string; groupId: string; traits: Members }): unknown;
  alias(message: { userId: string; previousId: string }): unknown;
}

function callAll(sdk: Calls, user: string): void {
  sdk.track({ userId: user, event: 'Order Completed', properties: { total: 99.5, items: [{ sku: 'a' }] } });
  sdk.identify({ userId: user, traits: { plan: 'pro', company: { id: 'c' } } });
  sdk.page({ anonymousId: user, name: 'Pricing', properties: { url: 'https://shop.example/' } });
  sdk.screen({ userId: user, name: 'Settings' });
  sdk.group({ userId: user, groupId: 'g1', traits: { name: 'Acme' } });
  sdk.alias({ userId: user, previousId: 'before' });
}

test('@segment/analytics-node, every call kind', async () => {
  const sdk = new Analytics({ writeKey: 'dev', host: system.door.url, flushInterval: 50 });
  const faults: unknown[] = [];
  sdk.on('error', fault => void faults.push(fault));
  callAll(sdk, 'segment-user');
  await sdk.closeAndFlush();
  assert.deepEqual(faults, []);
  assert.deepEqual(byType(await rowsOf('segment-user')), byType(expected('segment-user')));
});

test('@rudderstack/rudder-sdk-node, which gzips and calls its JSON a form, every call kind', async () => {
  const sdk = new RudderAnalytics('dev', { dataPlaneUrl: system.door.url, flushInterval: 50 });
  callAll(sdk, 'rudder-user');
  await sdk.flush();
  assert.deepEqual(byType(await rowsOf('rudder-user')), byType(expected('rudder-user')));
});

test('the four dialects into one table; the same message id by two of them is one event', async () => {
  const bearer = { authorization: 'Bearer dev' };
  const now = new Date().toISOString();
  const sent: [string, unknown, number][] = [
    ['/v1/events/track', { external_user_id: 'dialects', event_type: 'payment_failed', occurred_at: now, properties: { amount_cents: 4900 }, context: { $message_id: 'd-1' } }, 202],
    ['/v1/events', { event_type: 'user.created', occurred_at: now, idempotency_key: 'd-2', data: { user_id: 'dialects', plan: 'pro' } }, 200],
    ['/api/v1/client/events', { uid: 'dialects', email: 'Ada@Example.com', type: 'first_win', amount: 49.9, idempotency_key: 'd-3' }, 200],
    ['/api/v1/events', { type: 'track', userId: 'dialects', event: 'user.created', messageId: 'd-2', timestamp: now, properties: { user_id: 'dialects', plan: 'pro' } }, 200],
  ];
  for (const [path, body, status] of sent) assert.equal((await system.post(path, body, bearer)).status, status, path);
  await eventually(() => system.query(`SELECT message_id FROM events WHERE user_id = 'dialects' UNION ALL SELECT reason FROM outcomes`), rows => rows.length === 4);
  assert.deepEqual(await system.query(`SELECT dialect, event, message_id, toString(properties) AS properties, violations, email FROM events WHERE user_id = 'dialects' ORDER BY message_id`).then(rows => rows.filter(row => row['message_id'] !== 'd-2')), [
    { dialect: 'whisperr', event: 'payment_failed', message_id: 'd-1', properties: '{"amount_cents":4900}', violations: [], email: '' },
    { dialect: 'mailerpath', event: 'first_win', message_id: 'd-3', properties: '{"amount":49.9}', violations: ['unplanned_event'], email: 'ada@example.com' },
  ]);
  assert.deepEqual((await system.query('SELECT outcome FROM outcomes')).map(row => row['outcome']), ['duplicate'], 'the same content, so no conflict');
});

test('002: what is stored is known to every door, also one that has just started', async () => {
  const bearer = { authorization: 'Bearer dev' };
  const event = { event_type: 'user.created', occurred_at: '2025-12-22T10:30:00Z', idempotency_key: 'days-ago', data: { user_id: 'u_12345', plan: 'pro' } };
  const first = await system.post('/v1/events', event, bearer);
  assert.deepEqual([first.status, first.body['deduplicated']], [200, undefined]);
  await eventually(() => system.query(`SELECT event_id FROM event_ids WHERE event_id IN (SELECT event_id FROM events WHERE message_id = 'days-ago')`), rows => rows.length === 1);
  const receipt = async (id: string, headers: Record<string, string> = bearer): Promise<[number, Record<string, unknown>]> => {
    const response = await fetch(`${system.door.url}/v1/events/${id}`, { headers });
    return [response.status, (await response.json()) as Record<string, unknown>];
  };
  const id = String(first.body['event_id']);
  const [row] = await system.query(`SELECT topic, partition, toString(offset) AS offset, event_id FROM events WHERE message_id = 'days-ago'`);
  const [status, found] = await receipt(id);
  assert.deepEqual([status, found['status'], found['event_id'], found['topic'], found['partition'], found['offset']], [200, 'stored', id, row?.['topic'], row?.['partition'], row?.['offset']]);
  assert.equal((await receipt(String(row?.['event_id'])))[1]['event_id'], id);
  assert.deepEqual([(await receipt(id, {}))[0], (await receipt(id.replace(/.$/, last => (last === '0' ? '1' : '0'))))[0], (await receipt('evt_7'))[0]], [401, 404, 404]);
  const other = await startSystem(system.config, { withSink: false });
  try {
    const again = await other.post('/v1/events', event, bearer);
    assert.deepEqual([again.status, again.body['deduplicated'], again.body['event_id']], [200, true, first.body['event_id']]);
    const conflict = await other.post('/v1/events', { ...event, data: {} }, bearer);
    assert.deepEqual([conflict.status, conflict.body['code']], [409, 'idempotency_conflict']);
  } finally {
    await other.door.close();
  }
});
