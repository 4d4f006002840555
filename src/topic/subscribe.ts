import { setTimeout as sleep } from 'node:timers/promises';
import type { EachBatchPayload, IHeaders, KafkaMessage } from 'kafkajs';
import { MillraceError, asError } from '../errors.ts';
import type { RecordHeader } from '../event/dead-letter.ts';
import type { Log } from '../telemetry.ts';
import { createKafka } from './connection.ts';
import type { KafkaConnection } from './connection.ts';

/*
 * A consumer group whose offsets are committed by hand, with metadata. kafkajs does the protocol; this file adds the
 * rules that exactly-once processing needs and that kafkajs leaves to its user:
 *
 *   session   the time between two joins of the group. It is alive until anything fails, then over for good.
 *
 *   event                                   what happens
 *   ------------------------------------    ------------------------------------------------------------------
 *   GROUP_JOIN                              a new session; kafkajs reads the committed offsets anew
 *   a batch arrives, session alive          the handler runs; a timer keeps the heartbeats going
 *   a handler, heartbeat or commit fails    the session is over: its signal aborts, no commit passes any more
 *   a batch arrives, session over           it is turned away unread
 *   every handler of the session ended      only now kafkajs is told, and rejoins
 *
 * So no handler outlives its session, and no commit carries a generation other than the one its batch was fetched in.
 * (kafkajs stamps a commit with the generation of the moment it is made, and Kafka checks the generation, not the owner.)
 */

export interface SubscribedRecord {
  offset: bigint;
  key: Buffer | null;
  value: Buffer | null;
  /** Milliseconds since the epoch. */
  timestampMs: number;
  headers: IHeaders;
}

/** Identity of a session, to know a partition that was given up and got back from one that was kept. */
export interface Session {
  /** Aborts when the session is over. */
  signal: AbortSignal;
}

