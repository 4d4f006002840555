import type { EventResult, EventType } from '../event/canonical.ts';
import type { Scanned } from '../event/fields.ts';
import type { ErrorCode } from '../errors.ts';
import type { EventError } from './reply.ts';
import type { JsonSchema } from './schemas.ts';

/*
 * What a dialect says of itself. server.ts and ingest.ts make the routes, the checks of keys and the answers of it, openapi.ts the document;
 * a new dialect is a file in dialects/ and a line in dialects/all.ts. docs/dialects.md shows how.
 */

/** What the request gives to each of its events. */
export interface EventSource {
  tenant: string;
  dialect: string;
  /** What the path itself says is the type. */
  type?: EventType;
  writeKeyId: string;
  receivedAtMs: number;
  /** Used where the event brings no message id. */
  newMessageId: () => string;
  ip: string | undefined;
  userAgent: string | undefined;
  /** What a batch says once for all of its events. */
  defaults?: BatchDefaults;
}

/** JSON texts of objects, or null; `sentAt` as it was parsed. */
export interface BatchDefaults {
  context: string | null;
  integrations: string | null;
  sentAt: unknown;
}

/** An event that was taken, as its answer needs it. */
export interface TakenEvent {
  messageId: string;
  /** Makes it, a UUID: a hash, which not every answer needs. */
  eventId: () => string;
  receivedAtMs: number;
  /** Known already, with the same content: nothing was published. */
  deduplicated: boolean;
}

export interface BatchSummary {
  received: number;
  accepted: number;
  rejected: number;
  errors: EventError[];
}

export interface DialectRoute {
  /** All of these, with a trailing slash too. */
  paths: readonly string[];
  /** Two routes may share a path: a body with this member is the first one's. */
  whenHas?: string;
  /** The member of the body that holds events, and how many at most; null: the body is one event. `name` is its schema's, which openapi.ts makes. */
  batch: { name: string; member: string; maxEvents: number; withDefaults: boolean } | null;
  /** The schema of an event, and that of what `one` (or for a batch `many`) makes: names in the dialect's `schemas`, or in the shared ones. */
  event: string;
  answer: string;
  /** `value` is the event, parsed from `text`; `scanned` is what the request has found out about it already. */
  read: (value: unknown, text: string, source: EventSource, scanned?: Scanned) => EventResult;
  /** What the path itself says is the type. */
  type?: EventType;
  status: 200 | 202;
  /** The body of the answer to one event that was taken. */
  one: (event: TakenEvent) => object;
  /** The body of the answer to a batch whose envelope was sound. */
  many: (summary: BatchSummary) => object;
  /** A single event that is known already is not published again: the answer says so, or 409 where its content is another. */
  deduplicates?: boolean;
  /** SDKs: any content type is read as JSON, and the write key may stand in the body. */
  sdk?: boolean;
}

export interface Dialect {
  /** As in `events.dialect`. */
  name: string;
  /** For readers of the document: whose events these are. */
  title: string;
  /**
   * JSON Schemas of its events and answers, by the names that the document and the types of millrace/api give them. A test holds
   * `read` and the event's schema equal: what the one takes the other takes.
   */
  schemas: Readonly<Record<string, JsonSchema>>;
  /** Codes that its events may be refused with, besides those of every dialect. */
  codes: readonly ErrorCode[];
  /** How a 401 asks for the key. */
  challenge: 'Basic' | 'Bearer';
  routes: readonly DialectRoute[];
}

export interface Offer {
  dialect: Dialect;
  route: DialectRoute;
}

/** The routes of all dialects by their paths: those that share one in the order in which they are asked. */
export function offersByPath(dialects: readonly Dialect[]): Map<string, Offer[]> {
  const offers = new Map<string, Offer[]>();
  for (const dialect of dialects) {
    for (const route of dialect.routes) {
      for (const path of route.paths) offers.set(path, [...(offers.get(path) ?? []), { dialect, route }]);
    }
  }
  return offers;
}

/** Why a request was refused as a whole. */
export interface Refused {
  code: ErrorCode;
  message: string;
  details?: unknown;
}
