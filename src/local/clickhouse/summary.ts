import type { Answer } from './engine.ts';

/**
 * Rows of a result. The engine doesn't tell; line formats and JSON can be counted, for the others it is what was read,
 * at least one when there are bytes: clickhouse-java skips a result whose summary says none.
 */
export function resultRows(answer: Answer, format: string): number {
  if (answer.rowsWritten > 0) return answer.rowsWritten;
  const { bytes } = answer;
  if (bytes.length === 0) return 0;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (/^(?:TSV|TabSeparated|JSON\w*EachRow)/.test(format)) return countLines(buffer) - headerLines(format);
  if (/^JSON(?:Strings|Compact|CompactStrings|ColumnsWithMetadata)?$/.test(format)) {
    const tail = buffer.toString('latin1', Math.max(0, buffer.length - 4096));
    const rows = [...tail.matchAll(/"rows": (\d+)/g)].at(-1)?.[1];
    if (rows !== undefined) return Number(rows);
  }
  return Math.max(1, answer.rowsRead);
}

function headerLines(format: string): number {
  if (format.endsWith('WithNamesAndTypes')) return 2;
  return format.endsWith('WithNames') ? 1 : 0;
}

function countLines(buffer: Buffer): number {
  let lines = 0;
  for (let at = buffer.indexOf(10); at !== -1; at = buffer.indexOf(10, at + 1)) lines += 1;
  return lines;
}

/** The X-ClickHouse-Summary header that clients read counts from: every value is a decimal string. */
export function summary(answer: Answer, format: string): string {
  return JSON.stringify({
    read_rows: String(answer.rowsRead),
    read_bytes: String(answer.bytesRead),
    written_rows: String(answer.rowsWritten),
    written_bytes: String(answer.bytesWritten),
    total_rows_to_read: '0',
    result_rows: String(resultRows(answer, format)),
    result_bytes: String(answer.rowsWritten > 0 ? answer.bytesWritten : answer.bytes.length),
    elapsed_ns: String(Math.round(answer.elapsedSeconds * 1e9)),
  });
}
