/*
 * What stands behind IN, many values at once, as one literal: of a list of literals ClickHouse parses, resolves and converts each by itself,
 * which takes it longer than finding 10,000 ids among a million.
 */

/** UUIDs of our own making: they stand in the text as they are. */
export function uuidsIn(ids: readonly string[]): string {
  return `(SELECT toUUID(arrayJoin(splitByChar(',', '${ids.join()}'))))`;
}

/** Texts, as hex digits: nothing in them can be read as SQL. */
export function textsIn(values: readonly string[]): string {
  return `(SELECT unhex(arrayJoin(splitByChar(',', '${values.map(hex).join()}'))))`;
}

/** Pairs of texts. */
export function pairsIn(pairs: readonly (readonly [string, string])[]): string {
  return `(SELECT unhex(pair[1]), unhex(pair[2]) FROM (SELECT splitByChar('/', arrayJoin(splitByChar(',', '${pairs.map(pair => pair.map(hex).join('/')).join()}'))) AS pair))`;
}

const reads = { text: 'unhex', UInt32: 'toUInt32', UInt64: 'toUInt64', UUID: 'toUUID', time: '' } as const;

/** Rows of several columns; a time is milliseconds since the epoch. The columns' kinds are in the order of the cells. */
export function rowsIn(kinds: readonly (keyof typeof reads)[], rows: readonly (readonly (string | number | bigint)[])[]): string {
  const columns = kinds.map((kind, at) => (kind === 'time' ? `fromUnixTimestamp64Milli(toInt64(cell[${at + 1}]), 'UTC')` : `${reads[kind]}(cell[${at + 1}])`));
  const text = rows.map(row => row.map((cell, at) => (kinds[at] === 'text' ? hex(String(cell)) : String(cell))).join('/')).join();
  return `(SELECT ${columns.join()} FROM (SELECT splitByChar('/', arrayJoin(splitByChar(',', '${text}'))) AS cell))`;
}

function hex(value: string): string {
  return Buffer.from(value, 'utf8').toString('hex');
}
