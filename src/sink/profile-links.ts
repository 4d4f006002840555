import type { CanonicalEvent } from '../event/canonical.ts';
import { trimOf } from '../event/trim.ts';
import type { ClickHouse } from './clickhouse.ts';
import { remainderToken } from './plan.ts';
import { slicesOf } from './slices.ts';
import { pairsIn, textsIn } from './sql-lists.ts';

/*
 * Which user each linked id counts to. schemas/clickhouse/0005_profiles.sql has the words: node, link, root.
 *
 *   one link from a node, none from its user    the materialised views say it all
 *   anything more: chains, two users, circles   settled here, after the insert, from all links that are visible then
 *
 * The rule: of several links from a node the earliest counts (then the lower event id); links are followed to their end; where they
 * go round in a circle, the latest of the circle is cut. So the order of arrival doesn't matter.
 *
 * What a node comes to is written with a weight that grows with every link that led there, so the reader takes the one that knew
 * most. Of two sinks that add links at once, each writes its own before it reads: the later reader sees both, and outweighs.
 */

/** A link weighs this less its time in ms since the epoch: more links always outweigh fewer. The views use the same number. */
const linkWeight = 2n ** 47n;
const maxWeight = 2n ** 64n - 1n;

/** A component beyond this is left as the views have it: somebody writes nonsense. */
const maxNodes = 100_000;
const idsAtOnce = 5_000;

interface Link {
  userId: string;
  atMs: number;
  eventId: string;
}

/** Links by the node that they lead from. */
export type LinksByNode = ReadonlyMap<string, readonly Link[]>;

export interface NewLink {
  node: string;
  userId: string;
  atMs: number;
}

/** A node's name: `u` is a user, `a` an anonymous id, `g` a group. */
export function profileNode(tenant: string, space: 'u' | 'a' | 'g', id: string): string {
  return `${tenant}\0${space}${id}`;
}

/** As the views write an e-mail address. */
export function profileAddress(email: string): string {
  return trimOf(email, ' ').toLowerCase();
}

/** What of an event says how its ids are linked; null or empty: it has none. */
export type LinkingEvent = Pick<CanonicalEvent, 'tenant' | 'userId' | 'anonymousId' | 'previousId' | 'email' | 'timestampMs'> & { type: string };

/** The links that an event makes; the views of 0005_profiles.sql say the same in SQL. */
export function linksOf({ tenant, type, userId, anonymousId, previousId, email, timestampMs }: LinkingEvent): NewLink[] {
  if (userId === null || userId === '') return [];
  const nodes: string[] = [];
  if (type === 'identify' && anonymousId) nodes.push(profileNode(tenant, 'a', anonymousId));
  if (email) nodes.push(profileNode(tenant, 'u', profileAddress(email)));
  if (type === 'alias' && previousId) nodes.push(profileNode(tenant, 'a', previousId), profileNode(tenant, 'u', previousId));
  const own = profileNode(tenant, 'u', userId);
  return nodes.filter(node => node !== own).map(node => ({ node, userId, atMs: timestampMs }));
}

/** What a node comes to, and the links that this follows from. Null where it has none. */
export function rootOf(node: string, links: LinksByNode): { userId: string; weight: bigint; links: number } | null {
  if (!links.has(node)) return null;
  const reached = new Set<string>();
  const waiting = [node];
  let weight = 0n;
  let count = 0;
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (reached.has(next)) continue;
    reached.add(next);
    for (const { userId, atMs } of links.get(next) ?? []) {
      weight += linkWeight - BigInt(atMs);
      count++;
      waiting.push(targetNode(next, userId));
    }
  }
  const path: { node: string; link: Link }[] = [];
  const seen = new Map<string, number>();
  let at = node;
  for (;;) {
    const link = links.get(at)?.reduce((a, b) => (isEarlier(b, a) ? b : a));
    if (link === undefined) break;
    const before = seen.get(at);
    if (before !== undefined) {
      at = path.slice(before).reduce((a, b) => (isEarlier(a.link, b.link) ? b : a)).node;
      break;
    }
    seen.set(at, path.length);
    path.push({ node: at, link });
    at = targetNode(at, link.userId);
  }
  return { userId: idOf(at), weight: weight > maxWeight ? maxWeight : weight, links: count };
}

export interface ProfileLinks {
  /** Settles what these links, already inserted, lead to. Idempotent. Throws ClickHouse's faults. */
  settle(links: readonly NewLink[], signal?: AbortSignal): Promise<void>;
  /** The same for all nodes that have a way to one of these, and these. Returns them. */
  settleNodes(nodes: readonly string[], signal?: AbortSignal): Promise<string[]>;
  /** These nodes and all that have a way to one of them. */
  upstream(nodes: readonly string[], signal?: AbortSignal): Promise<Set<string>>;
}

