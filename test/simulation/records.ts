import type { ReadRecord } from '../../src/contract/read-record.ts';
import { eventId } from '../../src/event/identity.ts';
import type { EventRecord } from '../../src/sink/store-events.ts';

/** A record of the simulated topic, and what the contract reads in it. */
export interface SimRecord extends EventRecord {
  partition: number;
  reading: ReadRecord;
  /** Removed by compaction. */
  vanished: boolean;
}

export const topic = 'events';
const tenant = 'acme';

/** `variant` is the content: two variants of a message id are a conflict, and ClickHouse refuses those that are `unstorable`. */
export function eventReading(messageId: string, variant: number, unstorable: boolean): ReadRecord {
  const cacheKey = `${messageId}/${variant}/${unstorable}`;
  const cached = readings.get(cacheKey);
  if (cached !== undefined) return cached;
  const reading: ReadRecord = {
    ok: true,
    eventId: eventId(tenant, messageId),
    source: 'kafka',
    key: null,
    event: {
      tenant, dialect: 'json', messageId, type: 'track', event: unstorable ? 'unstorable' : 'stored', userId: `user of ${messageId}`, anonymousId: null, previousId: null, groupId: null,
      email: null, name: null, category: null, timestampMs: 1_750_000_000_000, sentAtMs: null, receivedAtMs: 1_750_000_000_000, properties: `{"variant":${variant}}`,
      traits: null, context: null, integrations: null, writeKeyId: null, violations: [], raw: null,
    },
  };
  readings.set(cacheKey, reading);
  return reading;
}
/** Readings say nothing of a schedule, so all share them. */
const readings = new Map<string, ReadRecord>();

export const poisonReading: ReadRecord = { ok: false, code: 'unreadable', detail: 'poison', tenant, messageId: null };

export function messageIdOf({ reading }: SimRecord): string | null {
  return reading.ok ? reading.event.messageId : null;
}

export function describeRecord({ partition, offset, reading }: SimRecord): string {
  return `${partition}/${offset} ${reading.ok ? `${reading.event.messageId}${reading.event.properties ?? ''}${reading.event.event === 'unstorable' ? ' unstorable' : ''}` : 'poison'}`;
}
