import { createPartitions } from '../../src/sink/partitions.ts';
import type { IncomingBatch, Store } from '../../src/sink/partitions.ts';
import { decodePlan, settledMetadata } from '../../src/sink/plan.ts';
import { reconcile, removeSurplus } from '../../src/sink/reconcile.ts';
import { createProfileFeed } from '../../src/sink/profile-feed.ts';
import { createStoreEvents } from '../../src/sink/store-events.ts';
import type { EventRecord } from '../../src/sink/store-events.ts';
import type { Log } from '../../src/telemetry.ts';
import type { ModelClickHouse } from './model-clickhouse.ts';
import type { Committed, Membership, ModelKafka } from './model-kafka.ts';
import { createModelTables } from './model-tables.ts';
import { topic } from './records.ts';
import type { SimRecord } from './records.ts';
import type { Scenario } from './scenario.ts';
import { SimulatedFault, createAnswer } from './scheduler.ts';
import type { Process, Scheduler } from './scheduler.ts';

/** An invariant of src/sink/partitions.ts that is broken on purpose; or its epochs, which stay the same; or what commits say of profiles. */
export type SwitchedOff = 'I1' | 'I2' | 'I3' | 'I4' | 'epochs' | 'unfed';

export interface SinkWorld {
  scheduler: Scheduler;
  scenario: Scenario;
  kafka: ModelKafka;
  clickhouse: ModelClickHouse;
  /** Users that were erased, by id. */
  suppressed: ReadonlySet<string>;
  switchedOff: SwitchedOff | null;
  violate: (invariant: string, detail: string) => void;
}

export interface SimSink {
  process: Process;
  /** Of the live session. */
  partitions(this: void): readonly number[];
  /** Whether it is in the middle of a batch. */
  working(this: void): boolean;
  reconciling: boolean;
  /** A pass of the reconciliation. */
  startPass(): void;
  /** Whether the last pass that came to its end found nothing to do. */
  foundNothing: boolean;
}

interface Session {
  membership: Membership;
  controller: AbortController;
  signal: AbortSignal;
  cause: Error | null;
  running: Set<Promise<unknown>>;
  committed: Promise<Map<number, Committed>> | null;
}

const ownershipErrors = new Set(['ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID']);
const commitAttempts = 5;

