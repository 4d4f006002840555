import type { DeadLetter } from '../event/dead-letter.ts';
import { deadLetterColumns, deadLetterRow } from '../event/dead-letter.ts';
import type { ClickHouse } from './clickhouse.ts';
import type { Store } from './partitions.ts';
import { remainderToken } from './plan.ts';

/** A record of the dead-letter topic, read. */
export interface DeadLetterRecord {
  offset: bigint;
  value: Buffer | null;
  letter: DeadLetter;
}

/**
 * Stores planned batches of dead letters, each id once: a letter that is put on the topic twice (a sink died in between)
 * is one row.
 */
export function createStoreDeadLetters(clickhouse: ClickHouse): Store<DeadLetterRecord> {
  const missingOf = async (letters: ReadonlyMap<string, DeadLetter>, signal: AbortSignal): Promise<DeadLetter[]> => {
    const ids = [...letters.keys()];
    const rows = await clickhouse.rows(`SELECT DISTINCT id FROM dead_letters WHERE id IN (${ids.map(id => `'${id}'`).join()})`, undefined, signal);
    const stored = new Set(rows.map(([id]) => String(id)));
    return [...letters.values()].filter(({ id }) => !stored.has(id));
  };
  const insert = (letters: readonly DeadLetter[], token: string, signal: AbortSignal): Promise<void> =>
    clickhouse.insert({ table: 'dead_letters', columns: deadLetterColumns, lines: letters.map(deadLetterRow), token }, signal);

  return async ({ records, token, signal }) => {
    const letters = new Map<string, DeadLetter>();
    for (const { letter } of records) if (!letters.has(letter.id)) letters.set(letter.id, letter);
    const missing = await missingOf(letters, signal);
    if (missing.length === 0) return;
    await insert(missing, token, signal);
    // Letters are few: always look whether all arrived, since ClickHouse drops other rows under a used token.
    const still = await missingOf(letters, signal);
    if (still.length > 0) await insert(still, remainderToken(token, still.map(({ id }) => id)), signal);
  };
}