export interface Committed {
  /** Null where the group has committed nothing. */
  offset: bigint | null;
  metadata: string;
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
  /** How long a fetch waits for `minBytes`: what a record may wait so that inserts are fewer and larger. */
  maxWaitMs: number;
  minBytes: number;
  maxBytesPerPartition: number;
  partitionsConcurrently: number;
  /** How long close() lets running batches end by themselves. */
  closeGraceMs: number;
  log: Log;
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
const ownershipErrors = new Set(['ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID', 'REBALANCE_IN_PROGRESS', 'FENCED_INSTANCE_ID']);

interface LiveSession extends Session {
  controller: AbortController;
  cause: Error | null;
  partitions: readonly number[];
  running: Set<Promise<unknown>>;
  committed: Promise<Map<number, Committed>> | null;
}

/**
 * Joins a consumer group and hands over batches, one at a time for each partition.
 * Resolves when Kafka answers; it joins in the background. Throws `kafka_unavailable`.
 */
export async function subscribe(options: SubscribeOptions): Promise<Subscription> {
  const { connection, groupId, topic, handler, log } = options;
  const kafka = createKafka(connection, log);
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: options.sessionTimeoutMs,
    rebalanceTimeout: 60_000,
    heartbeatInterval: Math.floor(options.sessionTimeoutMs / 5),
    maxWaitTimeInMs: options.maxWaitMs,
    minBytes: options.minBytes,
    maxBytesPerPartition: options.maxBytesPerPartition,
    // Never the limit: a replay must be given at least what its first fetch was given.
    maxBytes: 64 * options.maxBytesPerPartition,
    metadataMaxAge: 30_000,
    // kafkajs would make a topic that is missing, on brokers that allow it.
    allowAutoTopicCreation: false,
  });
  const admin = kafka.admin({ retry: { retries: 2 } });
  let session: LiveSession | null = null;
  let closing = false;
  let joining: Promise<void> = Promise.resolve();

  const end = (ended: LiveSession, cause: Error): void => {
    if (ended.cause !== null) return;
    ended.cause = cause;
    ended.controller.abort(cause);
    if (!closing) log.info({ groupId, topic, cause: cause.message }, 'session of the consumer group ended');
  };
  const lost = (ended: LiveSession): MillraceError =>
    new MillraceError('ownership_lost', `the group session of ${topic} ended in the middle of a batch: ${ended.cause?.message ?? ''}`, { cause: ended.cause });

  const readCommitted = async (): Promise<Map<number, Committed>> => {
    const topics = await admin.fetchOffsets({ groupId, topics: [topic] });
    const partitions = topics.find(found => found.topic === topic)?.partitions ?? [];
    return new Map(partitions.map(({ partition, offset, metadata }) => [partition, { offset: BigInt(offset) < 0n ? null : BigInt(offset), metadata: metadata ?? '' }]));
  };

  const commit = async (current: LiveSession, payload: EachBatchPayload, offset: bigint, metadata: string): Promise<void> => {
    const { partition } = payload.batch;
    // kafkajs' types leave the metadata out; its protocol sends it.
    const offsets = { topics: [{ topic, partitions: [{ partition, offset: String(offset), metadata }] }] };
    for (let attempt = 1; ; attempt++) {
      // The question and the call must stay in one tick: nothing may rejoin in between.
      if (current.cause !== null) throw lost(current);
      try {
        await payload.commitOffsetsIfNecessary(offsets);
        return;
      } catch (thrown) {
        const error = asError(thrown);
        const type = 'type' in error ? String(error.type) : '';
        if (ownershipErrors.has(type) || attempt === commitAttempts) {
          end(current, error);
          throw lost(current);
        }
        log.info({ topic, partition, attempt, error: error.message }, 'commit failed, trying again');
        await sleep(100 * attempt);
      }
    }
  };

  const handle = async (current: LiveSession, payload: EachBatchPayload): Promise<void> => {
    const { batch } = payload;
    const heartbeats = setInterval(() => {
      payload.heartbeat().catch((error: unknown) => end(current, asError(error)));
    }, Math.floor(options.sessionTimeoutMs / 5));
    try {
      const endOffset = BigInt(batch.lastOffset()) + 1n;
      const done = await handler({
        topic,
        partition: batch.partition,
        records: batch.messages.map(readRecord),
        endOffset,
        highWatermark: BigInt(batch.highWatermark),
        session: current,
        async committed() {
          current.committed ??= readCommitted();
          const found = (await current.committed).get(batch.partition);
          if (current.cause !== null) throw lost(current);
          return found ?? { offset: null, metadata: '' };
        },
        commit: (offset, metadata) => commit(current, payload, offset, metadata),
      });
      if (done > BigInt(batch.firstOffset() ?? 0)) payload.resolveOffset(String(done - 1n));
    } finally {
      clearInterval(heartbeats);
    }
  };

  const eachBatch = async (payload: EachBatchPayload): Promise<void> => {
    const current = session;
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
    if (!closing) await sleep(rejoinDelayMs);
    throw rejoinError(current.cause);
  };

  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    if (session !== null) end(session, new Rejoin('the group was joined anew'));
    const controller = new AbortController();
    session = { controller, signal: controller.signal, cause: null, partitions: payload.memberAssignment[topic] ?? [], running: new Set(), committed: null };
    log.info({ groupId, topic, partitions: payload.memberAssignment[topic] ?? [] }, 'consumer group joined');
  });
  consumer.on(consumer.events.CRASH, ({ payload: { error, restart } }) => {
    if (session !== null) end(session, error);
    if (closing) return;
    if (restart) log.warn({ groupId, topic, error: error.message }, 'the consumer lost Kafka and starts again');
    else options.onFatal(new MillraceError('kafka_unavailable', `the consumer of ${topic} gave up: ${error.message}`, { cause: error }));
  });

  try {
    await Promise.all([admin.connect(), consumer.connect()]);
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    // Not awaited: the first join may have to outwait the session of a member that died. Its faults come as CRASH.
    joining = consumer.run({ autoCommit: false, eachBatchAutoResolve: false, partitionsConsumedConcurrently: options.partitionsConcurrently, eachBatch });
    joining.catch((thrown: unknown) => options.onFatal(new MillraceError('kafka_unavailable', `the consumer of ${topic} could not start: ${asError(thrown).message}`, { cause: thrown })));
  } catch (thrown) {
    closing = true;
    await Promise.allSettled([consumer.disconnect(), admin.disconnect()]);
    const error = asError(thrown);
    throw new MillraceError('kafka_unavailable', `Kafka at ${connection.brokers.join(', ')}: ${error.message}`, { cause: error });
  }

  return {
    joined: () => session !== null && session.cause === null,
    partitions: () => (session !== null && session.cause === null ? session.partitions : []),
    async close() {
      closing = true;
      const patience = setTimeout(() => {
        if (session !== null) end(session, new Error('closing'));
      }, options.closeGraceMs);
      try {
        // A consumer that is stopped in the middle of its first join would join all the same.
        await Promise.race([joining.catch(() => undefined), sleep(options.closeGraceMs, undefined, { ref: false })]);
        await consumer.stop();
        await consumer.disconnect();
        await admin.disconnect();
      } finally {
        clearTimeout(patience);
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