/** Remembers nothing: what was settled may be gone with rows that a reconciliation took away. */
export function createProfileLinks(clickhouse: ClickHouse): ProfileLinks {
  const readLinks = async (from: readonly string[], signal?: AbortSignal): Promise<Map<string, Link[]>> => {
    const links = new Map<string, Link[]>();
    const asked = new Set<string>();
    for (let wave = [...new Set(from)]; wave.length > 0 && asked.size < maxNodes; ) {
      for (const node of wave) asked.add(node);
      const next = new Set<string>();
      for (const nodes of slicesOf(wave, idsAtOnce)) {
        const rows = await clickhouse.rows(
          `SELECT node, substring(latest, 17) AS user_id, toUnixTimestamp64Milli(min(first)) AS at, argMin(event_id, (first, event_id))
           FROM profile_facts WHERE kind = 'link' AND node IN ${textsIn(nodes)} GROUP BY node, user_id`,
          undefined,
          signal,
        );
        for (const [node, userId, at, eventId] of rows) {
          const own = links.get(String(node)) ?? [];
          own.push({ userId: String(userId), atMs: Number(at), eventId: String(eventId) });
          links.set(String(node), own);
          const target = targetNode(String(node), String(userId));
          if (!asked.has(target)) next.add(target);
        }
      }
      wave = [...next];
    }
    return links;
  };

  const upstream = async (nodes: readonly string[], signal?: AbortSignal): Promise<Set<string>> => {
    const found = new Set(nodes);
    for (let wave = nodes.filter(isUser); wave.length > 0 && found.size < maxNodes; ) {
      const next: string[] = [];
      for (const users of slicesOf(wave, idsAtOnce)) {
        const rows = await clickhouse.rows(
          `SELECT DISTINCT node FROM profile_members WHERE space = 'user' AND (tenant, id) IN ${pairsIn(users.map(node => [tenantOf(node), idOf(node)]))}`,
          undefined,
          signal,
        );
        for (const [row] of rows) {
          const node = String(row);
          if (found.has(node)) continue;
          found.add(node);
          if (isUser(node)) next.push(node);
        }
      }
      wave = next;
    }
    return found;
  };

  const write = async (nodes: Iterable<string>, links: LinksByNode, signal?: AbortSignal): Promise<void> => {
    const facts: string[] = [];
    const members: string[] = [];
    for (const node of nodes) {
      const root = rootOf(node, links);
      if (root === null || root.links < 2) continue;
      const standing = root.weight.toString(16).toUpperCase().padStart(16, '0') + root.userId;
      facts.push(JSON.stringify([node, 'settled', '', noId, epoch, epoch, standing]));
      members.push(JSON.stringify([tenantOf(node), root.userId, 'user', node, epoch, epoch]));
    }
    // Members first: a node whose root names a profile that doesn't list it would be nowhere.
    await insert('profile_members', ['tenant', 'id', 'space', 'node', 'first', 'last'], members, signal);
    await insert('profile_facts', ['node', 'kind', 'name', 'event_id', 'first', 'last', 'latest'], facts, signal);
  };

  const insert = async (table: string, columns: readonly string[], lines: readonly string[], signal?: AbortSignal): Promise<void> => {
    if (lines.length > 0) await clickhouse.insert({ table, columns, lines, token: remainderToken(table, lines) }, signal);
  };

  const settleNodes = async (nodes: readonly string[], signal?: AbortSignal): Promise<string[]> => {
    const affected = await upstream(nodes, signal);
    await write(affected, await readLinks([...affected], signal), signal);
    return [...affected];
  };

  return {
    upstream,
    settleNodes,
    async settle(links, signal) {
      if (links.length === 0) return;
      const affected = await upstream([...new Set(links.map(({ node }) => node))], signal);
      await write(affected, await readLinks([...affected, ...links.map(({ node, userId }) => targetNode(node, userId))], signal), signal);
    },
  };
}

const noId = '00000000-0000-0000-0000-000000000000';
const epoch = '1970-01-01 00:00:00.000';

function isEarlier(a: Link, b: Link): boolean {
  return a.atMs !== b.atMs ? a.atMs < b.atMs : a.eventId < b.eventId;
}

function tenantOf(node: string): string {
  return node.slice(0, node.indexOf('\0'));
}

function idOf(node: string): string {
  return node.slice(node.indexOf('\0') + 2);
}

function isUser(node: string): boolean {
  return node[node.indexOf('\0') + 1] === 'u';
}

function targetNode(from: string, userId: string): string {
  return profileNode(tenantOf(from), 'u', userId);
}

/** A string in SQL, as hex digits: nothing in it can be read as SQL. */
export function text(value: string): string {
  return `unhex('${Buffer.from(value, 'utf8').toString('hex')}')`;
}
