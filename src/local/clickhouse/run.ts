import type { Answer, Connection } from './engine.ts';
import { Exception } from './exception.ts';
import type { QueryRequest } from './request.ts';
import type { Lease, Sessions } from './sessions.ts';
import { describe, isRead, quoteName, quoteString } from './statement.ts';

/** A statement's answer with what the response headers say of it. */
export interface Outcome extends Answer {
  format: string;
}

export interface Runner {
  /**
   * Runs one request: `body` is its whole body, `queryId` its id. `signal` fires when the client went away: a read is
   * cancelled then. Throws `Exception`.
   */
  run: (request: QueryRequest, body: Buffer, queryId: string, signal: AbortSignal) => Promise<Outcome>;
  /** Cancels everything that runs. */
  cancelAll: () => Promise<void>;
}

/** Answer in time although the engine looks at its clock only between blocks. */
const overtimeMs = 500;

/** How much of a body is looked at to tell an INSERT from other statements. */
const headBytes = 64 * 1024;

interface Running {
  /** What the engine's process list knows this query by: its `log_comment` setting. */
  mark: string;
}

export function createRunner(sessions: Sessions): Runner {
  const running = new Map<string, Running>();

  /** The engine gives its queries ids of its own, so a query is found by its mark. */
  async function kill(mark: string): Promise<void> {
    const connection = sessions.aside();
    try {
      await connection.run(`KILL QUERY WHERE Settings['log_comment'] = ${quoteString(mark)}`, 'Null');
    } finally {
      connection.close();
    }
  }

  async function withLimits(work: Promise<Answer>, mark: string, limitMs: number, signal: AbortSignal | undefined): Promise<Answer> {
    let timer: NodeJS.Timeout | undefined;
    const stop = (): void => {
      kill(mark).catch((error: unknown) => console.error(`cannot cancel ${mark}:`, error));
    };
    const limit = new Promise<never>((_, reject) => {
      if (limitMs <= 0) return;
      timer = setTimeout(() => {
        stop();
        reject(new Exception(159, 'TIMEOUT_EXCEEDED', `Timeout exceeded: elapsed ${limitMs + overtimeMs} ms, maximum: ${limitMs} ms.`));
      }, limitMs + overtimeMs);
    });
    signal?.addEventListener('abort', stop, { once: true });
    try {
      return await Promise.race([work, limit]);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    }
  }

  async function run(request: QueryRequest, body: Buffer, queryId: string, signal: AbortSignal): Promise<Outcome> {
    const head = `${request.query}\n${body.toString('utf8', 0, headBytes)}`;
    const start = describe(head);
    if (start.kind === '') throw new Exception(62, 'SYNTAX_ERROR', 'Empty query.');
    const insert = start.kind === 'INSERT';
    const sql = insert ? '' : body.length > 0 ? `${request.query}\n${body.toString('utf8')}` : request.query;
    const statement = insert ? start : describe(sql);
    if (statement.multiple) throw new Exception(62, 'SYNTAX_ERROR', 'Syntax error (Multi-statements are not allowed).');
    if (statement.intoOutfile) throw new Exception(358, 'INTO_OUTFILE_NOT_ALLOWED', 'INTO OUTFILE is not allowed.');

    if (running.has(queryId)) {
      throw new Exception(216, 'QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING', `Query with id = ${queryId} is already running.`);
    }
    const mark = request.settings['log_comment'] ?? queryId;
    running.set(queryId, { mark });
    let lease: Lease | undefined;
    let pending: Promise<unknown> | undefined;
    try {
      lease = await sessions.acquire(request.sessionId, request.sessionTimeoutSeconds, request.sessionCheck);
      if (signal.aborted) throw new Exception(394, 'QUERY_WAS_CANCELLED', 'Query was cancelled.');
      const undo = lease.named ? await undoing(lease.connection, request) : undefined;
      if (lease.named && request.method !== 'POST' && !isRead(statement.kind)) {
        throw new Exception(164, 'READONLY', `${statement.kind} is not allowed by ${request.method}; use POST.`);
      }
      await prepare(lease.connection, request, mark, lease.named);
      const limitMs = Number(request.settings['max_execution_time'] ?? 0) * 1000;
      const work = insert ? insertWith(lease.connection, request.query, body) : lease.connection.run(await translateKill(sql, statement.kind), request.format);
      // The session is given back when the engine is done with it, which may be after the answer.
      const session = lease.connection;
      pending = work
        .catch(() => undefined)
        .then(() => undo === undefined ? undefined : session.run(undo, 'Null'))
        .catch((error: unknown) => console.error('a named session keeps the settings of a request:', error));
      const answer = await withLimits(work, mark, Number.isFinite(limitMs) ? limitMs : 0, isRead(statement.kind) ? signal : undefined);
      // The client's next request may name the session again: it must be free by then.
      if (lease.named) await pending;
      return { ...answer, format: statement.format ?? request.format };
    } finally {
      const done = (): void => {
        running.delete(queryId);
        lease?.release();
      };
      if (pending === undefined) done();
      else void pending.then(done);
    }
  }

  /** A client cancels by the id it gave; the engine's process list has another. */
  async function translateKill(sql: string, kind: string): Promise<string> {
    if (kind !== 'KILL') return sql;
    return sql.replaceAll(/'((?:[^'\\]|\\.)*)'/g, (literal, id: string) =>
      running.has(id) ? `(SELECT any(query_id) FROM system.processes WHERE Settings['log_comment'] = ${quoteString(running.get(id)?.mark ?? id)})` : literal,
    );
  }

  return {
    run,
    cancelAll: async () => {
      await Promise.allSettled([...running.values()].map(({ mark }) => kill(mark)));
    },
  };
}

