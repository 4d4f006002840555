import { batchHeadBytes, recordBodyBytes, type WireRecord } from './producer-wire.ts';

/** A record on its way. */
export interface Entry extends WireRecord {
  topic: string;
  /** Where it goes: a partition of its own, else what its key's hash says; without a key that is null. */
  partition: number | undefined;
  keyHash: number | null;
  /** Milliseconds since the epoch; from then on it is not tried again. */
  deadlineMs: number;
}

/** What waits for one partition. */
export interface Queue<E extends Entry> {
  queue: E[];
  queuedBytes: number;
  /** Batches that came back: sent as they are, before the queue. */
  parcels: E[][];
}

/** A record's length prefix and offset delta, at most. */
const recordPrefixBytes = 10;

export function emptyQueue<E extends Entry>(): Queue<E> {
  return { queue: [], queuedBytes: 0, parcels: [] };
}

export function append<E extends Entry>(into: Queue<E>, entry: E): void {
  into.queue.push(entry);
  into.queuedBytes += recordBodyBytes(entry);
}

export function hasWork(queue: Queue<Entry>): boolean {
  return queue.queue.length > 0 || queue.parcels.length > 0;
}

/** The next batch: one that came back, or the front of the queue up to `maxBatchBytes`, one record at least. */
export function take<E extends Entry>(from: Queue<E>, maxBatchBytes: number): E[] {
  const parcel = from.parcels.shift();
  if (parcel !== undefined) return parcel;
  const { queue } = from;
  let bytes = batchHeadBytes;
  let count = 0;
  for (const entry of queue) {
    bytes += recordBodyBytes(entry) + recordPrefixBytes;
    if (count > 0 && bytes > maxBatchBytes) break;
    count++;
  }
  if (count === queue.length) {
    from.queue = [];
    from.queuedBytes = 0;
    return queue;
  }
  const taken = queue.splice(0, count);
  from.queuedBytes -= sumBytes(taken);
  return taken;
}

/** Takes out what has its deadline at `nowMs` or before. */
export function dropOld<E extends Entry>(from: Queue<E>, nowMs: number): E[] {
  const isOld = (entry: E): boolean => entry.deadlineMs <= nowMs;
  const old = [...from.parcels.flat(), ...from.queue].filter(isOld);
  if (old.length === 0) return old;
  from.queue = from.queue.filter((entry) => !isOld(entry));
  from.queuedBytes = sumBytes(from.queue);
  from.parcels = from.parcels.map((parcel) => parcel.filter((entry) => !isOld(entry))).filter((parcel) => parcel.length > 0);
  return old;
}

function sumBytes(entries: readonly Entry[]): number {
  return entries.reduce((sum, entry) => sum + recordBodyBytes(entry), 0);
}
