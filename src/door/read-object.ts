import type { CanonicalEvent, EventResult, ParsedObjects } from '../event/canonical.ts';
import { faultOfEvent, maxIdLength, readFields } from '../event/fields.ts';
import type { Fields, Scanned } from '../event/fields.ts';
import type { EventSource } from './dialect.ts';

/** What a dialect reads from an event; what it leaves out is null. Without a message id the event gets a new one. */
export type EventParts = Pick<CanonicalEvent, 'type' | 'event' | 'timestampMs'> & { messageId: string | null } & { parsed?: ParsedObjects } & Partial<Pick<CanonicalEvent, 'userId' | 'email' | 'properties' | 'traits' | 'context' | 'violations' | 'judged'>>;

export interface ObjectReader {
  /** The dialect. */
  name: string;
  /** Where the message id stands, for answers to events that cannot be read. */
  sentId: (members: Readonly<Record<string, unknown>>) => unknown;
  /** Notes what is wrong in `fields`; the first such fault is the answer. */
  read: (fields: Fields, members: Readonly<Record<string, unknown>>, source: EventSource) => EventParts;
}

/** Reads events that are JSON objects with members of a dialect's own. (Segment's shape has its own reader, which direct producers share.) */
export function readObject({ name, sentId, read }: ObjectReader): (value: unknown, text: string, source: EventSource, scanned?: Scanned) => EventResult {
  return (value, text, source, scanned) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return { ok: false, code: 'not_an_object', message: 'an event is a JSON object', pointer: '', messageId: null };
    const members = value as Record<string, unknown>;
    const sent = sentId(members);
    const sentMessageId = typeof sent === 'string' ? sent.slice(0, maxIdLength) : null;
    const unfit = faultOfEvent(value, text, scanned?.plain);
    if (unfit !== null) return { ok: false, ...unfit, messageId: sentMessageId };
    const fields = readFields(members, text);
    const { parsed, ...parts } = read(fields, members, source);
    const fault = fields.fault();
    if (fault !== null) return { ok: false, ...fault, messageId: sentMessageId };
    const { tenant, receivedAtMs, writeKeyId } = source;
    return {
      ok: true,
      ...(parsed && { parsed }),
      event: {
        tenant, dialect: name, userId: null, email: null, properties: null, traits: null, context: null, violations: [], ...parts, messageId: parts.messageId ?? source.newMessageId(),
        anonymousId: null, previousId: null, groupId: null, name: null, category: null, sentAtMs: null, receivedAtMs, integrations: null, writeKeyId, raw: text,
      },
    };
  };
}
