import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../errors.ts';
import type { ClickHouse } from './clickhouse.ts';

const pollMs = 200;
/** For inserts that cannot be seen. */
const unseenMs = 3_000;

/**
 * Resolves when no insert is under way that was so when it was called. One that began before a table was made again feeds, through its
 * view, the table that was, however long it takes: whoever looks for what it left out must come after it.
 */
export async function insertsEnded(clickhouse: ClickHouse): Promise<void> {
  const inserts = `FROM system.processes WHERE query_kind = 'Insert' AND current_database = currentDatabase()`;
  const rows = await clickhouse.rows(`SELECT groupArray(query_id) ${inserts}`).catch(async (thrown: unknown) => {
    if (!(thrown instanceof MillraceError) || thrown.code !== 'clickhouse_refused') throw thrown;
    // A user without a grant on it can see none of them: a pause has to do.
    await sleep(unseenMs);
    return [];
  });
  const running = (rows[0]?.[0] ?? []) as string[];
  for (let left = running.length; left > 0; ) {
    await sleep(pollMs);
    const [count] = await clickhouse.rows(`SELECT count() ${inserts} AND query_id IN {running: Array(String)}`, { running });
    left = Number(count?.[0]);
  }
}
