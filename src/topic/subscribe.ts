import { setTimeout as sleep } from 'node:timers/promises';
import type { ConsumerCrashEvent, EachBatchPayload, IHeaders, KafkaMessage } from 'kafkajs';
import { MillraceError, asError } from '../errors.ts';
import type { RecordHeader } from '../event/dead-letter.ts';
import type { Log } from '../telemetry.ts';
import { sealMetadata } from './committed-metadata.ts';
import { createKafka, fatalKafkaFault } from './connection.ts';
import type { KafkaConnection } from './connection.ts';
import type { Committed, Gap } from './positions.ts';
import { createSession, endSession, lostSession } from './session.ts';
import type { LiveSession, Session } from './session.ts';
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
export type { Session } from './session.ts';

export interface SubscribedRecord {
  offset: bigint;
  key: Buffer | null;
  value: Buffer | null;
  /** Milliseconds since the epoch. */
  timestampMs: number;
  headers: IHeaders;
}

export interface RecordBatch {
  topic: string;
  partition: number;
  /** At least one, by offset. */
  records: SubscribedRecord[];
  /** The offset after the batch, past any control records at its end. */
  endOffset: bigint;
  /** The offset after the partition's last record. */
  highWatermark: bigint;
  session: Session;
  /** What the group had committed for the partition when the session began. Throws `ownership_lost` or `kafka_unavailable`. */
  committed(): Promise<Committed>;
  /** Commits for this partition. Throws `ownership_lost` once the session is over. */
  commit(offset: bigint, metadata: string): Promise<void>;
}

/** Returns the offset up to which it is done (exclusive); what is left comes again in a later batch. */
export type BatchHandler = (batch: RecordBatch) => Promise<bigint>;

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
  close(): Promise<void>;
}

/** Thrown into kafkajs to make it rejoin: it knows a rebalance by the `type`. */
class Rejoin extends Error {
  readonly type = 'REBALANCE_IN_PROGRESS';
}

const rejoinDelayMs = 500;
const commitAttempts = 5;
const restartDelaysMs = [500, 1_000, 2_000, 5_000, 10_000];
const ownershipErrors = new Set(['ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID', 'REBALANCE_IN_PROGRESS', 'FENCED_INSTANCE_ID']);

/**
 * Joins a consumer group and hands over batches, one at a time for each partition.
 * Resolves when Kafka answers; it joins in the background. Throws `kafka_unavailable`, or `kafka_refused` where Kafka will not have us.
 */
