import type { Place } from './row.ts';

/** What became of a record of an event, or of an event that the door refused; times are RFC 3339. */
export type Fate = { receivedAt: string } & (
  | { status: 'stored'; place: Place; storedAt: string }
  /** `of`: where the record stands that was stored before. */
  | { status: 'duplicate' | 'conflict'; place: Place; of: Place | null }
  | { status: 'dropped' | 'suppressed'; place: Place; reason: string }
  /** `place` is null for what never was on a topic. */
  | { status: 'dead_lettered'; place: Place | null; code: string; detail: string; letterId: string; letterStatus: string }
);

export const isSamePlace = (one: Place, other: Place): boolean => one.topic === other.topic && one.partition === other.partition && one.offset === other.offset;
