import { setTimeout as sleep } from 'node:timers/promises';
import type { ConsumerCrashEvent, EachBatchPayload } from 'kafkajs';
import { MillraceError, asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { createBatchWork } from './batch-work.ts';
import type { BatchHandler } from './batch-work.ts';
import { createKafka } from './connection.ts';
import type { KafkaConnection } from './connection.ts';
import type { Committed, Gap } from './positions.ts';
import { Rejoin, fatalKafkaFault, rejoinError } from './kafkajs-faults.ts';
import { createSession, endSession } from './session.ts';
import type { LiveSession } from './session.ts';
import { createTopicWatch } from './topic-state.ts';
import { startWatchdog } from './watchdog.ts';

/*
 * A consumer group whose offsets are committed by hand, with metadata. kafkajs does the protocol; this file adds the
 * rules that exactly-once processing needs and that kafkajs leaves to its user:
 *
 *   session   the time between two joins of the group. It is alive until anything fails, then over for good.
 *
 *   event                                   what happens
 *   ------------------------------------    ------------------------------------------------------------------
 *   GROUP_JOIN                              a new session; commits, topic id and offsets are read anew (session.ts)
 *   a batch arrives, session alive          the handler runs; a timer keeps the heartbeats going
 *   a batch from a wrong place              it is dropped, and the right place sought (positions.ts)
 *   a handler, heartbeat or commit fails    the session is over: its signal aborts, no commit passes any more
 *   a batch arrives, session over           it is turned away unread
 *   every handler of the session ended      only now kafkajs is told, and rejoins
 *   the topic has another id                the session is over; kafkajs is stopped and started
 *   no sign of life, brokers answer         the same, and if that does not help, onFatal (watchdog.ts)
 *   kafkajs crashed                         it is started again, unless the fault is for good: then onFatal
 *
 * So no handler outlives its session, and no commit carries a generation other than the one its batch was fetched in.
 * (kafkajs stamps a commit with the generation of the moment it is made, and Kafka checks the generation, not the owner.)
 * kafkajs never starts itself again (restartOnFailure): it could do so beside a start of ours, and one of the two would be
 * a member that nobody reads from.
 */

export type { Committed, Gap } from './positions.ts';
export { headerList, headerText } from './record.ts';
export type { SubscribedRecord } from './record.ts';
export type { Session } from './session.ts';
export type { BatchHandler, RecordBatch } from './batch-work.ts';

export interface SubscribeOptions {
  connection: KafkaConnection;
  groupId: string;
  topic: string;
  handler: BatchHandler;
  /** Milliseconds without a heartbeat until Kafka gives the partitions to others. */
  sessionTimeoutMs: number;
  /** How long a rebalance waits for a member whose handlers are still running. Default 60,000. */
  rebalanceTimeoutMs?: number;
  /** How long a fetch waits for `minBytes`: what a record may wait so that inserts are fewer and larger. */
  maxWaitMs: number;
  minBytes: number;
  maxBytesPerPartition: number;
  /** What the fetches of all partitions together may bring: the whole of three of them where there is a backlog, the news of all where there is none. Default: no limit. */
  maxFetchBytes?: number;
  partitionsConcurrently: number;
  /** How long close() lets running batches end by themselves. */
  closeGraceMs: number;
  /** How often the topic's id and offsets are asked for. Default 3,000. */
  topicPollMs?: number;
  /** A session without a sign of life for so long, while brokers answer, is begun anew. Default three session timeouts. */
  stuckAfterMs?: number;
  /** Without a session for so long, while brokers answer, onFatal is called. Default two minutes, or more for long timeouts. */
  giveUpAfterMs?: number;
  log: Log;
  /** What the group had committed when a session begins, by partition; before the first batch of the session. */
  onSession?: (commits: ReadonlyMap<number, Committed>) => void;
  /** Records were passed by, or a position was lost; logged as `offset_gap` already. */
  onGap?: (gap: Gap) => void;
  /** kafkajs gave up for good: the owner should end the process. */
  onFatal: (error: MillraceError) => void;
}

export interface Subscription {
  /** Whether the member has joined its group and its session is alive. */
  joined(): boolean;
  /** The partitions that this member holds now. */
  partitions(): readonly number[];
  /** What is read next, beyond control records too; null while that is not known or the partition is another's. */
  position(partition: number): bigint | null;
  /** A member whose join takes longer than `closeGraceMs` leaves when it has joined. */
  close(): Promise<void>;
}

const rejoinDelayMs = 500;
const restartDelaysMs = [500, 1_000, 2_000, 5_000, 10_000];

/**
 * Joins a consumer group and hands over batches, one at a time for each partition.
 * Resolves when Kafka answers; it joins in the background. Throws `kafka_unavailable`, or `kafka_refused` where Kafka will not have us.
 */
export async function subscribe(options: SubscribeOptions): Promise<Subscription> {
  const { connection, groupId, topic, sessionTimeoutMs, rebalanceTimeoutMs = 60_000, log } = options;
  const kafka = createKafka(connection, log);
  const watch = createTopicWatch(connection, topic);
  // Where no broker answers, connecting says so.
  const limits = fetchLimits(options.maxBytesPerPartition, options.maxFetchBytes, await watch.look().catch(() => null));
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: sessionTimeoutMs,
    rebalanceTimeout: rebalanceTimeoutMs,
    heartbeatInterval: Math.floor(sessionTimeoutMs / 5),
    maxWaitTimeInMs: options.maxWaitMs,
    minBytes: options.minBytes,
    ...limits,
    // kafkajs looks for added partitions when its metadata is older than this.
    metadataMaxAge: 5_000,
    allowAutoTopicCreation: false,
    readUncommitted: false,
    retry: { retries: 5, restartOnFailure: () => Promise.resolve(false) },
  });
  let session: LiveSession | null = null;
  let closing = false;
  /** consumer.stop() is under way, for a start that follows: batches are turned away without a rejoin. */
  let stopping = false;
  /** Closed before its first join had come to an end. */
  let turnedAway = false;
  let starting: Promise<void> = Promise.resolve();
  let restartTimer: NodeJS.Timeout | null = null;
  let crashes = 0;
  let announced: string | null = null;

  const end = (ended: LiveSession, cause: Error): void => {
    if (endSession(ended, cause) && !closing) note(log, 'session_ended', { groupId, topic, cause: cause.message });
  };
  const fatal = (what: string, error: Error): void => {
    if (!closing) options.onFatal(new MillraceError(fatalKafkaFault(error) ? 'kafka_refused' : 'kafka_unavailable', `the consumer of ${topic} ${what}: ${error.message}`, { cause: error }));
  };

  /** Once: the session that ends and the one that begins both notice. */
  const onRemade = (partitions: readonly number[], oldTopicId: string, newTopicId: string): void => {
    if (announced === newTopicId) return;
    announced = newTopicId;
    note(log, 'topic_remade', { groupId, topic, partitions, oldTopicId, newTopicId });
  };

  const handle = createBatchWork({ topic, handler: options.handler, sessionTimeoutMs, end, log });

  const eachBatch = async (payload: EachBatchPayload): Promise<void> => {
    const current = session;
    if (stopping || turnedAway) return;
    if (current === null || current.cause !== null) throw rejoinError(current?.cause ?? null);
    const work = handle(current, payload);
    current.running.add(work);
    try {
      await work;
    } catch (thrown) {
      const error = asError(thrown);
      if (current.cause === null) note(log, 'batch_failed', { topic, partition: payload.batch.partition, err: error });
      end(current, error);
    } finally {
      current.running.delete(work);
    }
    if (current.cause === null) return;
    await Promise.allSettled(current.running);
    if (closing || stopping) return;
    await sleep(rejoinDelayMs);
    throw rejoinError(current.cause);
  };

  const start = (): void => {
    // Not awaited: the first join may have to outwait the session of a member that died. Its faults come as CRASH.
    starting = consumer.run({ autoCommit: false, eachBatchAutoResolve: false, partitionsConsumedConcurrently: options.partitionsConcurrently, eachBatch });
    starting.catch((thrown: unknown) => fatal('could not start', asError(thrown)));
  };

  /** Leaves the group and joins it again. Only for a session that is alive: kafkajs cannot be stopped while it first joins. */
  const restart = async (current: LiveSession, cause: Error): Promise<void> => {
    if (current.cause !== null || stopping || closing) return;
    stopping = true;
    end(current, cause);
    try {
      await consumer.stop();
      // It may have joined once more in between.
      if (session !== null) end(session, cause);
    } finally {
      stopping = false;
    }
    if (!closing && restartTimer === null) start();
  };

  /** kafkajs keeps the reason to itself when it finds no coordinator. */
  const checkRefusal = (): void => {
    watch.groupRefused(groupId).then(
      refused => {
        if (refused) fatal('gave up', Object.assign(new Error(`not authorized to access group ${groupId}`), { type: 'GROUP_AUTHORIZATION_FAILED' }));
      },
      (thrown: unknown) => log.debug({ groupId, error: asError(thrown).message }, 'no broker says who coordinates the group'),
    );
  };

  const onCrash = ({ payload: { error } }: ConsumerCrashEvent): void => {
    if (session !== null) end(session, error);
    if (closing) return;
    if (fatalKafkaFault(error)) return fatal('gave up', error);
    watchdog.crashed(error);
    if (error.name === 'KafkaJSGroupCoordinatorNotFound') checkRefusal();
    const delayMs = restartDelaysMs[Math.min(crashes++, restartDelaysMs.length - 1)] ?? 0;
    log[crashes === 1 ? 'warn' : 'info']({ groupId, topic, error: error.message, retryInMs: delayMs }, 'the consumer lost Kafka and starts again');
    if (restartTimer !== null) clearTimeout(restartTimer);
    restartTimer = setTimeout(() => {
      restartTimer = null;
      if (!closing && !stopping) start();
    }, delayMs);
  };

  const watchdog = startWatchdog({
    ...options,
    rebalanceTimeoutMs,
    watch,
    session: () => session,
    restart: (current, cause) => {
      restart(current, cause).catch((thrown: unknown) => fatal('could not be stopped', asError(thrown)));
    },
    onRemade,
    onStuck: why => fatal('is stuck', why),
  });
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    const before = session;
    if (before !== null) end(before, new Rejoin('the group was joined anew'));
    watchdog.sign();
    if (turnedAway) return;
    const partitions = payload.memberAssignment[topic] ?? [];
    consumer.pause([{ topic }]);
    session = createSession({
      kafka, watch, groupId, topic, partitions, onRemade, log,
      after: Promise.allSettled([...(before?.running ?? [])]),
      seek: (partition, offset) => consumer.seek({ topic, partition, offset: String(offset) }),
      remadeAs: () => announced,
      resume: () => consumer.resume([{ topic }]),
      onGap: options.onGap ?? (() => undefined),
      onBegun: options.onSession ?? (() => undefined),
    });
    note(log, 'group_joined', { groupId, topic, partitions });
  });
  consumer.on(consumer.events.HEARTBEAT, () => watchdog.sign());
  consumer.on(consumer.events.FETCH, () => {
    crashes = 0;
    watchdog.fetched();
  });
  consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) => {
    if (payload.batchSize === 0) session?.positions.passed(payload.partition, BigInt(payload.lastOffset) + 1n);
  });
  consumer.on(consumer.events.CRASH, onCrash);

  try {
    await consumer.connect();
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    start();
  } catch (thrown) {
    closing = true;
    watchdog.close();
    watch.close();
    await consumer.disconnect().catch((fault: unknown) => log.debug({ err: asError(fault) }, 'disconnecting failed'));
    const error = asError(thrown);
    throw new MillraceError(fatalKafkaFault(error) ? 'kafka_refused' : 'kafka_unavailable', `Kafka at ${connection.brokers.join(', ')}: ${error.message}`, { cause: error });
  }

  return {
    joined: () => session !== null && session.cause === null,
    partitions: () => (session !== null && session.cause === null ? session.partitions : []),
    position: partition => (session !== null && session.cause === null ? session.positions.at(partition) : null),
    async close() {
      closing = true;
      watchdog.close();
      if (restartTimer !== null) clearTimeout(restartTimer);
      const patience = setTimeout(() => {
        if (session !== null) end(session, new Error('closing'));
      }, options.closeGraceMs);
      const leave = async (): Promise<void> => {
        await consumer.stop();
        await consumer.disconnect();
      };
      try {
        // A consumer that is stopped in the middle of its first join would join all the same, and nobody could stop it then.
        const begun = starting.catch(() => undefined);
        const joining = await Promise.race([begun.then(() => false), sleep(options.closeGraceMs, true, { ref: false })]);
        if (!joining) await leave();
        else {
          turnedAway = true;
          begun.then(leave).catch((thrown: unknown) => log.debug({ groupId, error: asError(thrown).message }, 'leaving the group failed'));
        }
      } finally {
        if (session !== null) end(session, new Error('closed'));
        clearTimeout(patience);
        watch.close();
      }
    },
  };
}

