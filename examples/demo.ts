/**
 * Believable shop traffic against a running millrace, which then counts itself: `npm run demo -- --help`.
 * Ends with 0 when every accepted event is in ClickHouse exactly once, with 1 and the reason when not, with 2 when called wrongly.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { DemoError, query, requireTarget, send } from './demo-client.ts';
import type { Target } from './demo-client.ts';
import { createShopTraffic } from './shop-traffic.ts';
import type { Traffic } from './shop-traffic.ts';

const help = `Shop traffic against a running millrace, then a count of what arrived.

  npm run demo -- [options]

  --rate N           events per second (200)
  --seconds N        how long; 0: until Ctrl-C (30)
  --seed N           the same seed makes the same events (1)
  --patience N       seconds without a new row until it gives up at the end (20)
  --url URL          the door (MILLRACE_URL, or http://127.0.0.1:8080)
  --key KEY          its write key (MILLRACE_KEY, or dev)
  --clickhouse URL   ClickHouse's HTTP interface (CLICKHOUSE_URL, or http://127.0.0.1:8123)
  --database NAME    its database (CLICKHOUSE_DATABASE, or millrace)
  --help

CLICKHOUSE_USER and CLICKHOUSE_PASSWORD are used where they are set.
`;

const ticksPerSecond = 10;
const requestsAtOnce = 8;
const largestBatch = 500;

interface Options {
  rate: number;
  seconds: number;
  seed: number;
  /** Milliseconds without a new row until the count at the end is over. */
  patienceMs: number;
  target: Target;
}

interface Stored {
  rows: number;
  unique: number;
  recognised: number;
  /** Milliseconds from receipt to the table, of the slowest twentieth. */
  storedAfterMs: number;
}

process.exitCode = await main();

async function main(): Promise<number> {
  let options: Options | null;
  try {
    options = readOptions();
  } catch (error) {
    process.stderr.write(`demo: ${(error as Error).message}\nTry: npm run demo -- --help\n`);
    return 2;
  }
  if (options === null) {
    process.stdout.write(help);
    return 0;
  }
  try {
    await requireTarget(options.target);
    return await demo(options);
  } catch (error) {
    if (!(error instanceof DemoError)) throw error;
    process.stderr.write(`demo: ${error.message}\n`);
    return 1;
  }
}

