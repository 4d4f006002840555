/*
 * A cooperative scheduler: whatever could happen next lies in one list, and a seed chooses what does. The code under test runs
 * as it is, on promises that only this scheduler settles; after every step its continuations run until all of them wait again.
 */

/** Choices that a seed repeats. */
export interface Random {
  /** A whole number, both ends included. */
  int(low: number, high: number): number;
  chance(probability: number): boolean;
  pick<T>(from: readonly T[]): T;
}

/** mulberry32: 32 bits of state, even enough for choosing what happens next. */
export function createRandom(seed: number): Random {
  let state = seed | 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  // Neighbouring seeds begin alike.
  for (let skipped = 0; skipped < 4; skipped++) next();
  return {
    int: (low, high) => low + Math.floor(next() * (high - low + 1)),
    chance: probability => next() < probability,
    pick(from) {
      const found = from[Math.floor(next() * from.length)];
      if (found === undefined) throw new RangeError('nothing to pick from');
      return found;
    },
  };
}

/** Who takes steps. Those of one that is stopped wait; those of one that died never happen. */
export interface Process {
  name: string;
  stopped: boolean;
  dead: boolean;
}

export interface Action {
  /** Null: the network or a server, which no sink's death ends. */
  owner: Process | null;
  label: string;
  /** Whether it can happen now; default: yes. */
  ready?: () => boolean;
  run: () => void;
}

export interface Scheduler {
  random: Random;
  /** Off while everything drains. */
  faults: boolean;
  /** Set by a step after which a fault would hurt. */
  hot: boolean;
  readonly steps: number;
  /** Of the last minutes before a violation, if asked for. */
  readonly journal: readonly string[];
  nowMs(): number;
  advance(ms: number): void;
  note(line: string | (() => string)): void;
  add(action: Action): Action;
  remove(action: Action): void;
  /** All that is left of a process. */
  drop(owner: Process): void;
  has(test: (action: Action) => boolean): boolean;
  /** A fault's chance, none while everything drains. */
  fails(probability: number): boolean;
  /** Remembers that something worth counting came about. */
  mark(what: string): void;
  readonly marks: ReadonlySet<string>;
  /** Lets one of the actions that can happen do so. `quiet`: no process had a part in it, so nothing has to settle. */
  step(): 'none' | 'quiet' | 'heard';
  /** Runs continuations until all of them wait for an action. */
  settle(): Promise<void>;
}

export function createScheduler(random: Random, keepJournal: boolean): Scheduler {
  let pending: Action[] = [];
  let clockMs = 1_750_000_000_000;
  let steps = 0;
  const journal: string[] = [];
  const marks = new Set<string>();
  /** Reused: this is asked at every step. */
  const possible: Action[] = [];

  const scheduler: Scheduler = {
    random,
    faults: true,
    hot: false,
    get steps() {
      return steps;
    },
    journal,
    marks,
    mark: what => void marks.add(what),
    nowMs: () => clockMs,
    advance: ms => void (clockMs += ms),
    note(line) {
      if (keepJournal) journal.push(`${String(steps).padStart(4)}  ${typeof line === 'string' ? line : line()}`);
    },
    add(action) {
      if (action.owner?.dead !== true) pending.push(action);
      return action;
    },
    remove(action) {
      const at = pending.indexOf(action);
      if (at >= 0) pending.splice(at, 1);
    },
    drop(owner) {
      pending = pending.filter(action => action.owner !== owner);
    },
    has: test => pending.some(test),
    fails: probability => scheduler.faults && random.chance(probability),
    step() {
      possible.length = 0;
      for (const action of pending) if (action.owner?.stopped !== true && (action.ready === undefined || action.ready())) possible.push(action);
      if (possible.length === 0) return 'none';
      const action = random.pick(possible);
      scheduler.remove(action);
      steps++;
      // Often none: two things may happen in one millisecond.
      clockMs += random.int(0, 2);
      if (keepJournal) scheduler.note(`${action.owner?.name ?? '-'}: ${action.label}`);
      action.run();
      return action.owner === null ? 'quiet' : 'heard';
    },
    settle: () => new Promise(resolve => setImmediate(resolve)),
  };
  return scheduler;
}

/** Thrown by a model into the code under test. */
export class SimulatedFault extends Error {
  readonly type: string;
  constructor(message: string, type = '') {
    super(message);
    this.type = type;
  }
}

/** A promise that a process awaits, settled by whoever holds it; when the process is dead, by nobody. */
export interface Answer<T> {
  promise: Promise<T>;
  /** Sets the answer on its way; the process gets it in a step of its own. */
  resolve(value: T): void;
  reject(fault: Error): void;
  /** Without a step: the process itself gives up. */
  abandon(fault: Error): void;
}

/** Thousands are made in a second, so this has few closures, and methods, since tsx makes naming an arrow function costly. `onAbandon` is called when the process gives up. */
export function createAnswer<T>(scheduler: Scheduler, owner: Process, label: string, signal?: AbortSignal, onAbandon?: () => void): Answer<T> {
  const waiting = signal === undefined ? null : waitingFor(signal);
  const inner: { given: boolean; resolve: ((value: T) => void) | null; reject: ((fault: Error) => void) | null } = { given: false, resolve: null, reject: null };
  const answer: Answer<T> & { give(fault: Error | null, value?: T): void; deliver(fault: Error | null, value?: T): void } = {
    promise: new Promise<T>((resolve, reject) => {
      inner.resolve = resolve;
      inner.reject = reject;
    }),
    resolve(value) {
      answer.deliver(null, value);
    },
    reject(fault) {
      answer.deliver(fault);
    },
    deliver(fault, value) {
      if (!inner.given) scheduler.add({ owner, label: `${label}: ${fault?.message ?? 'answered'}`, run() { answer.give(fault, value); } });
    },
    give(fault, value) {
      if (inner.given) return;
      inner.given = true;
      waiting?.delete(answer);
      if (fault === null) inner.resolve?.(value as T);
      else inner.reject?.(fault);
    },
    abandon(fault) {
      if (inner.given) return;
      onAbandon?.();
      answer.give(fault);
    },
  };
  if (signal?.aborted === true) answer.abandon(new SimulatedFault('aborted'));
  else waiting?.add(answer);
  return answer;
}

const waitingBySignal = new WeakMap<AbortSignal, Set<Pick<Answer<unknown>, 'abandon'>>>();

/** Whoever gives up when a signal aborts: one listener for all of them. */
function waitingFor(signal: AbortSignal): Set<Pick<Answer<unknown>, 'abandon'>> {
  const known = waitingBySignal.get(signal);
  if (known !== undefined) return known;
  const waiting = new Set<Pick<Answer<unknown>, 'abandon'>>();
  waitingBySignal.set(signal, waiting);
  signal.addEventListener('abort', () => {
    for (const answer of [...waiting]) answer.abandon(new SimulatedFault('aborted'));
  }, { once: true });
  return waiting;
}
