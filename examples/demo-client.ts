import { setTimeout as sleep } from 'node:timers/promises';

/** Where millrace and its ClickHouse are. */
export interface Target {
  /** The door. */
  url: string;
  /** Its write key. */
  key: string;
  /** ClickHouse's HTTP interface. */
  clickhouse: string;
  database: string;
  user: string | undefined;
  password: string | undefined;
}

/** What ends the demo, with what to do about it. */
export class DemoError extends Error {
  override name = 'DemoError';
}

export interface Sent {
  /** For each event: null where it was accepted, else the code of its refusal; `unanswered` where nobody knows. */
  verdicts: (string | null)[];
  retries: number;
}

const giveUpAfterMs = 15_000;

/**
 * Sends events: one alone to /api/v1/events, more to /api/v1/events/batch. Everything that is not a final answer is
 * sent again after `Retry-After`; message ids make that safe. Throws DemoError where the door will have none of it.
 */
export async function send(target: Target, events: readonly unknown[]): Promise<Sent> {
  const verdicts = new Array<string | null>(events.length).fill('unanswered');
  let open = events.map((_, index) => index);
  let retries = 0;
  for (const deadline = Date.now() + giveUpAfterMs; ; retries += 1) {
    let waitMs = 250;
    const answer = await post(target, open.map(index => events[index]));
    if (answer?.status === 200) {
      const errors = new Map(answer.body.errors?.map(({ index, code }) => [index, code]));
      open.forEach((index, position) => (verdicts[index] = errors.get(position) ?? null));
      open = open.filter(index => verdicts[index] === 'unavailable');
      if (open.length === 0) return { verdicts, retries };
    } else if (answer !== null && answer.status < 500 && answer.status !== 429) {
      // Alone, a refused event is a 400; anything else is about the request: the key, the path, the size.
      if (answer.status !== 400 || events.length > 1) throw new DemoError(`${target.url} answered ${answer.status}: ${answer.body.message ?? 'no reason given'}${answer.status === 401 ? ' (--key KEY)' : ''}`);
      return { verdicts: [answer.body.code ?? 'refused'], retries };
    } else if (answer !== null) {
      waitMs = 1000 * (Number(answer.headers.get('retry-after')) || 1);
    }
    if (Date.now() + waitMs > deadline) {
      for (const index of open) verdicts[index] = 'unanswered';
      return { verdicts, retries };
    }
    await sleep(waitMs);
  }
}

interface Answer {
  status: number;
  headers: Headers;
  body: { code?: string; message?: string; errors?: { index: number; code: string }[] };
}

/** Null where no answer came. */
async function post({ url, key }: Target, events: readonly unknown[]): Promise<Answer | null> {
  const [path, body] = events.length === 1 ? ['/api/v1/events', events[0]] : ['/api/v1/events/batch', { batch: events }];
  try {
    const response = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Basic ${btoa(`${key}:`)}` },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text.startsWith('{') ? (JSON.parse(text) as Answer['body']) : { message: text.slice(0, 200) } };
  } catch (error) {
    if (error instanceof SyntaxError) throw new DemoError(`${url} does not answer with JSON: is it millrace?`);
    return null;
  }
}

/** Rows of a query as objects. `params` are bound as {name:Type}. */
export async function query<T>({ clickhouse, database, user, password }: Target, statement: string, params: Record<string, string> = {}): Promise<T[]> {
  const url = new URL(clickhouse);
  url.search = new URLSearchParams({
    database, default_format: 'JSONEachRow', output_format_json_quote_64bit_integers: '0', ...Object.fromEntries(Object.entries(params).map(([name, value]) => [`param_${name}`, value])),
  }).toString();
  const response = await fetch(url, {
    method: 'POST',
    body: statement,
    headers: { ...(user !== undefined && { 'x-clickhouse-user': user }), ...(password !== undefined && { 'x-clickhouse-key': password }) },
    signal: AbortSignal.timeout(10_000),
  });
  const text = await response.text();
  if (!response.ok) throw new DemoError(`ClickHouse at ${clickhouse}: ${text.split('\n')[0]?.slice(0, 300) ?? ''}`);
  return text.split('\n').filter(line => line !== '').map(line => JSON.parse(line) as T);
}

/** Throws DemoError where one of the two does not answer, or has not what the demo needs. */
export async function requireTarget(target: Target): Promise<void> {
  let ready: Response;
  try {
    ready = await fetch(`${target.url}/readyz`, { signal: AbortSignal.timeout(5_000) });
  } catch {
    throw new DemoError(`nothing answers at ${target.url}: start it with npm start, or name another door with --url URL`);
  }
  if (!ready.ok) throw new DemoError(`${target.url} is not ready (${ready.status}): ${(await ready.text()).slice(0, 200)}`);
  try {
    await query(target, 'SELECT count() FROM events');
  } catch (error) {
    if (error instanceof DemoError) throw error;
    throw new DemoError(`no ClickHouse answers at ${target.clickhouse}: name it with --clickhouse URL`);
  }
}
