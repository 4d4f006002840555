import type { StorableEvent } from '../../src/sink/event-tables.ts';
import type { Scenario } from './scenario.ts';
import { SimulatedFault, createAnswer } from './scheduler.ts';
import type { Action, Process, Scheduler } from './scheduler.ts';

export interface EventRow {
  eventId: string;
  tenant: string;
  partition: number;
  offset: bigint;
  contentHash: string;
  /** What the event says; `raw` of the real table. */
  content: string;
  storedAtMs: number;
}
export interface IdRow {
  eventId: string;
  partition: number;
  offset: bigint;
  contentHash: string;
  storedAtMs: number;
}
export interface OutcomeRow {
  eventId: string;
  partition: number;
  offset: bigint;
  outcome: string;
  reason: string;
  atMs: number;
}
export interface ConflictRow {
  eventId: string;
  partition: number;
  offset: bigint;
  content: string;
  atMs: number;
}

/** A request from its first byte to its answer. */
interface Request {
  from: Process;
  label: string;
  signal?: AbortSignal | undefined;
}

/**
 * ClickHouse as far as the sink relies on it (tried on the real one):
 *   - an insert is one block under a token; a token within the window drops the block, whatever its rows
 *   - `events` is committed first, then its view fills `event_ids`, which has a window of its own: a failure in between leaves
 *     rows without ids, and the next insert under that token gives `event_ids` the ids of *its* rows, though `events` drops them
 *   - `stored_at` is the clock when the insert begins
 *   - a request may land when nobody waits for it any more
 */
export interface ModelClickHouse {
  events: EventRow[];
  ids: IdRow[];
  outcomes: OutcomeRow[];
  conflicts: ConflictRow[];
  /** Ids of events that profiles have. */
  fed: Set<string>;
  checkedUntilMs: number;
  up: boolean;
  /** A question or a change in one step. */
  ask<T>(request: Request, serve: () => T): Promise<T>;
  insertEvents(request: Request, rows: readonly StorableEvent[], partition: number, token: string): Promise<void>;
  /** Into any table but `events`. */
  insert<R>(request: Request, table: R[], rows: () => readonly R[], token: string): Promise<void>;
  crash(): void;
  /** A sink died: what it had sent is lost, or lands later. */
  forget(from: Process): void;
  /** Whether an insert is on its way. */
  busy(): boolean;
  /** Whether a row of `events` has no row in `event_ids`. */
  lacksIds(): boolean;
  /** Called after every change of what is stored. */
  onChange: (what: 'added' | 'removed') => void;
}

interface Sent<in T> {
  landing: Action;
  arrived: boolean;
  givenUp: boolean;
  /** Given up for good: what is not committed yet never is. */
  dropped: boolean;
  ok(value: T): void;
  fail(why: string): void;
}

