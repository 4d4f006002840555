import { judgementHeaders } from './contract/judged.ts';
import type { Accepted, AcceptEvents } from './door/accept.ts';
import type { CanonicalEvent } from './event/canonical.ts';
import { userKey } from './event/canonical.ts';
import type { HeaderValue, OutgoingRecord, Publisher, PublishResult } from './topic/publish.ts';

export interface EventPublisherOptions {
  publisher: Publisher;
  topic: string;
  /** An event as a record's value; its memory may be the same at every call. */
  encode: (event: CanonicalEvent) => Buffer;
}

/** Puts events on their topic. While Kafka is waited for nothing here holds the events, so that their memory is free for others. */
export function createEventPublisher({ publisher, topic, encode }: EventPublisherOptions): AcceptEvents {
  const recordOf = (event: CanonicalEvent, traceparent: string | null): OutgoingRecord => {
    const headers: Record<string, HeaderValue> = { tenant: bytesOf(event.tenant), dialect: bytesOf(event.dialect), 'message-id': event.messageId };
    if (event.judged !== undefined) Object.assign(headers, judgementHeaders(event));
    if (traceparent !== null) headers['traceparent'] = traceparent;
    return { topic, key: Buffer.from(userKey(event)), value: encode(event), headers };
  };
  const publish = (events: readonly CanonicalEvent[], traceparent: string | null): Promise<PublishResult[]> => publisher.publishEach(events.length, index => recordOf(events[index] as CanonicalEvent, traceparent));
  const answer = (results: readonly PublishResult[]): Accepted[] => results.map(result => (result.ok ? { ok: true, place: { topic, partition: result.partition, offset: result.offset } } : notTaken(result.error)));
  return (events, traceparent) => publish(events, traceparent).then(answer);
}

export const notTaken = ({ retryable, message }: { retryable: boolean; message: string }): Accepted => ({ ok: false, retryable, message });

const known = new Map<string, Buffer>();

/** Of texts that repeat in every record: names of tenants and dialects. */
function bytesOf(text: string): Buffer {
  const found = known.get(text);
  if (found !== undefined) return found;
  const bytes = Buffer.from(text);
  if (known.size < 1_000) known.set(text, bytes);
  return bytes;
}
