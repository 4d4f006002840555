import type { CanonicalEvent } from './canonical.ts';
import { userKey } from './canonical.ts';
import type { PlainTexts } from './content.ts';
import { memberSpans } from './json-text.ts';
import { makeQueryable } from './queryable.ts';
import { clickHouseTime, storedReceiptMs, storedTimeMs } from './time.ts';

/** Where a record stands in Kafka. */
export interface Place {
  topic: string;
  partition: number;
  offset: bigint;
}

/** The columns of `events` that a row brings, in the order of {@link eventRow}; `stored_at` is ClickHouse's own. */
export const eventColumns = [
  'tenant', 'event_id', 'message_id', 'dialect', 'source', 'write_key_id', 'type', 'event', 'user_key', 'user_id',
  'anonymous_id', 'previous_id', 'email', 'group_id', 'name', 'category', 'timestamp', 'sent_at', 'received_at',
  'properties', 'traits', 'context', 'integrations', 'violations', 'topic', 'partition', 'offset', 'raw',
  'content_hash', 'trait_values', 'contract_version', 'contract_violations',
] as const;

export interface RowSource extends Place {
  eventId: string;
  source: 'http' | 'kafka';
  /** The record's key; null where it had none. */
  key: Buffer | null;
  /** See content.ts; decimal text of 64 bits. */
  contentHash: string;
  /** See content.ts; left out: nobody has scanned its texts. */
  plain?: PlainTexts | undefined;
}

/**
 * A row of `events` as one JSONCompactEachRow line. Never fails and never makes ClickHouse fail: what a column can't hold
 * is left out of it, named in `violations` as `not_queryable:<pointer>`, and stays in `raw`.
 * `bare` leaves all JSON columns empty, for an event that ClickHouse has refused all the same.
 */
export function eventRow(event: CanonicalEvent, from: RowSource, bare = false): string {
  const violations = [...event.violations];
  const jsonColumns = jsonNames.map(name => jsonColumn(event, name, from.plain, bare, violations)).join(',');
  const times = [
    timeColumn('timestamp', event.timestampMs, storedTimeMs, violations),
    event.sentAtMs === null ? 'null' : timeColumn('sentAt', event.sentAtMs, storedTimeMs, violations),
    timeColumn('receivedAt', event.receivedAtMs, storedReceiptMs, violations),
  ].join(',');
  const head = JSON.stringify([
    event.tenant, from.eventId, event.messageId, event.dialect, from.source, event.writeKeyId ?? '', event.type, event.event ?? '',
    from.key?.toString('utf8') ?? userKey(event), event.userId ?? '', event.anonymousId ?? '', event.previousId ?? '', event.email ?? '',
    event.groupId ?? '', event.name ?? '', event.category ?? '',
  ]);
  const tail = JSON.stringify([violations, from.topic, from.partition]);
  return `${head.slice(0, -1)},${times},${jsonColumns},${tail.slice(1, -1)},${from.offset},${JSON.stringify(rawText(event))},${from.contentHash},${traitValues(event, from.plain)},${event.judged?.version ?? 0},${JSON.stringify(event.judged?.violations ?? [])}]`;
}

const jsonNames = ['properties', 'traits', 'context', 'integrations'] as const;

function jsonColumn(event: CanonicalEvent, name: (typeof jsonNames)[number], plain: PlainTexts | undefined, bare: boolean, violations: string[]): string {
  const sent = event[name];
  if (sent === null) return '{}';
  if (bare) {
    violations.push(`not_queryable:/${name}`);
    return '{}';
  }
  if (plain !== undefined && plain[name] !== null) return sent;
  const { text, unfit } = makeQueryable(sent);
  for (const pointer of unfit) violations.push(`not_queryable:/${name}${pointer}`);
  return oneLine(text);
}

function timeColumn(name: string, ms: number, nearest: (ms: number) => number, violations: string[]): string {
  const stored = nearest(ms);
  if (stored !== ms) violations.push(`not_queryable:/${name}`);
  return `"${clickHouseTime(stored)}"`;
}

/** More traits of one event than these reach no profile; each costs the merge as much as the ids beside it. */
const maxTraits = 1_000;

/**
 * Each trait of an identify or group event with its JSON text, for the merge of profiles: a JSON column loses nulls, and nulls remove.
 * What no JSON column can hold is left out of a trait's text; a trait of which nothing is left is null, as the newest value is not the one before.
 */
function traitValues(event: CanonicalEvent, plain: PlainTexts | undefined): string {
  if (event.traits === null || (event.type !== 'identify' && event.type !== 'group')) return '{}';
  const text = plain !== undefined && plain.traits !== null ? event.traits : makeQueryable(event.traits).text;
  const fitting = text === event.traits ? null : memberSpans(text, 0);
  const values: [string, string][] = [];
  for (const [name, span] of memberSpans(event.traits, 0)) {
    if (!name.isWellFormed()) continue;
    const kept = fitting === null ? span : fitting.get(name);
    if (values.length === maxTraits) break;
    values.push([name, kept === undefined ? 'null' : text.slice(kept[0], kept[1])]);
  }
  return `{${values.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`;
}

/** JSON allows line breaks between tokens; a row is a line. */
function oneLine(json: string): string {
  return json.includes('\n') || json.includes('\r') ? json.replaceAll(/[\r\n]/g, ' ') : json;
}

/** The event's JSON text as it came; of one that never was JSON: Segment's shape, with its JSON parts as they are. */
export function rawText(event: CanonicalEvent): string {
  return event.raw ?? canonicalText(event);
}

function canonicalText(event: CanonicalEvent): string {
  const fields: string[] = [];
  const add = (name: string, text: string | null): void => {
    if (text !== null) fields.push(`"${name}":${text}`);
  };
  const quoted = (text: string | null): string | null => (text === null ? null : JSON.stringify(text));
  add('type', quoted(event.type));
  add('messageId', quoted(event.messageId));
  add('event', quoted(event.event));
  add('userId', quoted(event.userId));
  add('anonymousId', quoted(event.anonymousId));
  add('previousId', quoted(event.previousId));
  add('groupId', quoted(event.groupId));
  add('email', quoted(event.email));
  add('name', quoted(event.name));
  add('category', quoted(event.category));
  add('timestamp', timeText(event.timestampMs));
  add('sentAt', event.sentAtMs === null ? null : timeText(event.sentAtMs));
  add('properties', event.properties);
  add('traits', event.traits);
  add('context', event.context);
  add('integrations', event.integrations);
  return `{${fields.join(',')}}`;
}

/** Avro's times go beyond those of a Date; such a one stays a number of milliseconds. */
function timeText(ms: number): string {
  return Math.abs(ms) <= 8.64e15 ? JSON.stringify(new Date(ms).toISOString()) : String(ms);
}
