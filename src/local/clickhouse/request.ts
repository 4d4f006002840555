import type { IncomingHttpHeaders } from 'node:http';
import { Exception } from './exception.ts';

/** What a request asks for, apart from its body: plain data from the URL and the headers. */
export interface QueryRequest {
  method: string;
  /** The statement, or its first part, from the URL. */
  query: string;
  database: string | undefined;
  /** Output format where the statement names none. */
  format: string;
  queryId: string | undefined;
  sessionId: string | undefined;
  sessionTimeoutSeconds: number;
  /** Whether the session must be there already. */
  sessionCheck: boolean;
  role: string | undefined;
  settings: Record<string, string>;
  /** Query parameters, values escaped as in TabSeparated, without the `param_` prefix. */
  params: Record<string, string>;
  /** Response in ClickHouse's own block framing. */
  compress: boolean;
  /** Request body in ClickHouse's own block framing. */
  decompress: boolean;
  /** Content encoding to answer with, where the client allowed any. */
  acceptEncoding: string | undefined;
}

/** URL parameters that are neither settings nor query parameters. Answers are always whole, so two of them do nothing. */
const reserved = new Set([
  'query', 'database', 'default_format', 'query_id', 'session_id', 'session_timeout', 'session_check', 'user', 'password',
  'quota_key', 'role', 'compress', 'decompress', 'buffer_size', 'wait_end_of_query', 'stacktrace', 'client_protocol_version',
  'close_session',
]);

function header(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** Reads URL and headers. Throws `Exception` for a parameter that can't be what it says. */
export function parseRequest(method: string, url: URL, headers: IncomingHttpHeaders): QueryRequest {
  const q = url.searchParams;
  const settings: Record<string, string> = {};
  const params: Record<string, string> = {};
  for (const [name, value] of q) {
    if (reserved.has(name)) continue;
    if (name.startsWith('param_')) params[name.slice('param_'.length)] = value;
    else settings[name] = value;
  }
  const format = q.get('default_format') ?? header(headers, 'x-clickhouse-format') ?? 'TabSeparated';
  if (!/^\w+$/.test(format)) throw new Exception(73, 'UNKNOWN_FORMAT', `Unknown format ${format}.`);
  const timeout = Number(q.get('session_timeout') ?? 60);
  if (!Number.isInteger(timeout) || timeout < 0 || timeout > 3600) {
    throw new Exception(374, 'INVALID_SESSION_TIMEOUT', 'Session timeout must be a whole number of seconds from 0 to 3600.');
  }
  const wantsHttpCompression = ['1', 'true'].includes(settings['enable_http_compression'] ?? '');
  return {
    method,
    query: q.get('query') ?? '',
    database: q.get('database') ?? header(headers, 'x-clickhouse-database') ?? undefined,
    format,
    queryId: q.get('query_id') || header(headers, 'x-clickhouse-query-id') || undefined,
    sessionId: q.get('session_id') || undefined,
    sessionTimeoutSeconds: timeout,
    sessionCheck: q.get('session_check') === '1',
    role: q.get('role') ?? undefined,
    settings,
    params,
    compress: q.get('compress') === '1',
    decompress: q.get('decompress') === '1',
    acceptEncoding: wantsHttpCompression ? header(headers, 'accept-encoding') : undefined,
  };
}

/**
 * Refuses (516) anybody but the one user there is: `default` without a password, named by headers, HTTP Basic or URL.
 */
export function authenticate(url: URL, headers: IncomingHttpHeaders): void {
  let user = header(headers, 'x-clickhouse-user') ?? url.searchParams.get('user') ?? undefined;
  let password = header(headers, 'x-clickhouse-key') ?? url.searchParams.get('password') ?? undefined;
  const authorization = header(headers, 'authorization');
  if (user === undefined && password === undefined && authorization !== undefined) {
    const [scheme = '', value = ''] = authorization.split(' ', 2);
    const text = Buffer.from(value, 'base64').toString('utf8');
    const colon = text.indexOf(':');
    user = scheme.toLowerCase() === 'basic' ? text.slice(0, colon < 0 ? undefined : colon) : `${scheme} token`;
    password = colon < 0 ? '' : text.slice(colon + 1);
  }
  user = user || 'default';
  if (user === 'default' && !password) return;
  throw new Exception(
    516,
    'AUTHENTICATION_FAILED',
    `${user}: Authentication failed: password is incorrect, or there is no user with such name.`,
  );
}

/** A request with what a form body adds: the statement and query parameters. Tables as files (external data) are refused. */
export function withFields(request: QueryRequest, fields: Map<string, string>): QueryRequest {
  const params = { ...request.params };
  let query = request.query;
  for (const [name, value] of fields) {
    if (name === 'query') query += value;
    else if (name.startsWith('param_')) params[name.slice('param_'.length)] = value;
    else throw new Exception(48, 'NOT_IMPLEMENTED', `External data (the form field ${name}) is not known here.`);
  }
  return { ...request, query, params };
}