export function createModelClickHouse(scheduler: Scheduler, scenario: Scenario): ModelClickHouse {
  const { random } = scheduler;
  const windows = new Map<unknown, string[]>();
  /** What the server is working on; a crash ends it. */
  let working: { action: Action; fail: () => void }[] = [];
  const sentBy = new Map<Process, Set<Sent<never>>>();

  /** Whether the token is new to the table; remembers it. */
  const takeToken = (table: unknown, token: string): boolean => {
    const window = windows.get(table) ?? [];
    windows.set(table, window);
    if (window.includes(token)) return false;
    window.push(token);
    if (window.length > scenario.tokenWindow) window.shift();
    return true;
  };

  const work = (label: string, fail: () => void, run: () => void): void => {
    const entry = {
      action: scheduler.add({
        owner: null,
        label: `ClickHouse: ${label}`,
        run() {
          working = working.filter(other => other !== entry);
          run();
        },
      }),
      fail,
    };
    working.push(entry);
  };

  /** Nobody waits for it any more: it is lost, or lands all the same. */
  const giveUp = (sent: Sent<never>): void => {
    sent.givenUp = true;
    if (scenario.lateRequests && random.chance(0.7)) return;
    sent.dropped = true;
    if (!sent.arrived) scheduler.remove(sent.landing);
  };

  /** Sends a request and takes care of all ways to give it up. */
  const send = <T>({ from, label, signal }: Request, arrive: (request: Sent<T>) => void): Promise<T> => {
    const mine = sentBy.get(from) ?? new Set<Sent<never>>();
    sentBy.set(from, mine);
    const landing: Action = {
      owner: null,
      label: `${label} of ${from.name} arrives`,
      run() {
        sent.arrived = true;
        if (sent.givenUp) scheduler.mark('model: a request landed that nobody waited for');
        if (!clickhouse.up) sent.fail('down');
        else if (scheduler.fails(scenario.requestFaultRate / 2)) sent.fail('not now');
        else arrive(sent);
      },
    };
    const sent: Sent<T> = {
      landing,
      arrived: false,
      givenUp: false,
      dropped: false,
      ok(value) {
        mine.delete(sent);
        if (scheduler.fails(scenario.requestFaultRate)) sent.fail('the answer was lost');
        else answer.resolve(value);
      },
      fail(why) {
        mine.delete(sent);
        answer.reject(new SimulatedFault(`ClickHouse: ${why}`));
      },
    };
    const answer = createAnswer<T>(scheduler, from, label, signal, () => giveUp(sent));
    // An aborted one never leaves.
    if (signal?.aborted === true) return answer.promise;
    scheduler.add(landing);
    mine.add(sent);
    if (scheduler.fails(scenario.requestFaultRate)) scheduler.add({ owner: from, label: `${label}: times out`, run() { answer.abandon(new SimulatedFault('ClickHouse: timeout')); } });
    return answer.promise;
  };

  const clickhouse: ModelClickHouse = {
    events: [],
    ids: [],
    outcomes: [],
    conflicts: [],
    fed: new Set(),
    checkedUntilMs: 0,
    up: true,
    ask: (request, serve) => send(request, sent => sent.ok(serve())),
    insert: (request, table, rows, token) =>
      send<undefined>(request, sent => {
        if (takeToken(table, token)) {
          table.push(...rows());
          scheduler.hot = true;
          clickhouse.onChange('added');
        } else scheduler.note(`dropped under a used token: ${token}`);
        sent.ok(undefined);
      }),
    insertEvents: (request, rows, partition, token) =>
      send<undefined>(request, sent => {
        const storedAtMs = scheduler.nowMs();
        const view = (): void => {
          if (takeToken(clickhouse.ids, `view of ${token}`)) clickhouse.ids.push(...rows.map(({ eventId, offset, contentHash }) => ({ eventId, partition, offset, contentHash, storedAtMs })));
          sent.ok(undefined);
        };
        const commit = (): void => {
          if (sent.dropped) return;
          if (takeToken(clickhouse.events, token)) {
            for (const { eventId, offset, contentHash, event } of rows) clickhouse.events.push({ eventId, tenant: event.tenant, partition, offset, contentHash, content: event.properties ?? '', storedAtMs });
            clickhouse.onChange('added');
          } else {
            scheduler.mark('model: a block was dropped');
            scheduler.note(() => `dropped under a used token: ${token}`);
          }
          scheduler.hot = true;
          if (scheduler.fails(scenario.halfInsertRate)) {
            scheduler.mark('model: rows without ids');
            sent.fail('the view failed');
          } else if (scenario.halfInsertRate > 0 && random.chance(0.3)) work(`the view of ${request.label}`, () => sent.fail('crashed'), view);
          else view();
        };
        if (random.chance(0.2)) work(`commits ${request.label}`, () => sent.fail('crashed'), commit);
        else commit();
      }),
    crash() {
      clickhouse.up = false;
      for (const { action, fail } of working.splice(0)) {
        scheduler.remove(action);
        fail();
      }
    },
    forget(from) {
      for (const sent of sentBy.get(from) ?? []) giveUp(sent);
      sentBy.delete(from);
    },
    busy: () => working.length > 0 || scheduler.has(({ label, owner }) => owner === null && label.endsWith('arrives')),
    lacksIds: () => clickhouse.events.some(row => !clickhouse.ids.some(id => id.eventId === row.eventId && id.partition === row.partition && id.offset === row.offset)),
    onChange: () => undefined,
  };
  return clickhouse;
}