/** Partitions that one fetch brings a full share of. With one at a time nothing is read while ClickHouse inserts; with twelve its inserts are small, and cost it twice as much a row. */
const fullShares = 3;
const minShare = 256 * 1024;

/**
 * Bytes that a fetch may bring of one partition, and in all. Each broker is asked for itself. The share of a partition is the same with one broker, two or
 * three: brokers come and go, and a replay under a smaller share would be short of its plan.
 */
export function fetchLimits(maxBytesPerPartition: number, maxFetchBytes: number | undefined, topic: { partitionCount: number; brokerCount: number } | null): { maxBytesPerPartition: number; maxBytes: number } {
  if (maxFetchBytes === undefined) return { maxBytesPerPartition, maxBytes: 64 * maxBytesPerPartition };
  const { partitionCount, brokerCount } = topic ?? { partitionCount: 1, brokerCount: 1 };
  const shares = Math.max(1, Math.min(partitionCount, Math.ceil(fullShares / Math.max(1, brokerCount))));
  const share = Math.min(maxBytesPerPartition, Math.max(minShare, Math.floor(maxFetchBytes / Math.max(1, Math.min(partitionCount, Math.max(fullShares, brokerCount))))));
  return { maxBytesPerPartition: share, maxBytes: shares * share };
}
