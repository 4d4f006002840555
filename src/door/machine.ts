import { createRateLimiter } from './rate-limit.ts';
import type { RateLimit, RateState } from './rate-limit.ts';
import type { FindRecent } from './receipts.ts';
import { createRecentIds } from './recent-ids.ts';
import type { RecentIds } from './recent-ids.ts';
import { createRecentPlaces } from './recent-places.ts';
import type { RecentPlaces } from './recent-places.ts';

/** What the doors of one machine have in common. Nothing of it is needed for an event to be stored once: other machines have theirs. */
export interface Machine {
  /** How many doors share its bounds of memory. */
  workers: number;
  recent: RecentIds;
  /** Takes tokens of a key for so many events. */
  takeRate: (keyId: string, limit: RateLimit, events: number) => RateState | Promise<RateState>;
  /** Told what this door has published. */
  notePlaces: RecentPlaces['note'];
  /** What any door of the machine has published lately. */
  findRecent: FindRecent;
}

/** A door that is the only one of its machine. `now` only runs forward, in milliseconds. */
export function loneDoor(now: () => number): Machine {
  const places = createRecentPlaces();
  return { workers: 1, recent: createRecentIds(), takeRate: createRateLimiter(now).take, notePlaces: places.note, findRecent: places.find };
}
