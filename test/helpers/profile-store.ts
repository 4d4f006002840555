import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { CanonicalEvent } from '../../src/event/canonical.ts';
import { eventId } from '../../src/event/identity.ts';
import { createClickHouse } from '../../src/sink/clickhouse.ts';
import type { ClickHouse } from '../../src/sink/clickhouse.ts';
import { migrate, readMigrations } from '../../src/sink/migrate.ts';
import { createEventTables } from '../../src/sink/event-tables.ts';
import type { Store } from '../../src/sink/partitions.ts';
import type { ProfileFeed } from '../../src/sink/profile-feed.ts';
import { createProfiles } from '../../src/sink/run.ts';
import { createSuppressions } from '../../src/sink/suppressions.ts';
import type { EventRecord } from '../../src/sink/store-events.ts';
import { createStoreEvents } from '../../src/sink/store-events.ts';
import { packageRoot } from './local.ts';
import type { Model } from './profile-model.ts';
import { sharedStack, testLog } from './shared-stack.ts';

/** A database of its own, and the sink's own way into it, without Kafka. */
export interface ProfileStore {
  clickhouse: ClickHouse;
  database: string;
  /** Stores a batch of a partition, in order, as the sink does. `offset`: where it begins (a replay begins where it did). */
  store: (events: readonly CanonicalEvent[], options?: { partition?: number; offset?: number; replay?: boolean }) => Promise<void>;
  read: () => Promise<Model>;
  close: () => Promise<void>;
}

let messages = 0;

/** An event of tenant `t`; times are seconds unless given in ms. */
export function anEvent(part: Partial<CanonicalEvent> & { at?: number }): CanonicalEvent {
  const { at = 0, ...rest } = part;
  return {
    tenant: 't', dialect: 'segment', messageId: `m${messages++}`, type: 'track', event: null, userId: null, anonymousId: null, previousId: null, groupId: null, email: null, name: null, category: null,
    timestampMs: Date.UTC(2026, 0, 1) + at * 1_000, sentAtMs: null, receivedAtMs: Date.UTC(2026, 5, 1), properties: null, traits: null, context: null, integrations: null, writeKeyId: null, violations: [], raw: '{}',
    ...rest,
  };
}

export async function startProfileStore(): Promise<ProfileStore> {
  const connection = { url: sharedStack().clickhouseUrl, database: `profiles_${randomUUID().slice(0, 8)}`, timeoutMs: 60_000 };
  await migrate(connection, readMigrations(join(packageRoot, 'schemas', 'clickhouse')), testLog());
  const clickhouse = createClickHouse(connection);
  const byOffset = new Map<string, CanonicalEvent>();
  const next = new Map<number, number>();
  const storeBy = (feed: ProfileFeed): Store<EventRecord> => createStoreEvents({
    tables: createEventTables(clickhouse),
    suppressions: createSuppressions(clickhouse),
    profiles: feed,
    makeSingle: async () => undefined,
    read: async (_topic, partition, records) => records.map(({ offset }) => {
      const event = byOffset.get(`${partition}/${offset}`);
      if (event === undefined) throw new Error(`no event at ${offset}`);
      return { ok: true, event, eventId: eventId(event.tenant, event.messageId), source: 'http', key: null };
    }),
    bury: async () => undefined,
    onStored: () => undefined,
    log: testLog(),
  });
  const own = createProfiles(clickhouse, testLog());
  const times = 'toUnixTimestamp64Milli(first_seen), toUnixTimestamp64Milli(last_seen)';
  return {
    clickhouse,
    database: connection.database,
    async store(events, { partition = 0, offset = next.get(partition) ?? 0, replay = false } = {}) {
      const records = events.map((event, index): EventRecord => {
        byOffset.set(`${partition}/${offset + index}`, event);
        return { offset: BigInt(offset + index), key: null, value: null, timestampMs: event.receivedAtMs, header: () => null, headers: () => [] };
      });
      next.set(partition, Math.max(next.get(partition) ?? 0, offset + events.length));
      // Replays are those of another process.
      const feed = replay ? createProfiles(clickhouse, testLog()) : own;
      await storeBy(feed)({ topic: 'e', partition, records, token: `e/${partition}/${offset}/${events.length}`, replay, signal: new AbortController().signal });
      await feed.flush();
    },
    async read() {
      const users = await clickhouse.rows(`SELECT tenant, user_id, toString(traits), anonymous_ids, emails, ${times}, events FROM users SETTINGS output_format_json_quote_64bit_integers = 0`);
      const groups = await clickhouse.rows(`SELECT tenant, group_id, toString(traits), members, ${times} FROM groups SETTINGS output_format_json_quote_64bit_integers = 0`);
      const members = await clickhouse.rows(`SELECT tenant, group_id, user_id, ${times} FROM group_members`);
      const links = await clickhouse.rows('SELECT tenant, kind, from_id, user_id, toUnixTimestamp64Milli(at) FROM identity_links');
      return {
        users: users.map(([tenant, id, traits, anonymousIds, emails, first, last, events]) => ({
          tenant: String(tenant), user_id: String(id), traits: JSON.parse(String(traits)) as Record<string, unknown>,
          anonymous_ids: anonymousIds as string[], emails: emails as string[], first_seen: Number(first), last_seen: Number(last), events: Number(events),
        })),
        groups: groups.map(([tenant, id, traits, count, first, last]) => ({
          tenant: String(tenant), group_id: String(id), traits: JSON.parse(String(traits)) as Record<string, unknown>, members: Number(count), first_seen: Number(first), last_seen: Number(last),
        })),
        groupMembers: members.map(([tenant, group, user, first, last]) => ({ tenant: String(tenant), group_id: String(group), user_id: String(user), first_seen: Number(first), last_seen: Number(last) })),
        links: links.map(([tenant, kind, from, user, at]) => ({ tenant: String(tenant), kind: String(kind), from_id: String(from), user_id: String(user), at: Number(at) })),
      };
    },
    async close() {
      await own.close();
      await clickhouse.command(`DROP DATABASE IF EXISTS ${connection.database}`);
      await clickhouse.close();
    },
  };
}
