import { MillraceError, asError } from '../errors.ts';
import { sqlText } from './clickhouse.ts';
import type { ClickHouse } from './clickhouse.ts';

export interface MendedInsert<R> {
  table: string;
  columns: readonly string[];
  rows: readonly R[];
  /** A row as one JSONCompactEachRow line; `bare` without all that could be refused. */
  line: (row: R, bare: boolean) => string;
  token: string;
  signal: AbortSignal;
}

/** Some 50 ms of work. */
const rowsAtOnce = 1_000;

/** More than this many questions would keep a partition waiting for minutes; what is still unclear then goes in bare. */
const maxProbes = 400;

/**
 * Inserts rows as one block. Where ClickHouse refuses the block for single rows, finds those by halves, without inserting any,
 * and inserts them bare; answers the rows that it refuses even so, with its words, having inserted the others.
 * Throws what `ClickHouse.insert` throws: `clickhouse_refused` only where no single row is to blame.
 */
export async function insertMended<R>(clickhouse: ClickHouse, insert: MendedInsert<R>): Promise<Map<R, string>> {
  const { table, columns, rows, line, token, signal } = insert;
  const refused = new Map<R, string>();
  const block = await bytesOf(insert, refused);
  if (block.length === 0) return refused;
  const lines = new Map<R, string>();
  try {
    await clickhouse.insert({ table, columns, lines: block, token }, signal);
    return refused;
  } catch (thrown) {
    if (!isRefusal(thrown)) throw thrown;
    for (const row of rows) if (!refused.has(row)) lines.set(row, line(row, false));
    const nowhere = await nullTableLike(clickhouse, table, columns, signal);
    if (nowhere === null) throw thrown;
    const bad = await findRefused(clickhouse, nowhere, insert, lines, maxProbes);
    if (bad.size === 0) throw thrown;
    const bareOnly = new Map([...bad.keys()].map(row => [row, line(row, true)]));
    for (const [row, bare] of bareOnly) lines.set(row, bare);
    for (const [row, words] of await findRefused(clickhouse, nowhere, insert, bareOnly, Infinity)) {
      refused.set(row, words);
      lines.delete(row);
    }
  }
  if (lines.size > 0) await clickhouse.insert({ table, columns, lines: [...lines.values()], token }, signal);
  return refused;
}

/** The rows as bytes, in pieces: a block of strings would be kept three times over, and be moved by the collector again and again. */
async function bytesOf<R>({ rows, line }: MendedInsert<R>, refused: Map<R, string>): Promise<Buffer[]> {
  const pieces: Buffer[] = [];
  for (let at = 0; at < rows.length; at += rowsAtOnce) {
    // Heartbeats must not wait for all of a large block.
    if (at > 0) await new Promise(resolve => setImmediate(resolve));
    let text = '';
    for (const row of rows.slice(at, at + rowsAtOnce)) {
      try {
        text += `${line(row, false)}\n`;
      } catch (thrown) {
        // Nothing that one row holds may keep the others waiting.
        refused.set(row, `a fault of millrace: ${asError(thrown).message}`);
      }
    }
    if (text !== '') pieces.push(Buffer.from(text));
  }
  return pieces;
}

function isRefusal(thrown: unknown): boolean {
  return thrown instanceof MillraceError && thrown.code === 'clickhouse_refused';
}

/** A table function that parses such rows and stores nothing; null where there is no table with these columns. */
async function nullTableLike(clickhouse: ClickHouse, table: string, columns: readonly string[], signal: AbortSignal): Promise<string | null> {
  const types = new Map((await clickhouse.rows('SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table: String}', { table }, signal)).map(([name, type]) => [String(name), String(type)]));
  if (columns.some(name => !types.has(name))) return null;
  const structure = columns.map(name => `${name} ${types.get(name) ?? ''}`).join(', ');
  return `FUNCTION null(${sqlText(structure)})`;
}

async function findRefused<R>(clickhouse: ClickHouse, nowhere: string, { columns, signal }: MendedInsert<R>, lines: ReadonlyMap<R, string>, probes: number): Promise<Map<R, string>> {
  const refused = new Map<R, string>();
  let left = probes;
  const search = async (part: readonly (readonly [R, string])[]): Promise<void> => {
    if (part.length === 0) return;
    let words = 'it lies near rows that ClickHouse refuses';
    if (left-- > 0) {
      try {
        await clickhouse.insert({ table: nowhere, columns, lines: part.map(([, text]) => text), token: '' }, signal);
        return;
      } catch (thrown) {
        if (!isRefusal(thrown)) throw thrown;
        words = asError(thrown).message;
      }
      if (part.length > 1) {
        await search(part.slice(0, part.length >> 1));
        await search(part.slice(part.length >> 1));
        return;
      }
    }
    for (const [row] of part) refused.set(row, words);
  };
  await search([...lines]);
  return refused;
}
