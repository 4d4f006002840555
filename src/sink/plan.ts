import { createHash } from 'node:crypto';
import { placedId } from './event-tables.ts';
import type { Unfed } from './profile-feed.ts';

/** A record as far as planning needs it. */
export interface PlannedRecord {
  offset: bigint;
  value: Buffer | null;
}

/**
 * What a sink is about to insert, kept in the metadata of the offset commit (at the batch's first offset), so that
 * whoever comes after a crash makes the very same batch again, under the same deduplication token.
 */
export interface Plan {
  first: bigint;
  last: bigint;
  count: number;
  /** SHA-256 over the raw records' offsets and values, 32 hex digits of it. */
  hash: string;
  /**
   * Since when the group has gone on from its own commits; new wherever somebody else has set its offset. ClickHouse drops rows under a token
   * that it has seen, also rows that were deleted since: whoever sets a group back to have them again must get them.
   */
  epoch: string;
  /** Digest of the contracts that judge its records; empty: there are none. */
  rules: string;
}

/** Records that make one insert, at most `maxRows` and about `maxBytes` of values; never none. */
export function cutBatch<R extends PlannedRecord>(records: readonly R[], maxRows: number, maxBytes: number): R[] {
  let bytes = 0;
  let count = 0;
  for (const { value } of records) {
    bytes += value?.length ?? 0;
    if (count > 0 && (count >= maxRows || bytes > maxBytes)) break;
    count++;
  }
  return records.slice(0, count);
}

export function planOf(records: readonly PlannedRecord[], epoch = '', rules = ''): Plan {
  const first = records[0];
  const last = records.at(-1);
  if (first === undefined || last === undefined) throw new RangeError('a plan needs records');
  const hash = createHash('sha256');
  const head = Buffer.alloc(12);
  for (const { offset, value } of records) {
    head.writeBigInt64BE(offset, 0);
    head.writeInt32BE(value?.length ?? -1, 8);
    hash.update(head);
    if (value !== null) hash.update(value);
  }
  return { first: first.offset, last: last.offset, count: records.length, hash: hash.digest('hex').slice(0, 32), epoch, rules };
}

/**
 * As commit metadata. `first` is the committed offset itself, and is said once more as `at`: a tool may set the offset back and keep the
 * metadata. `storedUpTo` is the highest offset that may be stored already, kept while it lies beyond the plan: whoever takes over must
 * know that the group was set back. `unfed` says which rows may not be in profiles yet, kept while it begins below the
 * plan (profile-feed.ts). Kafka takes 4,096 bytes; this is some 240.
 */
export function encodePlan({ first, last, count, hash, epoch, rules }: Plan, storedUpTo: bigint | null = null, unfed: Unfed | null = null): string {
  return JSON.stringify({
    plan: 1, at: String(first), last: String(last), count, hash, ...(epoch !== '' && { epoch }), ...(rules !== '' && { rules }),
    ...(storedUpTo !== null && storedUpTo > last && { stored: String(storedUpTo) }), ...unfedMembers(unfed, first),
  });
}

/** What is committed with an offset below which everything is settled, and nothing is under way. */
export function settledMetadata(offset: bigint, storedUpTo: bigint | null = null, epoch = '', unfed: Unfed | null = null): string {
  return JSON.stringify({
    settled: 1, at: String(offset), ...(epoch !== '' && { epoch }),
    ...(storedUpTo !== null && storedUpTo >= offset && { stored: String(storedUpTo) }), ...unfedMembers(unfed, offset),
  });
}

function unfedMembers(unfed: Unfed | null, below: bigint): { unfed?: string; since?: number } {
  if (unfed === null || unfed.from >= below) return {};
  return { unfed: String(unfed.from), ...(unfed.sinceMs !== null && { since: unfed.sinceMs }) };
}

export interface SinkCommit {
  plan: Plan | null;
  /** The highest offset of which something may be stored, except what the plan names. */
  storedUpTo: bigint;
  /** Which rows below the committed offset may not be in profiles yet. */
  unfed: Unfed | null;
  epoch: string;
}

/** What a sink's own commit says. Null where somebody else committed: without a sink's metadata, or with that of another offset. */
export function readCommit(committed: bigint | null, metadata: string): SinkCommit | null {
  if (committed === null || !metadata.startsWith('{')) return null;
  let said: Record<string, unknown>;
  try {
    said = JSON.parse(metadata) as Record<string, unknown>;
  } catch {
    return null;
  }
  const { plan: version, at, last, count, hash } = said;
  // Commits of earlier versions do not say it.
  if (at !== undefined && at !== String(committed)) return null;
  const epoch = typeof said['epoch'] === 'string' ? said['epoch'] : '';
  const rules = typeof said['rules'] === 'string' ? said['rules'] : '';
  const plan = version === 1 && isOffset(last) && typeof count === 'number' && typeof hash === 'string' ? { first: committed, last: BigInt(last), count, hash, epoch, rules } : null;
  if (plan === null && said['settled'] !== 1) return null;
  const stored = isOffset(said['stored']) ? BigInt(said['stored']) : -1n;
  return { plan, storedUpTo: stored > committed - 1n ? stored : committed - 1n, unfed: isOffset(said['unfed']) ? { from: BigInt(said['unfed']), sinceMs: typeof said['since'] === 'number' ? said['since'] : null } : null, epoch };
}

function isOffset(text: unknown): text is string {
  return typeof text === 'string' && /^\d{1,19}$/.test(text);
}

/** Null where the metadata holds no plan: nothing was under way, or somebody else committed. */
export function decodePlan(committed: bigint | null, metadata: string): Plan | null {
  return readCommit(committed, metadata)?.plan ?? null;
}

/** `insert_deduplication_token` of a planned batch. */
export function planToken(topic: string, partition: number, plan: Plan): string {
  const batch = `${topic}/${partition}/${plan.first}-${plan.last}/${plan.hash}`;
  return plan.epoch === '' ? batch : `${batch}/${plan.epoch}`;
}

/** Token of what a replay found missing under a token that was used already. */
export function remainderToken(token: string, ids: readonly string[]): string {
  return `${token}/${createHash('sha256').update(ids.join()).digest('hex').slice(0, 32)}`;
}

/**
 * Token of what goes in beside rows that are in place: of all who find the same ones, one insert counts, whatever it brings and however
 * late it comes. Under one that was used `events` would drop its rows, while its views might take them.
 */
export function tokenBeside(token: string, inPlace: readonly { offset: bigint; eventId: string }[]): string {
  return inPlace.length === 0 ? token : remainderToken(token, inPlace.map(({ offset, eventId }) => placedId(offset, eventId)).toSorted());
}
