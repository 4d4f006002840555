import { Readable } from 'node:stream';
import { ClickHouseError, createClient } from '@clickhouse/client';
import type { ClickHouseSettings } from '@clickhouse/client';
import { MillraceError, asError } from '../errors.ts';

export interface ClickHouseConnection {
  url: string;
  username?: string;
  password?: string;
  database: string;
  /** For one query or insert. */
  timeoutMs: number;
}

export interface InsertBlock {
  table: string;
  columns: readonly string[];
  /** JSONCompactEachRow lines; as bytes several in one piece, each with its line break. */
  lines: readonly string[] | readonly Buffer[];
  /** `insert_deduplication_token`: a second insert under it is dropped by ClickHouse, whatever its rows. */
  token: string;
}

/** The few things that millrace asks of ClickHouse. Every fault is `clickhouse_unavailable` or `clickhouse_refused`. */
export interface ClickHouse {
  command(statement: string, signal?: AbortSignal): Promise<void>;
  /** Rows as arrays, in the statement's column order; 64-bit integers come as strings. */
  rows(statement: string, params?: Record<string, unknown>, signal?: AbortSignal): Promise<unknown[][]>;
  /** One synchronous insert of one block. */
  insert(block: InsertBlock, signal?: AbortSignal): Promise<void>;
  ping(): Promise<boolean>;
  close(): Promise<void>;
}

/** A string literal. Values are bound where a statement can bind them; these are for lists and for DDL. */
export function sqlText(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

/** Of an INSERT SELECT whose block must not be taken for one that was inserted before: that may be there in part, or deleted. */
export const insertAlways = 'SETTINGS insert_deduplicate = 0, max_partitions_per_insert_block = 0';

/** One block in, whole: no background queue, no splitting, no guessing of types from strings. */
const insertSettings: ClickHouseSettings = {
  async_insert: 0,
  wait_end_of_query: 1,
  max_insert_block_size: '10000000',
  min_insert_block_size_rows: '10000000',
  min_insert_block_size_bytes: '1000000000',
  input_format_parallel_parsing: 0,
  max_insert_threads: '1',
  max_partitions_per_insert_block: '0',
  insert_deduplicate: 1,
  deduplicate_blocks_in_dependent_materialized_views: 1,
  input_format_try_infer_dates: 0,
  input_format_try_infer_datetimes: 0,
  // true beside a number or a string in one array stays true.
  input_format_json_read_bools_as_numbers: 0,
  input_format_json_read_bools_as_strings: 0,
  input_format_json_read_numbers_as_strings: 0,
  type_json_skip_duplicated_paths: 1,
  date_time_input_format: 'basic',
};

/**
 * Answers by which ClickHouse says "not now": out of memory, space, connections or time, too many parts, read-only.
 * See src/Common/ErrorCodes.cpp of ClickHouse.
 */
const passingCodes = new Set(['159', '164', '202', '203', '209', '210', '236', '241', '242', '243', '252', '319', '394', '425', '439', '473', '519', '745', '774', '999']);

export function createClickHouse(connection: ClickHouseConnection): ClickHouse {
  const { url, username, password, database, timeoutMs } = connection;
  const client = createClient({
    url,
    database,
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    request_timeout: timeoutMs,
    max_open_connections: 16,
    application: 'millrace',
    log: { level: 127 },
    // A keep-alive socket that the server closes in the same moment fails a request for nothing.
    keep_alive: { enabled: true, idle_socket_ttl: 2_000 },
    clickhouse_settings: { output_format_json_quote_64bit_integers: 1, date_time_output_format: 'iso' },
  });

  const guarded = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (thrown) {
      const error = asError(thrown);
      const refused = error instanceof ClickHouseError && !passingCodes.has(error.code);
      const message = error.message.length > 2_000 ? `${error.message.slice(0, 2_000)} …` : error.message;
      throw new MillraceError(refused ? 'clickhouse_refused' : 'clickhouse_unavailable', `ClickHouse, ${what}: ${message}`, { cause: error });
    }
  };

  return {
    command: (statement, signal) =>
      guarded('command', async () => {
        signal?.throwIfAborted();
        await client.command({ query: statement, ...(signal && { abort_signal: signal }), clickhouse_settings: { wait_end_of_query: 1, max_query_size: '16777216' } });
      }),
    rows: (statement, params, signal) =>
      guarded('query', async () => {
        signal?.throwIfAborted();
        const result = await client.query({
          query: statement,
          format: 'JSONCompactEachRow',
          ...(params && { query_params: params }),
          ...(signal && { abort_signal: signal }),
          // Look-ups carry their ids in the text: 40 bytes each.
          clickhouse_settings: { max_query_size: '16777216' },
        });
        return await result.json<unknown[]>();
      }),
    insert: ({ table, columns, lines, token }, signal) =>
      guarded(`insert into ${table}`, async () => {
        // The client does not look at a signal that has aborted before.
        signal?.throwIfAborted();
        // `exec`, since `insert` would turn rows into JSON once more.
        const { stream } = await client.exec({
          query: `INSERT INTO ${table} (${columns.join(', ')}) FORMAT JSONCompactEachRow`,
          values: Readable.from(typeof lines[0] === 'string' ? [Buffer.from(`${lines.join('\n')}\n`)] : lines, { objectMode: false }),
          ...(signal && { abort_signal: signal }),
          clickhouse_settings: { ...insertSettings, insert_deduplication_token: token },
        });
        for await (const _chunk of stream) { /* an insert answers nothing; reading it frees the connection */ }
      }),
    async ping() {
      return (await client.ping()).success;
    },
    close: () => client.close(),
  };
}