async function demo({ rate, seconds, seed, patienceMs, target }: Options): Promise<number> {
  const run = `demo-${randomBytes(5).toString('hex')}`;
  const shop = createShopTraffic({ seed, run });
  const stop = new AbortController();
  process.on('SIGINT', () => {
    if (stop.signal.aborted) process.exit(130);
    stop.abort();
  });
  const started = Date.now();
  const count = { made: 0, sent: 0, requests: 0, single: 0, retries: 0, accepted: 0, bad: 0, duplicates: 0, unanswered: 0 };
  const acceptedIds = new Set<string>();
  const refusals = new Map<string, number>();
  let rejected = 0;
  let wrong: string | null = null;
  let stored: Stored | null = null;

  const dispatch = async (batch: readonly Traffic[]): Promise<void> => {
    const { verdicts, retries } = await send(target, batch.map(({ event }) => event));
    count.requests += 1;
    count.single += batch.length === 1 ? 1 : 0;
    count.retries += retries;
    count.sent += batch.length;
    batch.forEach(({ kind, event }, index) => {
      const verdict = verdicts[index] ?? null;
      if (verdict === 'unanswered') {
        count.unanswered += 1;
        return;
      }
      if (kind === 'bad') count.bad += 1;
      if (verdict === null) {
        count.accepted += 1;
        if (acceptedIds.has(event.messageId)) count.duplicates += 1;
        acceptedIds.add(event.messageId);
      } else {
        rejected += 1;
        refusals.set(verdict, (refusals.get(verdict) ?? 0) + 1);
      }
      if ((verdict === null) === (kind === 'bad')) wrong ??= `a ${kind} event was ${verdict === null ? 'accepted' : `refused (${verdict})`}: ${event.messageId}`;
    });
  };

  const live = createLiveLine();
  const clock = (): string => `${Math.floor((Date.now() - started) / 60_000)}:${String(Math.floor((Date.now() - started) / 1000) % 60).padStart(2, '0')}`;
  const show = (): void => {
    const known = [`sent ${n(count.sent)}`, `accepted ${n(count.accepted)}`, `rejected ${n(rejected)}`, `repeats ${n(count.duplicates)}`, `rows ${stored === null ? '?' : n(stored.rows)}`];
    const delay = stored === null || stored.rows === 0 ? [] : [`delay ${(stored.storedAfterMs / 1000).toFixed(1)} s`, `behind ${n(Math.max(0, acceptedIds.size - stored.rows))}`];
    live.show([clock(), ...known, ...delay].join(' '));
  };
  /** Null where ClickHouse does not answer now; the last count at the end decides. */
  const look = async (): Promise<void> => {
    stored = await readStored(target, run).catch(() => null);
  };
  const watching = new AbortController();
  const watch = (async () => {
    for await (const _ of everySecond(watching.signal)) {
      await look();
      show();
    }
  })();

  // At most so many requests under way; a door that is slower than the rate slows the shop down.
  const underWay = new Set<Promise<void>>();
  let fault: Error | null = null;
  const start = async (batch: readonly Traffic[]): Promise<void> => {
    while (underWay.size >= requestsAtOnce) await Promise.race(underWay);
    const request: Promise<void> = dispatch(batch)
      .catch((error: unknown) => {
        fault ??= error instanceof Error ? error : new Error(String(error));
      })
      .finally(() => underWay.delete(request));
    underWay.add(request);
  };
  process.stdout.write(`run ${run}: ${rate} events/s ${seconds === 0 ? 'until Ctrl-C' : `for ${seconds} s`} to ${target.url}\n`);
  for (let tick = 0; !stop.signal.aborted && fault === null && count.unanswered === 0; tick++) {
    const elapsedMs = Date.now() - started;
    const due = Math.floor((Math.min(elapsedMs, seconds === 0 ? Infinity : seconds * 1000) * rate) / 1000) - count.made;
    let events = Array.from({ length: Math.min(due, rate) }, () => shop.next(Date.now()));
    count.made += events.length;
    // Now and then one goes alone, as from a browser.
    if (events.length > 0 && tick % 3 === 0) {
      await start(events.slice(0, 1));
      events = events.slice(1);
    }
    for (let from = 0; from < events.length; from += largestBatch) await start(events.slice(from, from + largestBatch));
    if (seconds > 0 && elapsedMs >= seconds * 1000) break;
    await sleep(1000 / ticksPerSecond, undefined, { signal: stop.signal }).catch(() => undefined);
  }
  await Promise.all(underWay);
  const tookMs = Date.now() - started;

  // The sink may be behind for longer than that after a great rush: time is up so long after the last new row.
  let [arrived, progressAt] = [0, Date.now()];
  for (; fault === null; await sleep(200)) {
    await look();
    const now = stored as Stored | null;
    if (now !== null && now.rows >= acceptedIds.size && now.recognised >= count.duplicates) break;
    if (now !== null && now.rows + now.recognised > arrived) [arrived, progressAt] = [now.rows + now.recognised, Date.now()];
    if (Date.now() > progressAt + patienceMs) break;
  }
  watching.abort();
  await watch;
  show();
  live.end();
  if (fault !== null) throw fault as Error;

  const final = stored as Stored | null;
  const reason =
    final === null ? `ClickHouse at ${target.clickhouse} stopped answering`
    : count.unanswered > 0 ? `the door left ${count.unanswered} events without an answer, so nobody knows about those`
    : final.rows !== acceptedIds.size ? `${n(acceptedIds.size)} distinct events were accepted, ${n(final.rows)} rows are there, and none came for ${patienceMs / 1000} s`
    : final.unique !== final.rows ? `${n(final.rows - final.unique)} message ids are there more than once`
    : wrong;
  process.stdout.write(`
${n(count.sent).padStart(9)}  sent in ${(tookMs / 1000).toFixed(1)} s: ${n(count.requests)} requests, ${n(count.single)} of them with one event, ${n(count.retries)} retried
${n(rejected).padStart(9)}  rejected, of ${n(count.bad)} bad ones${refusals.size > 0 ? `: ${[...refusals].map(([code, times]) => `${times} ${code}`).join(', ')}` : ''}
${n(count.accepted).padStart(9)}  accepted, ${n(count.duplicates)} of them for the second time or more
${n(acceptedIds.size).padStart(9)}  distinct message ids accepted
${(final === null ? '?' : n(final.rows)).padStart(9)}  rows in ${target.database}.events of this run${reason === null ? ': each accepted event is there, once' : ''}
${reason === null ? suggestions(target, run) : ''}`);
  if (reason !== null) process.stderr.write(`demo: the numbers do not agree: ${reason}\n`);
  return reason === null ? 0 : 1;
}

