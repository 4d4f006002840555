import type { CanonicalEvent } from '../../src/event/canonical.ts';

/* What profiles are, worked out the plain way: all events in memory, nothing incremental. Shares no code with src. */

export interface Profile {
  tenant: string;
  user_id: string;
  traits: Record<string, unknown>;
  anonymous_ids: string[];
  emails: string[];
  first_seen: number;
  last_seen: number;
  events: number;
}

export interface Group {
  tenant: string;
  group_id: string;
  traits: Record<string, unknown>;
  members: number;
  first_seen: number;
  last_seen: number;
}

export interface Model {
  users: Profile[];
  groups: Group[];
  groupMembers: { tenant: string; group_id: string; user_id: string; first_seen: number; last_seen: number }[];
  links: { tenant: string; kind: string; from_id: string; user_id: string; at: number }[];
}

/** `stored`: the events as stored, each message id once, in the order of arrival. */
export function modelOf(stored: readonly CanonicalEvent[]): Model {
  const links: { tenant: string; kind: string; space: 'user' | 'anon'; from: string; to: string; at: number; id: string }[] = [];
  for (const e of stored) {
    if (!e.userId) continue;
    const link = (kind: string, space: 'user' | 'anon', from: string | null): void => {
      if (from && !(space === 'user' && from === e.userId)) links.push({ tenant: e.tenant, kind, space, from, to: e.userId ?? '', at: e.timestampMs, id: e.messageId });
    };
    if (e.type === 'identify') link('anonymous', 'anon', e.anonymousId);
    link('email', 'user', e.email && e.email.trim().toLowerCase());
    if (e.type === 'alias') {
      link('alias', 'anon', e.previousId);
      link('alias', 'user', e.previousId);
    }
  }
  const earliest = new Map<string, (typeof links)[number]>();
  for (const link of links) {
    const key = JSON.stringify([link.tenant, link.space, link.from]);
    const before = earliest.get(key);
    if (before === undefined || link.at < before.at) earliest.set(key, link);
  }
  /** Cuts every circle at its latest link. */
  for (const start of [...earliest.values()]) {
    const walked: typeof links = [];
    for (let link: (typeof links)[number] | undefined = start; link !== undefined; link = earliest.get(JSON.stringify([link.tenant, 'user', link.to]))) {
      const at = walked.indexOf(link);
      if (at >= 0) {
        const latest = walked.slice(at).sort((a, b) => b.at - a.at)[0];
        if (latest) earliest.delete(JSON.stringify([latest.tenant, latest.space, latest.from]));
        break;
      }
      walked.push(link);
    }
  }
  const resolve = (tenant: string, space: 'user' | 'anon', id: string): { space: 'user' | 'anon'; id: string } => {
    let at = { space, id };
    for (;;) {
      const link = earliest.get(JSON.stringify([tenant, at.space, at.id]));
      if (link === undefined) return at;
      at = { space: 'user', id: link.to };
    }
  };
  const ownOf = (e: CanonicalEvent): { space: 'user' | 'anon'; id: string } | null =>
    e.userId ? { space: 'user', id: e.userId } : e.anonymousId ? { space: 'anon', id: e.anonymousId } : e.email ? { space: 'user', id: e.email.trim().toLowerCase() } : null;

  type Working<T> = T & { newest: Map<string, { at: number; arrival: number; value: unknown }> };
  const merge = (into: Working<object>, e: CanonicalEvent, arrival: number): void => {
    for (const [name, value] of Object.entries(JSON.parse(e.traits ?? '{}') as Record<string, unknown>)) {
      const before = into.newest.get(name);
      if (before === undefined || e.timestampMs > before.at || (e.timestampMs === before.at && arrival > before.arrival)) into.newest.set(name, { at: e.timestampMs, arrival, value });
    }
  };
  const traitsOf = ({ newest }: Working<object>): Record<string, unknown> => Object.fromEntries([...newest].filter(([, { value }]) => value !== null).map(([name, { value }]) => [name, queryable(value)]).filter(([, value]) => value !== undefined) as [string, unknown][]);

  const users = new Map<string, Working<Profile>>();
  const groups = new Map<string, Working<Group & { member: Set<string> }>>();
  const members = new Map<string, Model['groupMembers'][number]>();
  stored.forEach((e, arrival) => {
    const own = ownOf(e);
    const root = own && resolve(e.tenant, own.space, own.id);
    if (root !== null) {
      const key = JSON.stringify([e.tenant, root.space, root.id]);
      const user: Working<Profile> = users.get(key) ?? { tenant: e.tenant, user_id: root.id, traits: {}, anonymous_ids: [], emails: [], first_seen: Infinity, last_seen: -Infinity, events: 0, newest: new Map() };
      users.set(key, user);
      user.events++;
      user.first_seen = Math.min(user.first_seen, e.timestampMs);
      user.last_seen = Math.max(user.last_seen, e.timestampMs);
      if (own?.space === 'anon') user.anonymous_ids.push(own.id);
      if (e.email) user.emails.push(e.email.trim().toLowerCase());
      if (e.type === 'identify') {
        const { email } = JSON.parse(e.traits ?? '{}') as { email?: unknown };
        if (typeof email === 'string' && email.includes('@')) user.emails.push(email.trim().toLowerCase());
        merge(user, e, arrival);
      }
    }
    if (e.type === 'group' && e.groupId) {
      const key = JSON.stringify([e.tenant, e.groupId]);
      const group: Working<Group & { member: Set<string> }> = groups.get(key) ?? { tenant: e.tenant, group_id: e.groupId, traits: {}, members: 0, first_seen: Infinity, last_seen: -Infinity, newest: new Map(), member: new Set<string>() };
      groups.set(key, group);
      group.first_seen = Math.min(group.first_seen, e.timestampMs);
      group.last_seen = Math.max(group.last_seen, e.timestampMs);
      merge(group, e, arrival);
      if (root === null) return;
      group.member.add(`${root.space} ${root.id}`);
      const memberKey = JSON.stringify([e.tenant, e.groupId, root.space, root.id]);
      const member = members.get(memberKey) ?? { tenant: e.tenant, group_id: e.groupId, user_id: root.id, first_seen: Infinity, last_seen: -Infinity };
      members.set(memberKey, member);
      member.first_seen = Math.min(member.first_seen, e.timestampMs);
      member.last_seen = Math.max(member.last_seen, e.timestampMs);
    }
  });
  // An identified anonymous id belongs to its user even where it did nothing alone.
  for (const link of links) {
    if (link.kind !== 'anonymous') continue;
    const root = resolve(link.tenant, 'anon', link.from);
    users.get(JSON.stringify([link.tenant, root.space, root.id]))?.anonymous_ids.push(link.from);
  }
  const distinct = (values: string[]): string[] => [...new Set(values)].sort();
  const firstLinks = new Map<string, Model['links'][number]>();
  for (const { tenant, kind, from, to, at } of links) {
    const key = JSON.stringify([tenant, kind, from, to]);
    const before = firstLinks.get(key);
    if (before === undefined || at < before.at) firstLinks.set(key, { tenant, kind, from_id: from, user_id: to, at });
  }
  return {
    users: [...users.values()].map(({ newest, ...user }) => ({ ...user, traits: traitsOf({ newest }), anonymous_ids: distinct(user.anonymous_ids), emails: distinct(user.emails) })),
    groups: [...groups.values()].map(({ newest, member, ...group }) => ({ ...group, traits: traitsOf({ newest }), members: member.size })),
    groupMembers: [...members.values()],
    links: [...firstLinks.values()],
  };
}

/** A JSON column has no nulls and no empty objects. */
function queryable(value: unknown): unknown {
  if (value === null) return undefined;
  if (typeof value !== 'object' || Array.isArray(value)) return value;
  const members = Object.entries(value).map(([name, child]) => [name, queryable(child)] as const).filter(([, child]) => child !== undefined);
  return members.length === 0 ? undefined : Object.fromEntries(members);
}
