import type { CanonicalEvent } from '../event/canonical.ts';
import { eventId } from '../event/identity.ts';
import type { Place } from '../event/row.ts';
import type { Accepted } from './accept.ts';

/** Where an event was published, and when it was received. */
export interface Published {
  place: Place;
  receivedAtMs: number;
}

export type PublishedEvent = Pick<CanonicalEvent, 'tenant' | 'messageId' | 'receivedAtMs'>;

export interface RecentPlaces {
  /** What became of events that went to Kafka, in their order. */
  note: (events: readonly PublishedEvent[], results: readonly Accepted[]) => void;
  /** Of the last events; null for all others, and for another tenant's. */
  find: (tenant: string, eventId: string) => Promise<Published | null>;
}

/** Ids that are made in one go, some 2 ms. */
const atOnce = 1_024;

/**
 * The places of the last `size` events of this process, for receipts of those that are no rows yet. An event's id is a hash that costs more
 * than to publish it in a batch does: `note` keeps message ids in a ring (some 20 ns an event), and the ids are made when somebody asks.
 * Memory: some 130 bytes an event and its message id, and as much again for those whose ids were made.
 */
export function createRecentPlaces(size = 65_536): RecentPlaces {
  const tenants = new Array<string>(size).fill('');
  const messageIds = new Array<string>(size).fill('');
  const topics = new Array<string>(size).fill('');
  const partitions = new Int32Array(size);
  const offsets = new BigInt64Array(size);
  const times = new Float64Array(size);
  /** Of the next event; it stands at its remainder by `size`. */
  let next = 0;
  let indexed = 0;
  const index = new Map<string, number>();

  async function bringUpTo(end: number): Promise<void> {
    while (indexed < end) {
      indexed = Math.max(indexed, next - size);
      for (const stop = Math.min(end, indexed + atOnce); indexed < stop; indexed++) {
        const at = indexed % size;
        const id = eventId(tenants[at] ?? '', messageIds[at] ?? '');
        // Published twice: the last place. Deleted first, so that the map has the oldest first.
        index.delete(id);
        index.set(id, indexed);
      }
      for (const [id, number] of index) {
        if (number >= next - size) break;
        index.delete(id);
      }
      if (indexed < end) await new Promise(resolve => setImmediate(resolve));
    }
  }

  return {
    note(events, results) {
      for (let n = 0; n < results.length; n++) {
        const result = results[n];
        const event = events[n];
        if (result?.ok !== true || result.place === undefined || event === undefined) continue;
        const at = next++ % size;
        tenants[at] = event.tenant;
        messageIds[at] = event.messageId;
        topics[at] = result.place.topic;
        partitions[at] = result.place.partition;
        offsets[at] = result.place.offset;
        times[at] = event.receivedAtMs;
      }
    },
    async find(tenant, id) {
      await bringUpTo(next);
      const number = index.get(id);
      if (number === undefined || number < next - size) return null;
      const at = number % size;
      if (tenants[at] !== tenant) return null;
      return { place: { topic: topics[at] ?? '', partition: partitions[at] ?? 0, offset: offsets[at] ?? 0n }, receivedAtMs: times[at] ?? 0 };
    },
  };
}
