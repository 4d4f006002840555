import { randomBytes } from 'node:crypto';
import { asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { cutBatch, encodePlan, planOf, planToken, readCommit, settledMetadata } from './plan.ts';
import type { Plan, PlannedRecord } from './plan.ts';
import type { Unfed } from './profile-feed.ts';

/*
 * Planned batches: how a partition's records are stored exactly once, whatever dies in between.
 *
 *   state        what is committed                what is known                next
 *   ---------    -----------------------------    -------------------------    -----------------------------------
 *   Unknown      anything                         nothing                      read the commit → Replay or Idle
 *   Idle         offset n, no plan                all below n is settled       plan the batch, commit n + plan → Planned
 *   Planned      offset n + plan                  the batch may be stored,     store under the plan's token → Settled
 *                                                 wholly, partly or not
 *   Replay       offset n + plan of an earlier    the same, and nobody knows   same records, token and hash: store,
 *                owner                            how far it came              reading first what is there → Settled
 *   Settled      offset n + plan                  all of the batch is stored   commit last+1, with the next plan where
 *                                                 or accounted for             there is one → Planned, else → Idle
 *
 *   I1  No insert without its plan committed.
 *   I2  A replay keeps boundaries, token and hash; its rows may only be fewer.
 *   I3  An offset is passed only after its rows, dead letters and outcomes are acknowledged.
 *   I4  No work outlives its batch, and no commit leaves for a partition that was lost (topic/subscribe.ts).
 *
 * Every commit also says what of the partition is stored and not in profiles yet (profile-feed.ts).
 *
 * A plan whose records can't be had again as they were (compacted, deleted) gives way to a new one, stored as a replay.
 * Where the commit is not a sink's own, the tokens of all that follows are new ones (plan.ts, `epoch`).
 * As a replay is stored every batch that begins at or below the highest offset stored before: somebody has set the group back, or it is
 * another group. That offset is asked for only where the commit is not a sink's own, since asking reads a whole column; a
 * sink's own commits carry it for as long as it lies ahead of them.
 */

export interface IncomingBatch<R extends PlannedRecord> {
  topic: string;
  partition: number;
  records: R[];
  endOffset: bigint;
  session: { signal: AbortSignal };
  committed(): Promise<{ offset: bigint | null; metadata: string }>;
  commit(offset: bigint, metadata: string): Promise<void>;
}

export interface StoreRequest<R extends PlannedRecord> {
  topic: string;
  partition: number;
  records: readonly R[];
  token: string;
  /** Whether some of it may be stored already. */
  replay: boolean;
  /** Of the plan; left out: the contracts as they are. */
  rules?: string;
  signal: AbortSignal;
}

/** Stores a batch; when it resolves every record of it is settled. Throws where ClickHouse, Kafka or the registry can't be had; called again it must add nothing twice. */
export type Store<R extends PlannedRecord> = (request: StoreRequest<R>) => Promise<void>;

export interface PartitionsOptions<R extends PlannedRecord> {
  store: Store<R>;
  /** The highest offset of the partition that is stored or accounted for, or null. */
  highestStored: (topic: string, partition: number) => Promise<bigint | null>;
  maxRows: number;
  maxBytes: number;
  /** Waits between tries when a part is down. Default: half a second, doubling to ten. */
  retryDelaysMs?: readonly number[];
  /** Waits; rejects at once when the signal aborts. Default: a timer. */
  pause?: (delayMs: number, signal: AbortSignal) => Promise<void>;
  /** The fault for which a batch of the partition waits, at every failed try; null when it waits no more. */
  onWaiting?: (topic: string, partition: number, error: Error | null) => void;
  /** What of the partition is stored and may not be in profiles yet (profile-feed.ts). Default: nothing. */
  unfed?: (topic: string, partition: number) => Unfed | null;
  /** Digest of the contracts that are in force. Default: none are. */
  rules?: () => string;
  /** Eight hex digits. */
  newEpoch?: () => string;
  log: Log;
}

interface PartitionState {
  session: object;
  plan: Plan | null;
  highest: bigint | null;
  epoch: string;
  /** How often the records of a plan were not all there. */
  shortfalls: number;
}

const defaultDelaysMs = [500, 1_000, 2_000, 5_000, 10_000];
const maxShortfalls = 3;

/** Returns what to do with a batch: resolves with the offset up to which everything is settled and committed. */
export function createPartitions<R extends PlannedRecord>(options: PartitionsOptions<R>): (batch: IncomingBatch<R>) => Promise<bigint> {
  const { store, highestStored, maxRows, maxBytes, onWaiting, log } = options;
  const delaysMs = options.retryDelaysMs ?? defaultDelaysMs;
  const pause = options.pause ?? pauseByTimer;
  const rules = options.rules ?? (() => '');
  const unfedOf = options.unfed ?? (() => null);
  const newEpoch = options.newEpoch ?? (() => randomBytes(4).toString('hex'));
  const states = new Map<string, PartitionState>();

  /** Tries until it works or the session ends: a part that is down must never cost a record. */
  const persist = async <T>(batch: IncomingBatch<R>, work: (attempt: number) => Promise<T>): Promise<T> => {
    const { signal } = batch.session;
    let waited = false;
    try {
      for (let attempt = 0; ; attempt++) {
        signal.throwIfAborted();
        try {
          return await work(attempt);
        } catch (thrown) {
          if (signal.aborted) throw thrown;
          const delayMs = delaysMs[Math.min(attempt, delaysMs.length - 1)] ?? 0;
          // Once aloud; what follows is the same story.
          log[attempt === 0 ? 'warn' : 'debug']({ topic: batch.topic, partition: batch.partition, error: asError(thrown).message, retryInMs: delayMs }, 'a batch waits: it could not be stored yet');
          waited = true;
          onWaiting?.(batch.topic, batch.partition, asError(thrown));
          await pause(delayMs, signal);
        }
      }
    } finally {
      if (waited) onWaiting?.(batch.topic, batch.partition, null);
    }
  };

  const stateOf = async (batch: IncomingBatch<R>): Promise<PartitionState> => {
    const key = `${batch.topic}/${batch.partition}`;
    const known = states.get(key);
    if (known !== undefined && known.session === batch.session) return known;
    const { offset, metadata } = await batch.committed();
    const commit = readCommit(offset, metadata);
    const highest = commit === null ? await persist(batch, () => highestStored(batch.topic, batch.partition)) : commit.storedUpTo;
    const state: PartitionState = { session: batch.session, plan: commit?.plan ?? null, highest, epoch: commit?.epoch ?? newEpoch(), shortfalls: 0 };
    states.set(key, state);
    return state;
  };

  const settle = async (batch: IncomingBatch<R>, state: PartitionState, plan: Plan, records: readonly R[], replay: boolean): Promise<void> => {
    const token = planToken(batch.topic, batch.partition, plan);
    // A try that failed may have stored a part: every further one is a replay.
    await persist(batch, attempt =>
      store({ topic: batch.topic, partition: batch.partition, records, token, replay: replay || attempt > 0, rules: plan.rules, signal: batch.session.signal }),
    );
    if (state.highest === null || plan.last > state.highest) state.highest = plan.last;
    state.plan = null;
  };

  return async batch => {
    const state = await stateOf(batch);
    let rest = batch.records;

    const replayed = state.plan;
    if (replayed !== null) {
      const records = rest.filter(({ offset }) => offset <= replayed.last);
      const complete = batch.endOffset > replayed.last;
      if (!complete && state.shortfalls < maxShortfalls) {
        state.shortfalls++;
        note(log, 'plan_short_fetch', { topic: batch.topic, partition: batch.partition, plan: encodePlan(replayed), got: records.length });
        await pause(200 * state.shortfalls, batch.session.signal);
        return rest[0]?.offset ?? batch.endOffset;
      }
      if (complete && records.length > 0 && planOf(records).hash === replayed.hash) {
        await settle(batch, state, replayed, records, true);
        rest = rest.slice(records.length);
      } else {
        note(log, 'plan_changed', { topic: batch.topic, partition: batch.partition, plan: encodePlan(replayed) });
        state.plan = null;
        // Whatever of the old plan is stored must be found again, so the new one is judged as a rewind.
        if (state.highest === null || replayed.last > state.highest) state.highest = replayed.last;
      }
    }

    for (;;) {
      const records = cutBatch(rest, maxRows, maxBytes);
      const plan = records.length > 0 ? planOf(records, state.epoch, rules()) : null;
      // One commit says both that the batch before is done and what comes next.
      const unfed = unfedOf(batch.topic, batch.partition);
      await batch.commit(plan?.first ?? batch.endOffset, plan === null ? settledMetadata(batch.endOffset, state.highest, state.epoch, unfed) : encodePlan(plan, state.highest, unfed));
      if (plan === null) break;
      await settle(batch, state, plan, records, state.highest !== null && plan.first <= state.highest);
      rest = rest.slice(records.length);
    }
    return batch.endOffset;
  };
}

function pauseByTimer(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(asError(signal.reason));
      return;
    }
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(asError(signal.reason));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, delayMs);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
