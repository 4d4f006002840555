import { MillraceError } from '../errors.ts';
import type { AskRows, Status } from './letters.ts';

/** Which letters. Values of one name are alternatives; different names must all hold. */
export interface Filter {
  status: Status;
  id: string[];
  code: string[];
  tenant: string[];
  topic: string[];
  messageId: string[];
  /** Milliseconds since the epoch, of the letter's `at`: from `since` on, and before `until`. */
  sinceMs: number | null;
  untilMs: number | null;
  /** A boolean SQL expression over the columns of `dead_letters`. */
  where: string | null;
}

/** A condition over `dead_letters`, with its values bound. */
export interface Condition {
  sql: string;
  params: Record<string, unknown>;
}

export function conditionOf(filter: Filter): Condition {
  const parts = ['status = {status: String}'];
  const params: Record<string, unknown> = { status: filter.status };
  const among = (column: string, type: string, values: readonly string[]): void => {
    if (values.length === 0) return;
    parts.push(`${column} IN {${column}: Array(${type})}`);
    params[column] = values;
  };
  among('id', 'UUID', filter.id);
  among('code', 'String', filter.code);
  among('tenant', 'String', filter.tenant);
  among('topic', 'String', filter.topic);
  among('message_id', 'String', filter.messageId);
  const bound = (name: string, operator: string, ms: number | null): void => {
    if (ms === null) return;
    parts.push(`at ${operator} fromUnixTimestamp64Milli({${name}: Int64})`);
    params[name] = String(ms);
  };
  bound('since', '>=', filter.sinceMs);
  bound('until', '<', filter.untilMs);
  // On lines of its own, so that a comment at its end ends there.
  if (filter.where !== null) parts.push(`id IN (\n${subquery(filter.where)}\n)`);
  return { sql: parts.join(' AND '), params };
}

/**
 * Whether `where` is one expression by itself, so that it cannot reach past the other conditions; and one that ClickHouse knows.
 * Throws `config_invalid` with ClickHouse's reason in one line.
 */
export async function checkWhere(where: string, rows: AskRows): Promise<void> {
  try {
    await rows('SELECT formatQuery({text: String})', { text: subquery(where) });
    await rows(`${subquery(where)}\nLIMIT 0 SETTINGS readonly = 1`);
  } catch (thrown) {
    if (!(thrown instanceof MillraceError) || thrown.code !== 'clickhouse_refused') throw thrown;
    throw new MillraceError('config_invalid', `--where is no condition that ClickHouse takes: ${reasonOf(thrown)}`, {
      cause: thrown,
      hint: "It is a boolean expression over the columns of dead_letters, like: --where \"code = 'schema_unknown' AND detail LIKE '%17%'\"",
    });
  }
}

function subquery(where: string): string {
  return `SELECT id FROM dead_letters WHERE (\n${where}\n)`;
}

function reasonOf(error: MillraceError): string {
  const text = error.message.replace(/^ClickHouse, query: /, '').split(/\n| In scope |\. Expected one of|: While (?:executing|processing)/)[0] ?? '';
  // Positions count what stands around the condition here.
  return clip(text.replace(/failed at position \d+ \(([^]*?)\) \(line \d+, col \d+\):?/, 'at "$1"').replace(/[\s.]+$/, ''));
}

function clip(text: string): string {
  return text.length > 300 ? `${text.slice(0, 300)} …` : text;
}