/** One process: the sink's own code, in sessions of a group by the rules of src/topic/subscribe.ts. It joins at once. */
export function startSink(world: SinkWorld, name: string): SimSink {
  const { scheduler, scenario, kafka, clickhouse, switchedOff } = world;
  const process: Process = { name, stopped: false, dead: false };
  const tables = createModelTables(clickhouse, scheduler, process);
  const write = (_fields: object, line: string): void => {
    scheduler.mark(line);
    scheduler.note(() => `    ${name} says: ${line}`);
  };
  const log = { info: write, warn: write, debug: () => undefined, error: write } as unknown as Log;

  /** A timer of this process. */
  const pause = (label: string, signal?: AbortSignal): Promise<void> => {
    const answer = createAnswer<undefined>(scheduler, process, label, signal);
    answer.resolve(undefined);
    return answer.promise;
  };

  const profiles = createProfileFeed({
    feed: tables.feed,
    later(run) {
      const feeding = scheduler.add({ owner: process, label: `${name} feeds profiles`, run });
      return () => scheduler.remove(feeding);
    },
    now: () => scheduler.nowMs(),
    clock: () => scheduler.nowMs(),
    log,
  });
  let known: ReadonlySet<string> = new Set();
  const storeEvents = createStoreEvents({
    tables: {
      ...tables.events,
      insertEvents(place, events, token) {
        const parts = token.split('/');
        // Topic, partition, offsets and hash, then an epoch where there is one, then what only a remainder has.
        if (![4, 5].some(length => kafka.plans.has(parts.slice(0, length).join('/')))) world.violate('I1', `${name} inserts under ${token}, and no such plan was ever committed`);
        return tables.events.insertEvents(place, events, token);
      },
    },
    read: (_topic, _partition, records) => Promise.resolve(records.map(record => (record as SimRecord).reading)),
    bury: letters => kafka.bury(process, letters.map(({ id }) => id)),
    suppressions: {
      async refresh(signal) {
        // A copy may be old.
        if (!scenario.suppressions || scheduler.random.chance(0.5)) return;
        known = await clickhouse.ask({ from: process, label: 'reads suppressions', signal }, () => new Set(world.suppressed));
      },
      has: event => known.has(event.userId ?? ''),
    },
    async makeSingle(ids) {
      await removeSurplus(tables.reconciliation, ids);
    },
    breathe: () => Promise.resolve(),
    profiles,
    onStored: () => undefined,
    now: () => scheduler.nowMs(),
    log,
  });
  /** Commits that are held back until their batch is inserted: I1 switched off. */
  const heldBack = new Map<string, () => Promise<void>>();
  const store: Store<EventRecord> = async request => {
    if (switchedOff === 'I3') {
      // Nobody waits: the offset is passed while rows, dead letters and outcomes are on their way, if they are.
      storeEvents(request).catch((fault: unknown) => scheduler.note(`    ${name}: ${String(fault)}, and nobody cares`));
      return;
    }
    await storeEvents(request);
    await heldBack.get(`${request.partition}`)?.();
  };
  let epochs = 0;
  const handler = createPartitions<EventRecord>({
    store,
    highestStored: (_topic, partition) =>
      clickhouse.ask({ from: process, label: `asks for the highest of ${partition}` }, () =>
        [...clickhouse.events, ...clickhouse.outcomes].reduce<bigint | null>((highest, row) => (row.partition === partition && (highest === null || row.offset > highest) ? row.offset : highest), null)),
    maxRows: scenario.maxRows,
    maxBytes: 1_000_000,
    retryDelaysMs: [0],
    pause: (_delayMs, signal) => pause('waits', signal),
    ...(switchedOff !== 'unfed' && { unfed: profiles.unfed }),
    newEpoch: () => (switchedOff === 'epochs' ? '' : `${name} ${++epochs}`),
    log,
  });

  let session: Session | null = null;
  const end = (ended: Session, cause: Error): void => {
    if (ended.cause !== null) return;
    ended.cause = cause;
    scheduler.note(`    ${name}: the session of generation ${ended.membership.generation} is over: ${cause.message}`);
    if (switchedOff !== 'I4') ended.controller.abort(cause);
  };
  const lost = (): SimulatedFault => new SimulatedFault('ownership lost');

  const commit = async (current: Session, partition: number, offset: bigint, metadata: string): Promise<void> => {
    for (let attempt = 1; ; attempt++) {
      if (switchedOff !== 'I4' && current.cause !== null) throw lost();
      // kafkajs stamps the generation of the moment, which the rules make the one of the batch.
      const stamped = switchedOff === 'I4' ? (session ?? current).membership : current.membership;
      try {
        await kafka.commit(process, { memberId: stamped.memberId, generation: stamped.generation, partition, offset, metadata, begunIn: current.membership });
        return;
      } catch (thrown) {
        const fault = thrown as SimulatedFault;
        if (ownershipErrors.has(fault.type) || attempt === commitAttempts) {
          end(current, fault);
          throw lost();
        }
        await pause('commits again');
      }
    }
  };

  const batchOf = (current: Session, partition: number, records: SimRecord[], endOffset: bigint): IncomingBatch<EventRecord> => ({
    topic, partition, records, endOffset, session: current,
    async committed() {
      current.committed ??= kafka.fetchCommitted(process);
      const found = (await current.committed).get(partition);
      if (switchedOff !== 'I4' && current.cause !== null) throw lost();
      if (found === undefined) return { offset: null, metadata: '' };
      // The plan is forgotten: the batch is cut anew, and judged as if nothing of it could be stored.
      return switchedOff === 'I2' && decodePlan(found.offset, found.metadata) !== null ? { offset: found.offset, metadata: settledMetadata(found.offset ?? 0n) } : found;
    },
    commit(offset, metadata) {
      if (switchedOff !== 'I1' || decodePlan(offset, metadata) === null) return commit(current, partition, offset, metadata);
      heldBack.set(`${partition}`, () => {
        heldBack.delete(`${partition}`);
        return commit(current, partition, offset, metadata);
      });
      return Promise.resolve();
    },
  });

  const consume = async (current: Session, partition: number, from: bigint): Promise<void> => {
    let position = from;
    const log = kafka.log[partition] ?? [];
    const available = (): SimRecord[] => log.filter(record => record.offset >= position && !record.vanished);
    while (current.cause === null) {
      const fetched = createAnswer<SimRecord[]>(scheduler, process, `fetch of ${partition}@${position}`);
      scheduler.add({
        owner: process,
        label: `fetches ${partition}@${position}`,
        ready() { return current.cause !== null || log.some(({ offset, vanished }) => offset >= position && !vanished); },
        run() {
          const size = scenario.shortFetches && scheduler.random.chance(0.6) ? scheduler.random.int(1, scenario.fetchSize) : scenario.fetchSize;
          fetched.resolve(available().slice(0, size));
        },
      });
      const records = await fetched.promise;
      const last = records.at(-1);
      if (current.cause !== null || last === undefined) continue;
      // What compaction left of a fetch ends where the fetch ended.
      const next = available().find(({ offset }) => offset > last.offset)?.offset ?? BigInt(log.length);
      const endOffset = scheduler.random.chance(0.5) ? next : last.offset + 1n;
      const work = handler(batchOf(current, partition, records, endOffset));
      current.running.add(work);
      try {
        const done = await work;
        if (done > (records[0]?.offset ?? 0n)) position = done;
      } catch (thrown) {
        end(current, thrown as Error);
      } finally {
        current.running.delete(work);
      }
    }
  };

  const live = async (): Promise<void> => {
    for (;;) {
      const membership = await kafka.join(process, session?.membership.memberId ?? null).catch(() => null);
      if (membership === null) continue;
      if (session !== null && session.running.size > 0) world.violate('I4', `${name} joined generation ${membership.generation} with work of generation ${session.membership.generation} still running`);
      const controller = new AbortController();
      const current: Session = { membership, controller, signal: controller.signal, cause: null, running: new Set(), committed: null };
      session = current;
      scheduler.add({ owner: process, label: 'a heartbeat is answered: rejoin', ready() { return current.cause !== null || kafka.mustRejoin(membership); }, run() { end(current, new SimulatedFault('rebalance')); } });
      const positions = await kafka.fetchCommitted(process).catch((fault: unknown) => {
        end(current, fault as Error);
        return new Map<number, Committed>();
      });
      profiles.takeOver(topic, new Map([...positions].filter(([partition]) => membership.partitions.includes(partition))));
      const loops = Promise.all(membership.partitions.map(partition => consume(current, partition, positions.get(partition)?.offset ?? 0n)));
      // A member without partitions, too, lives until its heartbeat fails.
      await sessionEnd(current);
      if (switchedOff !== 'I4') await loops;
      await pause('rejoins');
    }
  };
  const sessionEnd = (current: Session): Promise<void> => {
    const ended = createAnswer<undefined>(scheduler, process, 'session');
    scheduler.add({ owner: process, label: 'sees its session over', ready() { return current.cause !== null; }, run() { ended.resolve(undefined); } });
    return ended.promise;
  };
  live().catch((fault: unknown) => world.violate('model', String((fault as Error).stack)));

  const sink: SimSink = {
    process,
    partitions: () => (session === null || session.cause !== null ? [] : session.membership.partitions),
    working: () => session !== null && session.running.size > 0,
    reconciling: false,
    foundNothing: false,
    startPass() {
      sink.reconciling = true;
      sink.foundNothing = false;
      reconcile({ tables: tables.reconciliation, log })
        .then(({ removed, corrected, repeated }) => (sink.foundNothing = removed + corrected + repeated === 0))
        .catch((fault: unknown) => scheduler.note(`    ${name}: a pass failed: ${String(fault)}`))
        .finally(() => (sink.reconciling = false));
    },
  };
  return sink;
}
