import { isRefused, letterJudgement } from '../contract/judged.ts';
import type { ErrorCode } from '../errors.ts';
import type { CanonicalEvent } from '../event/canonical.ts';
import type { DeadLetter } from '../event/dead-letter.ts';
import { deadLetterId, redrivenFromHeader, uuidOrNull } from '../event/dead-letter.ts';
import type { Place } from '../event/row.ts';
import type { StorableEvent } from './event-tables.ts';
import type { StoreRequest } from './partitions.ts';
import type { EventRecord } from './store-events.ts';

/* Records that are no events, as dead letters. */

/** Why a record is none. */
export interface Unfit {
  code: ErrorCode;
  detail: string;
  tenant: string;
  messageId: string | null;
}

/** Which of these ids are letters of what a contract refused. */
export type FindLetters = (ids: readonly string[], signal: AbortSignal) => Promise<Set<string>>;

/** What was redriven and fails again is still the letter that it came from; its own id then tells this failure from others. */
export function letterIds(place: Place, record: EventRecord): { id: string; attempt: string | null } {
  const own = deadLetterId(place, record.timestampMs);
  const from = uuidOrNull(record.header(redrivenFromHeader));
  return from === null ? { id: own, attempt: null } : { id: from, attempt: own };
}

/** `event` is what could be read of the record all the same. */
export function letterOf(place: Place, record: EventRecord, { code, detail, tenant, messageId }: Unfit, event: CanonicalEvent | null): DeadLetter {
  const judged = code === 'contract_violation' ? event?.judged : undefined;
  return {
    ...letterIds(place, record),
    tenant,
    atMs: Math.max(0, record.timestampMs),
    code,
    detail,
    payload: record.value ?? Buffer.alloc(0),
    tombstone: record.value === null,
    source: record.header('dialect') === null ? 'kafka' : 'http',
    writeKeyId: event?.writeKeyId ?? null,
    messageId,
    place,
    origin: { key: record.key, headers: record.headers(), timestampMs: record.timestampMs },
    ...(event !== null && isRefused(judged) && { judged: letterJudgement(event, judged) }),
  };
}

export function recordsByOffset(records: readonly EventRecord[]): Map<bigint, EventRecord> {
  return new Map(records.map(record => [record.offset, record]));
}

/**
 * A sink may have died after it had buried what a contract refused, and before it had written that down, and the contract has changed
 * since: such a record must not become a row beside its letter. Only a replay can find one; `open` is what it would store.
 */
export async function refusedUnderOthers({ topic, partition, records, signal }: StoreRequest<EventRecord>, open: readonly StorableEvent[], findLetters: FindLetters | undefined): Promise<Set<StorableEvent>> {
  if (findLetters === undefined) return new Set();
  const letters = new Map<string, StorableEvent>();
  const recordsAt = recordsByOffset(records);
  for (const event of open) {
    const record = recordsAt.get(event.offset);
    if (event.isJudged || record === undefined) continue;
    const { id, attempt } = letterIds({ topic, partition, offset: record.offset }, record);
    letters.set(attempt ?? id, event);
  }
  const found = letters.size === 0 ? new Set<string>() : await findLetters([...letters.keys()], signal);
  return new Set([...letters].flatMap(([id, event]) => (found.has(id) ? [event] : [])));
}
