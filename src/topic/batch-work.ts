import { setTimeout as sleep } from 'node:timers/promises';
import type { EachBatchPayload } from 'kafkajs';
import { asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { sealMetadata } from './committed-metadata.ts';
import { isOwnershipFault } from './kafkajs-faults.ts';
import type { Committed } from './positions.ts';
import { readRecord } from './record.ts';
import type { SubscribedRecord } from './record.ts';
import { lostSession } from './session.ts';
import type { LiveSession, Session } from './session.ts';

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

export interface BatchWorkOptions {
  topic: string;
  handler: BatchHandler;
  sessionTimeoutMs: number;
  end: (session: LiveSession, cause: Error) => void;
  log: Log;
}

const commitAttempts = 5;

/** Returns what a session does with a batch of kafkajs': heartbeats go on, commits pass while the session lasts. */
export function createBatchWork({ topic, handler, sessionTimeoutMs, end, log }: BatchWorkOptions): (current: LiveSession, payload: EachBatchPayload) => Promise<void> {
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
        if (isOwnershipFault(error) || attempt === commitAttempts) {
          end(current, error);
          throw lostSession(topic, current);
        }
        note(log, 'commit_failed', { topic, partition, attempt, error: error.message });
        await sleep(100 * attempt);
      }
    }
  };

  return async (current, payload) => {
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
}