export async function subscribe(options: SubscribeOptions): Promise<Subscription> {
  const { connection, groupId, topic, handler, sessionTimeoutMs, rebalanceTimeoutMs = 60_000, log } = options;
  const kafka = createKafka(connection, log);
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: sessionTimeoutMs,
    rebalanceTimeout: rebalanceTimeoutMs,
    heartbeatInterval: Math.floor(sessionTimeoutMs / 5),
    maxWaitTimeInMs: options.maxWaitMs,
    minBytes: options.minBytes,
    maxBytesPerPartition: options.maxBytesPerPartition,
    // Never the limit: a replay must be given at least what its first fetch was given.
    maxBytes: 64 * options.maxBytesPerPartition,
    // kafkajs looks for added partitions when its metadata is older than this.
    metadataMaxAge: 5_000,
    allowAutoTopicCreation: false,
    readUncommitted: false,
    retry: { retries: 5, restartOnFailure: () => Promise.resolve(false) },
  });
  const watch = createTopicWatch(connection, topic);
  let session: LiveSession | null = null;
  let closing = false;
  /** consumer.stop() is under way, for a start that follows: batches are turned away without a rejoin. */
  let stopping = false;
  let starting: Promise<void> = Promise.resolve();
  let restartTimer: NodeJS.Timeout | null = null;
  let crashes = 0;

  const end = (ended: LiveSession, cause: Error): void => {
    if (endSession(ended, cause) && !closing) log.info({ groupId, topic, cause: cause.message }, 'session of the consumer group ended');
  };
  const fatal = (what: string, error: Error): void => {
    if (!closing) options.onFatal(new MillraceError(fatalKafkaFault(error) ? 'kafka_refused' : 'kafka_unavailable', `the consumer of ${topic} ${what}: ${error.message}`, { cause: error }));
  };

  const commit = async (current: LiveSession, payload: EachBatchPayload, offset: bigint, metadata: string): Promise<void> => {
    const { partition } = payload.batch;
    // kafkajs' types leave the metadata out; its protocol sends it.
    const offsets = { topics: [{ topic, partitions: [{ partition, offset: String(offset), metadata: sealMetadata(current.topicId(), metadata) }] }] };
    for (let attempt = 1; ; attempt++) {
      // The question and the call must stay in one tick: nothing may rejoin in between.
      if (current.cause !== null) throw lostSession(topic, current);
      try {
        await payload.commitOffsetsIfNecessary(offsets);
        return;
      } catch (thrown) {
        const error = asError(thrown);
        const type = 'type' in error ? String(error.type) : '';
        if (ownershipErrors.has(type) || attempt === commitAttempts) {
          end(current, error);
          throw lostSession(topic, current);
        }
        log.info({ topic, partition, attempt, error: error.message }, 'commit failed, trying again');
        await sleep(100 * attempt);
      }
    }
  };

  const handle = async (current: LiveSession, payload: EachBatchPayload): Promise<void> => {
    const { batch } = payload;
    const { partition } = batch;
    const heartbeats = setInterval(() => {
      payload.heartbeat().catch((error: unknown) => end(current, asError(error)));
    }, Math.floor(sessionTimeoutMs / 5));
    try {
      const committed = (await current.begun).get(partition) ?? { offset: null, metadata: '' };
      // Not in kafkajs' types: the offset that was asked for.
      const fetched = BigInt((batch as unknown as { fetchedOffset: string }).fetchedOffset);
      if (!(await current.positions.judge(partition, fetched))) return;
      if (current.cause !== null) throw lostSession(topic, current);
      const endOffset = BigInt(batch.lastOffset()) + 1n;
      const done = await handler({
        topic,
        partition,
        records: batch.messages.map(readRecord),
        endOffset,
        highWatermark: BigInt(batch.highWatermark),
        session: current,
        async committed() {
          if (current.cause !== null) throw lostSession(topic, current);
          return committed;
        },
        commit: (offset, metadata) => commit(current, payload, offset, metadata),
      });
      if (done <= BigInt(batch.firstOffset() ?? 0)) return;
      payload.resolveOffset(String(done - 1n));
      // kafkajs takes the last record's offset for the batch's end.
      current.positions.advance(partition, String(done - 1n) === batch.messages.at(-1)?.offset ? endOffset : done);
    } finally {
      clearInterval(heartbeats);
    }
  };

  const eachBatch = async (payload: EachBatchPayload): Promise<void> => {
    const current = session;
    if (stopping) return;
    if (current === null || current.cause !== null) throw rejoinError(current?.cause ?? null);
    const work = handle(current, payload);
    current.running.add(work);
    try {
      await work;
    } catch (thrown) {
      const error = asError(thrown);
      if (current.cause === null) log.error({ topic, partition: payload.batch.partition, err: error }, 'a batch failed; it will be read again');
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

  const onCrash = ({ payload: { error } }: ConsumerCrashEvent): void => {
    if (session !== null) end(session, error);
    if (closing) return;
    if (fatalKafkaFault(error)) return fatal('gave up', error);
    watchdog.crashed(error);
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
    onStuck: why => fatal('is stuck', why),
  });
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    const before = session;
    if (before !== null) end(before, new Rejoin('the group was joined anew'));
    watchdog.sign();
    const partitions = payload.memberAssignment[topic] ?? [];
    session = createSession({
      kafka, watch, groupId, topic, partitions, log,
      after: Promise.allSettled(before?.running ?? []),
      seek: (partition, offset) => consumer.seek({ topic, partition, offset: String(offset) }),
      onGap: options.onGap ?? (() => undefined),
    });
    log.info({ groupId, topic, partitions }, 'consumer group joined');
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
    async close() {
      closing = true;
      watchdog.close();
      if (restartTimer !== null) clearTimeout(restartTimer);
      const patience = setTimeout(() => {
        if (session !== null) end(session, new Error('closing'));
      }, options.closeGraceMs);
      try {
        // A consumer that is stopped in the middle of its first join would join all the same.
        await Promise.race([starting.catch(() => undefined), sleep(options.closeGraceMs, undefined, { ref: false })]);
        await consumer.stop();
        await consumer.disconnect();
      } finally {
        if (session !== null) end(session, new Error('closed'));
        clearTimeout(patience);
        watch.close();
      }
    },
  };
}

/** kafkajs forgets its memberId on UNKNOWN_MEMBER_ID by itself; anything else is made a plain rejoin. */
function rejoinError(cause: Error | null): Error {
  if (cause !== null && 'type' in cause && cause.type === 'UNKNOWN_MEMBER_ID') return cause;
  return new Rejoin(cause?.message ?? 'no session');
}

function readRecord(message: KafkaMessage): SubscribedRecord {
  return {
    offset: BigInt(message.offset),
    key: message.key,
    value: message.value,
    timestampMs: Number(message.timestamp),
    headers: message.headers ?? {},
  };
}

/** A header's last value as text, or null. */
export function headerText(headers: IHeaders, name: string): string | null {
  const value = headers[name];
  // Kafka allows a header without a value; kafkajs' types don't say so.
  const last = (Array.isArray(value) ? value[value.length - 1] : value) as Buffer | string | null | undefined;
  return last?.toString() ?? null;
}

/** All headers with their bytes; one that repeats is there as often. */
export function headerList(headers: IHeaders): RecordHeader[] {
  return Object.entries(headers).flatMap(([name, values]) =>
    (Array.isArray(values) ? values : [values]).map((value): RecordHeader => [name, value === undefined || value === null ? null : Buffer.from(value)]),
  );
}