async function insertWith(connection: Connection, query: string, body: Buffer): Promise<Answer> {
  try {
    return await connection.insert(query, body);
  } catch (error) {
    // Over HTTP an INSERT with a format and without data is content with inserting nothing.
    if (error instanceof Exception && error.code === 108 && /\bFORMAT\s+\w+\s*$/i.test(query)) {
      return { bytes: new Uint8Array(0), elapsedSeconds: 0, rowsRead: 0, bytesRead: 0, rowsWritten: 0, bytesWritten: 0 };
    }
    throw error;
  }
}

/** Puts the request's database, settings and parameters on the session, in one step. */
async function prepare(connection: Connection, request: QueryRequest, mark: string, named: boolean): Promise<void> {
  const steps: string[] = [];
  if (request.database !== undefined && request.database !== '') steps.push(`USE ${quoteName(request.database)}`);
  if (request.role !== undefined) steps.push(`SET ROLE ${quoteName(request.role)}`);
  const values = { log_comment: mark, ...request.settings };
  const pairs = Object.entries(values).map(([name, value]) => {
    if (!/^\w+$/.test(name)) throw new Exception(115, 'UNKNOWN_SETTING', `Unknown setting '${name}'.`);
    return `${name} = ${quoteString(value)}`;
  });
  for (const [name, value] of Object.entries(request.params)) {
    if (!/^\w+$/.test(name)) throw new Exception(36, 'BAD_ARGUMENTS', `Bad name of a query parameter: ${name}.`);
    pairs.push(`param_${name} = ${quoteString(value)}`);
  }
  steps.push(`SET ${pairs.join(', ')}`);
  // A GET may change nothing, as on the server. A session that lives on can't be made read-only and writable again.
  const readonly = request.method !== 'POST' && !named && (request.settings['readonly'] ?? '0') === '0';
  if (readonly) steps.push('SET readonly = 2');
  await connection.run(steps.join('; '), 'Null');
}

/**
 * The statements that put a named session back after a request: what the URL sets is for one request, what a SET or USE
 * statement sets stays. (A SET of a setting that the same request's URL holds too is undone.)
 */
async function undoing(connection: Connection, request: QueryRequest): Promise<string> {
  const names = ['log_comment', ...Object.keys(request.settings)].map(quoteString).join(', ');
  const answer = await connection.run(`SELECT name, value, changed FROM system.settings WHERE name IN (${names})`, 'JSONCompactEachRow');
  const rows = Buffer.from(answer.bytes).toString('utf8').trim().split('\n').filter((line) => line !== '');
  const pairs = rows.map((line) => {
    const [name, value, changed] = JSON.parse(line) as [string, string, number];
    return changed === 1 ? `${name} = ${quoteString(value)}` : `${name} = DEFAULT`;
  });
  const steps = pairs.length === 0 ? [] : [`SET ${pairs.join(', ')}`];
  if (request.database) {
    const database = await connection.run('SELECT currentDatabase()', 'TabSeparatedRaw');
    steps.unshift(`USE ${quoteName(Buffer.from(database.bytes).toString('utf8').trimEnd())}`);
  }
  return steps.join('; ');
}
