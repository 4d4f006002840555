import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../errors.ts';
import type { ClickHouse } from './clickhouse.ts';

const pollMs = 200;
/** For inserts that cannot be seen. */
const unseenMs = 3_000;

export interface InsertsEndedOptions {
  /** Only statements that insert into this table. */
  into?: string;
  /** Milliseconds; default: as long as they take. */
  patienceMs?: number;
  signal?: AbortSignal | undefined;
}

/**
 * Resolves when no insert is under way that was so when it was called, or patience is at its end. One that began before a table was made again feeds, through its
 * view, the table that was, however long it takes; one that began before rows were removed may copy them still: whoever looks for what it left out, or left behind, must come after it.
 */
export async function insertsEnded(clickhouse: ClickHouse, { into, patienceMs = Infinity, signal }: InsertsEndedOptions = {}): Promise<void> {
  const inserts = `FROM system.processes WHERE query_kind = 'Insert' AND current_database = currentDatabase()${into === undefined ? '' : ` AND position(query, 'INSERT INTO ${into} ') > 0`}`;
  const pause = (ms: number): Promise<void> => sleep(ms, undefined, signal && { signal });
  const rows = await clickhouse.rows(`SELECT groupArray(query_id) ${inserts}`, undefined, signal).catch(async (thrown: unknown) => {
    if (!(thrown instanceof MillraceError) || thrown.code !== 'clickhouse_refused') throw thrown;
    // A user without a grant on it can see none of them: a pause has to do.
    await pause(unseenMs);
    return [];
  });
  const running = (rows[0]?.[0] ?? []) as string[];
  const began = performance.now();
  for (let left = running.length; left > 0 && performance.now() - began < patienceMs; ) {
    await pause(pollMs);
    const [count] = await clickhouse.rows(`SELECT count() ${inserts} AND query_id IN {running: Array(String)}`, { running }, signal);
    left = Number(count?.[0]);
  }
}
