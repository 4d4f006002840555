import type { DeadLetter } from '../event/dead-letter.ts';
import { attemptColumns, attemptRow, deadLetterColumns, deadLetterRow } from '../event/dead-letter.ts';
import { clickHouseTime } from '../event/time.ts';
import { sqlText } from './clickhouse.ts';
import type { ClickHouse } from './clickhouse.ts';
import type { Store } from './partitions.ts';
import { remainderToken } from './plan.ts';

/** A record of the dead-letter topic, read. */
export interface DeadLetterRecord {
  offset: bigint;
  value: Buffer | null;
  letter: DeadLetter;
}

type Attempt = DeadLetter & { attempt: string };

/** Letters in one UPDATE, and characters of a detail in it: it travels as text. The whole detail is in `dead_letter_attempts`. */
const maxUpdate = 1_000;
const maxDetail = 2_000;

/**
 * Stores planned batches of dead letters, each id once: a letter that is put on the topic twice (a sink died in between)
 * is one row.
 *
 * A letter with an attempt was redriven and failed again (docs/adr/0004-redrive.md): its bytes go to `dead_letter_attempts`,
 * and the row of the letter is open again, with the new code and detail. The row's own list of attempts makes that happen
 * once for each, also when the batch is read again long after, and tells `millrace redrive` that it may not close the letter.
 */
export function createStoreDeadLetters(clickhouse: ClickHouse): Store<DeadLetterRecord> {
  const inList = (ids: readonly string[]): string => ids.map(id => `'${id}'`).join();
  const missingFrom = async <L>(table: string, byId: ReadonlyMap<string, L>, signal: AbortSignal): Promise<Map<string, L>> => {
    const rows = byId.size === 0 ? [] : await clickhouse.rows(`SELECT DISTINCT id FROM ${table} WHERE id IN (${inList([...byId.keys()])})`, undefined, signal);
    const stored = new Set(rows.map(([id]) => String(id)));
    return new Map([...byId].filter(([id]) => !stored.has(id)));
  };

  /** Inserts those that a table lacks. Letters are few: always look whether all arrived, since ClickHouse drops other rows under a used token. */
  const insertMissing = async <L>(table: string, columns: readonly string[], row: (letter: L) => string, byId: ReadonlyMap<string, L>, token: string, signal: AbortSignal): Promise<void> => {
    const insert = (letters: ReadonlyMap<string, L>, under: string): Promise<void> => clickhouse.insert({ table, columns, lines: [...letters.values()].map(row), token: under }, signal);
    const missing = await missingFrom(table, byId, signal);
    if (missing.size === 0) return;
    await insert(missing, token);
    const still = await missingFrom(table, missing, signal);
    if (still.size > 0) await insert(still, remainderToken(token, [...still.keys()]));
  };

  const reopen = async (attempts: readonly Attempt[], signal: AbortSignal): Promise<void> => {
    const rows = await clickhouse.rows(`SELECT id, attempts FROM dead_letters WHERE id IN (${inList(attempts.map(({ id }) => id))})`, undefined, signal);
    const known = new Map(rows.map(([id, list]) => [String(id), new Set(list as string[])]));
    let open = attempts.filter(({ id, attempt }) => known.get(id)?.has(attempt) !== true);
    while (open.length > 0) {
      // One UPDATE sets one attempt of a letter; a letter that failed several times in this batch takes several, in order.
      const round = new Map<string, Attempt>();
      const later: Attempt[] = [];
      for (const letter of open) {
        if (round.size < maxUpdate && !round.has(letter.id)) round.set(letter.id, letter);
        else later.push(letter);
      }
      await clickhouse.command(reopenStatement([...round.values()]), signal);
      open = later;
    }
  };

  return async ({ records, token, signal }) => {
    const letters = new Map<string, DeadLetter>();
    const attempts = new Map<string, Attempt>();
    for (const { letter } of records) {
      if (!letters.has(letter.id)) letters.set(letter.id, letter);
      if (letter.attempt !== null) attempts.set(letter.attempt, { ...letter, attempt: letter.attempt });
    }
    await insertMissing('dead_letter_attempts', attemptColumns, attemptRow, attempts, `${token}/attempts`, signal);
    await insertMissing('dead_letters', deadLetterColumns, deadLetterRow, letters, token, signal);
    if (attempts.size > 0) await reopen([...attempts.values()], signal);
  };
}

/** Which of these letters, or attempts of letters, are stored as what a contract refused. */
export async function findLetters(clickhouse: ClickHouse, ids: readonly string[], signal: AbortSignal): Promise<Set<string>> {
  if (ids.length === 0) return new Set();
  const list = ids.map(id => `'${id}'`).join();
  const rows = await clickhouse.rows(`SELECT id FROM dead_letters WHERE id IN (${list}) AND notEmpty(contract_violations) UNION ALL SELECT id FROM dead_letter_attempts WHERE id IN (${list}) AND notEmpty(contract_violations)`, undefined, signal);
  return new Set(rows.map(([id]) => String(id)));
}

function reopenStatement(attempts: readonly Attempt[]): string {
  const ids = `[${attempts.map(({ id }) => sqlText(id)).join()}]`;
  const pick = (value: (attempt: Attempt) => string, otherwise: string): string => `transform(toString(id), ${ids}, [${attempts.map(attempt => sqlText(value(attempt))).join()}], ${otherwise})`;
  const attempt = `toUUID(${pick(letter => letter.attempt, "'00000000-0000-0000-0000-000000000000'")})`;
  return `ALTER TABLE dead_letters UPDATE status = 'open', code = ${pick(({ code }) => code, "''")}, detail = ${pick(({ detail }) => detail.slice(0, maxDetail), "''")},
    attempts = arrayPushBack(attempts, ${attempt}), changed_at = '${clickHouseTime(Date.now())}'
    WHERE id IN ${ids} AND NOT has(attempts, ${attempt}) SETTINGS mutations_sync = 1`;
}
