import { hash } from 'node:crypto';
import type { CanonicalEvent } from './canonical.ts';
import { elementSpans, isDeeperThan, memberSpans } from './json-text.ts';
import { spellPlain } from './plain-json.ts';
import { clockToleranceMs, originalTime } from './segment.ts';
import { parseTime } from './time.ts';
import { trimOf } from './trim.ts';

/** Where a dialect's JSON says when the event happened; those not named here follow Segment. */
const timeMembers: Readonly<Record<string, string>> = { whisperr: 'occurred_at', intake: 'occurred_at', mailerpath: 'ts' };

/** What the door may add to a context. */
const addedToContext: ReadonlySet<string> = new Set(['ip', 'userAgent']);

/** The canonical spelling of each of an event's texts that is plain (plain-json.ts), else null; of the context without what the door may add. */
export type PlainTexts = Readonly<Record<'properties' | 'traits' | 'context' | 'integrations', string | null>>;

/** Scans the texts once, for all who would have to look through them. */
export function plainTexts({ properties, traits, context, integrations }: PlainTexts): PlainTexts {
  return {
    properties: properties === null ? null : spellPlain(properties),
    traits: traits === null ? null : spellPlain(traits),
    context: context === null ? null : spellPlain(context, addedToContext),
    integrations: integrations === null ? null : spellPlain(integrations),
  };
}

/**
 * What an event says, as 64 bits (the first of a SHA-256, as decimal text): equal for the same event sent again, in whatever
 * dialect, order of keys, spelling of strings and numbers, or way (HTTP or Kafka).
 * Without `sentAt`, and without what the door adds or defaults: address, user agent, a time that was not sent.
 * Two records of one message id whose hashes differ are a conflict (design, "Identity and dedupe").
 */
export function contentHash(event: CanonicalEvent): string {
  return scannedContentHash(event, plainTexts(event));
}

/** The same, where the texts have been scanned. */
export function scannedContentHash(event: CanonicalEvent, plain: PlainTexts): string {
  const parts = [
    event.type, event.event, event.userId, event.anonymousId, event.previousId, event.groupId, event.email, event.name, event.category, sentTime(event),
  ];
  const objects = [
    plain.properties ?? canonicalOrEmpty(event.properties),
    plain.traits ?? canonicalOrEmpty(event.traits),
    plain.context ?? canonicalOrEmpty(withoutAdded(event.context)),
    plain.integrations ?? canonicalOrEmpty(event.integrations),
  ];
  const text = `${JSON.stringify(parts)}${objects.join()}`;
  return BigInt(`0x${hash('sha256', text, 'hex').slice(0, 16)}`).toString();
}

/** The time that the client gave, before any correction of its clock; null where it gave none. */
function sentTime(event: CanonicalEvent): number | string | null {
  if (event.raw === null) return event.timestampMs;
  // Only a time that equals the receipt may be a default, and only one with a `sentAt` far from it was corrected.
  const corrected = event.sentAtMs !== null && Math.abs(event.receivedAtMs - event.sentAtMs) > clockToleranceMs;
  if (!corrected && event.timestampMs !== event.receivedAtMs) return event.timestampMs;
  const members = membersOf(event.raw);
  const sent = memberOf(members, timeMembers[event.dialect] ?? 'timestamp');
  if (sent === undefined || sent === null) return event.dialect === 'segment' ? originalTime(members) : null;
  if (typeof sent === 'string') return parseTime(sent) ?? sent;
  // Seconds or milliseconds; or a member of that name which is no time of the event at all.
  return typeof sent === 'number' && [sent, sent * 1_000].includes(event.timestampMs) ? event.timestampMs : JSON.stringify(sent);
}

/** The raw text of a direct producer's Avro record may be anything. */
function membersOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function memberOf(members: Readonly<Record<string, unknown>>, name: string): unknown {
  return Object.hasOwn(members, name) ? members[name] : undefined;
}

function withoutAdded(context: string | null): string | null {
  if (context === null || ![...addedToContext].some(name => context.includes(name))) return context;
  const members = [...memberSpans(context, 0)].filter(([name]) => !addedToContext.has(name));
  return `{${members.map(([name, [start, end]]) => `${JSON.stringify(name)}:${context.slice(start, end)}`).join()}}`;
}

/** An object without members says as much as none. */
function canonicalOrEmpty(text: string | null): string {
  return text === null ? '{}' : canonicalJson(text);
}

/** Digits that a double may not hold, a number beyond it, or a key that no object of ours may be given. */
const needsText = /\d[\d.]{15}|\d[eE]|__proto__/;

/** Beyond this nesting, which only a direct producer can send, the text stands for itself. */
const maxLevels = 500;

/**
 * One spelling for all JSON texts of the same value: keys in one order, no space, strings and numbers written one way.
 * Digits that a double does not hold stay as they are.
 */
export function canonicalJson(text: string): string {
  if (text.length > maxLevels && isDeeperThan(text, maxLevels)) return text;
  return needsText.test(text) || text.includes('\\') ? spellText(text) : JSON.stringify(sorted(JSON.parse(text)));
}

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(sorted);
  const copy: Record<string, unknown> = {};
  for (const name of Object.keys(value).sort()) copy[name] = sorted((value as Record<string, unknown>)[name]);
  return copy;
}

function spellText(text: string): string {
  const first = text.trim();
  switch (first[0]) {
    case '{': {
      const spans = memberSpans(first, 0);
      // The order in which an object made of sorted names is written: whole numbers come first.
      const names = Object.keys(Object.fromEntries([...spans.keys()].sort().map(name => [name, 0])));
      const members = names.map(name => [name, spans.get(name) ?? [0, 0]] as const);
      return `{${members.map(([name, [start, end]]) => `${JSON.stringify(name)}:${spellText(first.slice(start, end))}`).join()}}`;
    }
    case '[':
      return `[${elementSpans(first, 0).map(([start, end]) => spellText(first.slice(start, end))).join()}]`;
    case '"':
      return JSON.stringify(JSON.parse(first));
    case 't':
    case 'f':
    case 'n':
      return first;
    default:
      return spellNumber(first);
  }
}

/** 15 significant digits always survive a double; zeros at either end are none. */
function spellNumber(text: string): string {
  const digits = trimOf(text.replace(/[eE].*$/, '').replace(/[^\d]/g, ''), '0');
  const value = Number(text);
  return digits.length <= 15 && Math.abs(value) < 1e300 && (value === 0 || Math.abs(value) > 1e-300) ? JSON.stringify(value) : text;
}
