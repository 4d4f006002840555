import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError, asError } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import { openMetadata } from './committed-metadata.ts';
import type { KafkaConnection } from './connection.ts';
import { withAdmin } from './provision.ts';
import { subscribe } from './subscribe.ts';
import type { RecordBatch, SubscribeOptions } from './subscribe.ts';
import { createTopicWatch } from './topic-state.ts';

/** Records of one partition, `to` not among them. */
export interface OffsetRange {
  topic: string;
  partition: number;
  from: bigint;
  to: bigint;
  /** Where the partition ended when it was asked. */
  end: bigint;
}

/**
 * Which offsets of a topic hold the records of [fromMs, toMs), as far as the topic still has them and `groupId` has settled them.
 * Null stands for the beginning and the end. The times are those of records; where they go back, the range is that of Kafka's own
 * index: from the first record that is not before `fromMs` to the first that is not before `toMs`.
 * Null where there is no such topic. Throws `kafka_unavailable`.
 */
export async function findRanges(connection: KafkaConnection, topic: string, groupId: string, fromMs: number | null, toMs: number | null, log: Log): Promise<OffsetRange[] | null> {
  const watch = createTopicWatch(connection, topic);
  try {
    const state = await watch.look();
    if (state === null) return null;
    return await withAdmin(connection, log, async admin => {
      const [starts, stops, groups] = await Promise.all([
        fromMs === null ? [] : admin.fetchTopicOffsetsByTimestamp(topic, fromMs),
        toMs === null ? [] : admin.fetchTopicOffsetsByTimestamp(topic, toMs),
        admin.fetchOffsets({ groupId, topics: [topic] }),
      ]);
      const at = (list: { partition: number; offset: string }[], partition: number, fallback: bigint): bigint => BigInt(list.find(each => each.partition === partition)?.offset ?? fallback);
      const settled = (partition: number): bigint => {
        const commit = groups.find(group => group.topic === topic)?.partitions.find(each => each.partition === partition);
        const { topicId } = openMetadata(commit?.metadata ?? '');
        // An offset of a topic that was deleted since says nothing of this one.
        return commit === undefined || (topicId !== null && state.id !== null && topicId !== state.id) ? 0n : BigInt(commit.offset);
      };
      return [...state.earliest].sort(([a], [b]) => a - b).map(([partition, low]) => {
        const end = state.latest.get(partition) ?? low;
        const from = max(low, at(starts, partition, low));
        const to = min(min(settled(partition), end), at(stops, partition, end));
        return { topic, partition, from, to: max(from, to), end };
      });
    });
  } finally {
    watch.close();
  }
}

export interface ReadRangesOptions {
  connection: KafkaConnection;
  /** All partitions of one topic. */
  ranges: readonly OffsetRange[];
  /** Records of one partition, all within its range. Where it throws, they come again. */
  handler: (batch: RecordBatch) => Promise<void>;
  /** After each batch, how many offsets of all are behind. */
  onProgress: (done: bigint) => void;
  subscription: Pick<SubscribeOptions, 'sessionTimeoutMs' | 'minBytes' | 'maxBytesPerPartition' | 'partitionsConcurrently'>;
  /** Without progress for so long it gives up, with the last fault. */
  patienceMs: number;
  signal: AbortSignal;
  log: Log;
}

const lookEveryMs = 100;

/**
 * Reads ranges of one topic, each record at least once, by a consumer group that exists only for this. What the topic has lost
 * meanwhile is passed by, with an `offset_gap` in the log. Rejects with the signal's reason when that aborts, after what is under way.
 */
export async function readRanges({ connection, ranges, handler, onProgress, subscription, patienceMs, signal, log }: ReadRangesOptions): Promise<void> {
  const wanted = new Map(ranges.filter(({ from, to }) => from < to).map(range => [range.partition, range]));
  const topic = ranges[0]?.topic;
  if (topic === undefined || wanted.size === 0) return;
  const groupId = `millrace.replay.${randomUUID()}`;
  const positions = new Map([...wanted.values()].map(({ partition, from }) => [partition, from]));
  const faults: { last: Error | null; final: Error | null } = { last: null, final: null };
  let progressAt = performance.now();

  const reached = (partition: number, position: bigint): void => {
    if (position <= (positions.get(partition) ?? position)) return;
    positions.set(partition, position);
    progressAt = performance.now();
    onProgress([...wanted.values()].reduce((sum, { partition: each, from, to }) => sum + min(positions.get(each) ?? from, to) - from, 0n));
  };
  // Nothing is committed: kafkajs takes 5 s to set the offsets of a group, and this one ends with the process. What lies before a
  // range is passed in one step, and so is what lies behind: a group cannot leave a single partition out.
  const reading = await subscribe({
    ...subscription,
    connection,
    groupId,
    topic,
    maxWaitMs: 200,
    closeGraceMs: 10_000,
    log: withoutLateBegin(log),
    onFatal: error => (faults.final = error),
    handler: async batch => {
      const range = wanted.get(batch.partition);
      if (range === undefined) return max(batch.endOffset, ranges.find(({ partition }) => partition === batch.partition)?.end ?? 0n);
      const position = positions.get(batch.partition) ?? range.from;
      if (batch.endOffset <= position) return position;
      if (signal.aborted) {
        await sleep(lookEveryMs);
        return 0n;
      }
      const records = batch.records.filter(({ offset }) => offset >= position && offset < range.to);
      try {
        if (records.length > 0) await handler({ ...batch, records });
      } catch (thrown) {
        faults.last = asError(thrown);
        throw thrown;
      }
      const next = batch.endOffset < range.to ? batch.endOffset : max(batch.endOffset, range.end);
      reached(batch.partition, next);
      return next;
    },
  });
  try {
    for (;;) {
      // What holds no records, as the end of an aborted transaction, comes in no batch.
      for (const partition of wanted.keys()) reached(partition, reading.position(partition) ?? 0n);
      if ([...wanted.values()].every(({ partition, to }) => (positions.get(partition) ?? 0n) >= to)) return;
      signal.throwIfAborted();
      if (faults.final !== null) throw faults.final;
      if (performance.now() - progressAt > patienceMs) {
        throw faults.last ?? new MillraceError('kafka_unavailable', `no records of ${topic} came for ${Math.round(patienceMs / 1000)} s`);
      }
      await sleep(lookEveryMs);
    }
  } finally {
    await reading.close();
    await withAdmin(connection, log, admin => admin.deleteGroups([groupId])).catch((thrown: unknown) => log.debug({ groupId, err: asError(thrown) }, 'the group of a replay was not deleted; Kafka forgets it by itself'));
  }
}

/** A group that is new begins where the topic does, which is nothing to warn of here. */
function withoutLateBegin(log: Log): Log {
  const warn = (details: { event?: string }, message: string): void => log[details.event === 'group_begins_late' ? 'debug' : 'warn'](details, message);
  return Object.assign(Object.create(log) as Log, { warn });
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
