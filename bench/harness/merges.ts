import type { ClickHouse } from '../../src/sink/clickhouse.ts';

/** Rows come bit by bit in life: what ClickHouse still merges of millions that came at once would be measured as if it were the work. */
export async function mergesEnded(clickhouse: ClickHouse, onProgress: (line: string) => void): Promise<void> {
  let quiet = 0;
  for (const deadline = performance.now() + 600_000; quiet < 5; ) {
    const [row] = await clickhouse.rows("SELECT count() FROM system.merges WHERE database = currentDatabase()");
    quiet = Number(row?.[0]) === 0 ? quiet + 1 : 0;
    if (performance.now() > deadline) throw new Error('ClickHouse merges without end');
    await new Promise(resolve => setTimeout(resolve, 1_000));
  }
  onProgress('ClickHouse has merged what it will');
}