async function readStored(target: Target, run: string): Promise<Stored> {
  const [row] = await query<Stored>(
    target,
    `SELECT count() AS rows, uniqExact(message_id) AS unique, round(quantile(0.95)(dateDiff('millisecond', received_at, stored_at))) AS storedAfterMs,
      (SELECT count() FROM outcomes WHERE outcome = 'duplicate' AND event_id IN (SELECT event_id FROM events WHERE context.app.build.:String = {run:String})) AS recognised
    FROM events WHERE context.app.build.:String = {run:String}`,
    { run },
  );
  if (row === undefined) throw new DemoError('a count without a row');
  return row;
}

function suggestions({ clickhouse, database, user }: Target, run: string): string {
  const curl = (statement: string): string => `  curl ${user === undefined ? '' : '-u "$CLICKHOUSE_USER:$CLICKHOUSE_PASSWORD" '}'${clickhouse}/?database=${database}' -d "${statement} FORMAT PrettyCompact"\n`;
  return `
Ask ClickHouse (more in examples/queries.sql):

${curl(`SELECT event, count() AS events, uniq(user_key) AS people FROM events WHERE type = 'track' GROUP BY event ORDER BY events DESC`)}
${curl(`SELECT toString(properties.currency) AS currency, count() AS orders, round(sum(properties.total::Float64), 2) AS revenue FROM events WHERE event = 'Order Completed' GROUP BY currency`)}
${curl(`SELECT timestamp, type, event, user_key FROM events WHERE context.app.build.:String = '${run}' ORDER BY timestamp DESC LIMIT 10`)}`;
}

/** One line that is written over on a terminal, and lines elsewhere. */
function createLiveLine(): { show: (line: string) => void; end: () => void } {
  const terminal = process.stdout.isTTY;
  return {
    show: line => void process.stdout.write(terminal ? `\r\x1b[2K${line.slice(0, (process.stdout.columns || 80) - 1)}` : `${line}\n`),
    end: () => void (terminal && process.stdout.write('\n')),
  };
}

async function* everySecond(signal: AbortSignal): AsyncGenerator<void> {
  for (;;) {
    await sleep(1000, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    yield;
  }
}

function n(number: number): string {
  return number.toLocaleString('en-US');
}

/** Null where help is wanted. Throws where an argument is not understood. */
function readOptions(): Options | null {
  const { env } = process;
  const text = { type: 'string' } as const;
  const { values } = parseArgs({ options: { rate: text, seconds: text, seed: text, patience: text, url: text, key: text, clickhouse: text, database: text, help: { type: 'boolean', short: 'h' } } });
  if (values.help === true) return null;
  const whole = (name: 'rate' | 'seconds' | 'seed' | 'patience', fallback: number, low: number, high: number): number => {
    const value = Number(values[name] ?? fallback);
    if (Number.isInteger(value) && value >= low && value <= high) return value;
    throw new Error(`--${name} is a whole number from ${low} to ${high}`);
  };
  const address = (name: 'url' | 'clickhouse', fallback: string): string => {
    const value = (values[name] ?? fallback).replace(/\/+$/, '');
    if (URL.canParse(value) && value.startsWith('http')) return value;
    throw new Error(`--${name} is a URL like ${fallback}`);
  };
  return {
    rate: whole('rate', 200, 1, 50_000),
    seconds: whole('seconds', 30, 0, 1_000_000),
    seed: whole('seed', 1, 0, 0xffff_ffff),
    patienceMs: whole('patience', 20, 1, 3_600) * 1000,
    target: {
      url: address('url', env['MILLRACE_URL'] ?? 'http://127.0.0.1:8080'),
      key: values.key ?? env['MILLRACE_KEY'] ?? 'dev',
      clickhouse: address('clickhouse', env['CLICKHOUSE_URL'] ?? 'http://127.0.0.1:8123'),
      database: values.database ?? env['CLICKHOUSE_DATABASE'] ?? 'millrace',
      user: env['CLICKHOUSE_USER'],
      password: env['CLICKHOUSE_PASSWORD'],
    },
  };
}
