import { MillraceError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { placedId } from './event-tables.ts';
import type { BatchPlace, EventTables, StorableEvent } from './event-tables.ts';
import { tokenBeside } from './plan.ts';

/** How often rows go in once more that ClickHouse has dropped. */
const maxInsertsAgain = 5;

export interface InsertOnce {
  tables: EventTables;
  place: BatchPlace;
  /** Of the batch's plan. */
  token: string;
  /** What of the batch is in `events` already. */
  inPlace: readonly StorableEvent[];
  /** Whether the token may have been used: then what was inserted is looked for. */
  replay: boolean;
  log: Log;
}

/**
 * Inserts the rest of a batch, and does not return before it is in `events`. Answers the events that ClickHouse can't hold, with its words.
 * ClickHouse silently drops what comes under a token that was used, perhaps by rows that were taken away since; so whatever is not there afterwards goes in
 * under the next token, which is the same for all who find the same in place. Throws `clickhouse_unavailable` where it is never there.
 */
export async function insertOnce(missing: readonly StorableEvent[], { tables, place, token, inPlace, replay, log }: InsertOnce): Promise<Map<StorableEvent, string>> {
  const unfit = await tables.insertEvents(place, missing, tokenBeside(token, inPlace));
  if (!replay) return unfit;
  const fit = missing.filter(row => !unfit.has(row));
  for (let again = 1; ; again++) {
    const there = await tables.storedAt(place, fit);
    const isThere = ({ offset, eventId }: StorableEvent): boolean => there.has(placedId(offset, eventId));
    const still = fit.filter(row => !isThere(row));
    if (still.length === 0) return unfit;
    if (again > maxInsertsAgain) throw new MillraceError('clickhouse_unavailable', `${still.length} rows were inserted ${again} times and are not in events; looking again`);
    note(log, 'rows_inserted_again', { topic: place.topic, partition: place.partition, rows: still.length });
    await tables.insertEvents(place, still, tokenBeside(`${token}/again-${again}`, [...inPlace, ...fit.filter(isThere)]));
  }
}
