const types: Record<string, string> = {
  TabSeparated: 'text/tab-separated-values; charset=UTF-8',
  TSV: 'text/tab-separated-values; charset=UTF-8',
  JSON: 'application/json; charset=UTF-8',
  JSONEachRow: 'application/x-ndjson; charset=UTF-8',
  CSV: 'text/csv; charset=UTF-8; header=absent',
  CSVWithNames: 'text/csv; charset=UTF-8; header=present',
  CSVWithNamesAndTypes: 'text/csv; charset=UTF-8; header=present',
  XML: 'application/xml; charset=UTF-8',
  Markdown: 'text/markdown; charset=UTF-8',
  SQLInsert: 'text/x-sql; charset=UTF-8',
  Parquet: 'application/octet-stream',
};

/** Content type of a format's bytes, as the server names it. */
export function contentType(format: string): string {
  const known = types[format];
  if (known !== undefined) return known;
  if (/^(?:TSV|TabSeparated)/.test(format)) return 'text/tab-separated-values; charset=UTF-8';
  if (/^JSON.*EachRow|^LineAsString$/.test(format)) return 'application/x-ndjson; charset=UTF-8';
  if (format.startsWith('JSON')) return 'application/json; charset=UTF-8';
  if (/^(?:Pretty|Vertical|Values|Null|CustomSeparated|Template|Raw)/.test(format)) return 'text/plain; charset=UTF-8';
  return 'application/octet-stream';
}
