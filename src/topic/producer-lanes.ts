import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import type { Cluster } from './producer-cluster.ts';
import { kafkaFault } from './producer-errors.ts';
import type { Peer } from './producer-peer.ts';
import { append, dropOld, emptyQueue, hasWork, take, type Entry, type Queue } from './producer-queue.ts';
import { encodeProduce, parseProduce, produceApi, recordBodyBytes, type ProducedPartition } from './producer-wire.ts';

export interface LanesOptions<E extends Entry> {
  cluster: Cluster;
  lingerMs: number;
  maxSendsInFlight: number;
  maxBatchBytes: number;
  requestTimeoutMs: number;
  /** A batch is stored: its records have the offsets from `baseOffset` on. */
  onStored: (entries: readonly E[], partition: number, baseOffset: bigint) => void;
  /** Kafka will never take these. */
  onRefused: (entries: readonly E[], why: string) => void;
  /** Their time is over; whether Kafka has them is unknown. */
  onExpired: (entries: readonly E[], cause: Error | null) => void;
  log: Log;
}

interface Topic<E extends Entry> {
  name: string;
  partitions: Partition<E>[];
  /** Records that came before the topic's metadata. */
  waiting: E[];
  next: number;
}

interface Partition<E extends Entry> extends Queue<E> {
  topic: Topic<E>;
  index: number;
  lane: Lane<E> | null;
  /** No retry before this moment. */
  notBeforeMs: number;
  attempts: number;
}

interface Batch<E extends Entry> {
  partition: Partition<E>;
  entries: E[];
}

interface Send<E extends Entry> {
  batches: Batch<E>[];
  sentMs: number;
  deadlineMs: number;
}

/** A broker, and what waits for it. */
interface Lane<E extends Entry> {
  peer: Peer;
  /** Partitions with something to send. */
  dirty: Set<Partition<E>>;
  sends: Set<Send<E>>;
  /** When what waits has waited long enough. */
  dueMs: number;
  immediate: NodeJS.Immediate | null;
  timer: NodeJS.Timeout | null;
}

export interface Lanes<E extends Entry> {
  enqueue(entry: E): void;
  /** Metadata changed: partitions get their leader's lane, and what waited for a leader goes on. */
  route(): void;
  peerUp(peer: Peer): void;
  /** To be called often while records are on their way: gives up on old records and on brokers that do not answer. */
  sweep(): void;
}

/** No more partitions join a request beyond this size. */
const maxRequestBytes = 2 * 1024 * 1024;
const retryMinMs = 50;
const retryMaxMs = 1000;

/**
 * Queues by partition, sends by broker. A record's states: queued → sent → stored | refused, or back to queued
 * (a retry, as the same batch), or expired.
 */
export function createLanes<E extends Entry>(options: LanesOptions<E>): Lanes<E> {
  const { cluster, lingerMs, maxSendsInFlight, maxBatchBytes, requestTimeoutMs, log } = options;
  const topics = new Map<string, Topic<E>>();
  const lanes = new Map<Peer, Lane<E>>();
  // The broker gives up on slow replicas before we give up on the broker: its answer says more than none.
  const brokerTimeoutMs = Math.ceil(requestTimeoutMs * 0.8);

  function topicOf(name: string): Topic<E> {
    let topic = topics.get(name);
    if (topic === undefined) {
      topic = { name, partitions: [], waiting: [], next: 0 };
      topics.set(name, topic);
      cluster.track(name);
      adopt(topic);
    }
    return topic;
  }

  function route(): void {
    for (const topic of topics.values()) adopt(topic);
    const used = new Set([...topics.values()].flatMap((topic) => topic.partitions.map((partition) => partition.lane)));
    for (const [peer, lane] of lanes) {
      if (!used.has(lane) && lane.sends.size === 0) lanes.delete(peer);
      else if (lane.dirty.size > 0) schedule(lane);
    }
  }

  function adopt(topic: Topic<E>): void {
    const count = cluster.partitionCount(topic.name);
    if (count === 0) return;
    // Fewer partitions than before: the topic was made anew.
    const homeless = topic.partitions.splice(count).flatMap((gone) => {
      gone.lane?.dirty.delete(gone);
      return dropOld(gone, Infinity);
    });
    for (let index = 0; index < count; index++) {
      const partition = (topic.partitions[index] ??= { ...emptyQueue<E>(), topic, index, lane: null, notBeforeMs: 0, attempts: 0 });
      const lane = laneOf(cluster.leader(topic.name, index));
      if (lane === partition.lane) continue;
      partition.lane?.dirty.delete(partition);
      partition.lane = lane;
      partition.notBeforeMs = 0;
      if (hasWork(partition)) wake(partition);
    }
    const waiting = topic.waiting;
    topic.waiting = [];
    for (const entry of [...waiting, ...homeless]) enqueue(entry);
  }

  function laneOf(peer: Peer | null): Lane<E> | null {
    if (peer === null) return null;
    let lane = lanes.get(peer);
    if (lane === undefined) {
      lane = { peer, dirty: new Set(), sends: new Set(), dueMs: 0, immediate: null, timer: null };
      lanes.set(peer, lane);
    }
    return lane;
  }

  function enqueue(entry: E): void {
    const topic = topicOf(entry.topic);
    const count = topic.partitions.length;
    if (count === 0) {
      topic.waiting.push(entry);
      return;
    }
    const index = entry.partition ?? (entry.keyHash ?? topic.next++) % count;
    const partition = topic.partitions[index];
    if (partition === undefined) return options.onRefused([entry], `topic ${topic.name} has no partition ${index}`);
    append(partition, entry);
    wake(partition);
  }

  function wake(partition: Partition<E>): void {
    const { lane } = partition;
    if (lane === null) return cluster.refresh();
    if (lane.dirty.size === 0) lane.dueMs = performance.now() + lingerMs;
    if (partition.queuedBytes >= maxBatchBytes) lane.dueMs = 0;
    lane.dirty.add(partition);
    schedule(lane);
  }

  /** At the end of this turn when nothing is in flight, when due otherwise, and never beyond the limit of sends. */
  function schedule(lane: Lane<E>): void {
    if (lane.immediate !== null || lane.sends.size >= maxSendsInFlight) return;
    const waitMs = lane.sends.size === 0 ? 0 : lane.dueMs - performance.now();
    if (waitMs <= 0) {
      lane.immediate = setImmediate(() => {
        lane.immediate = null;
        pump(lane);
      });
    } else {
      lane.timer ??= setTimeout(() => {
        lane.timer = null;
        pump(lane);
      }, waitMs);
    }
  }

  function pump(lane: Lane<E>): void {
    if (lane.timer !== null) clearTimeout(lane.timer);
    lane.timer = null;
    // A connection that comes up pumps again, and so does every sweep.
    if (!lane.peer.up()) return void lane.peer.connect();
    while (lane.dirty.size > 0 && lane.sends.size < maxSendsInFlight) {
      const send = gather(lane);
      if (send === null) break;
      transmit(lane, send);
    }
    lane.dueMs = performance.now() + lingerMs;
  }

  /** One batch of each partition that has something to send and need not wait before a retry. */
  function gather(lane: Lane<E>): Send<E> | null {
    const send: Send<E> = { batches: [], sentMs: Date.now(), deadlineMs: Infinity };
    let bytes = 0;
    for (const partition of lane.dirty) {
      if (partition.notBeforeMs > send.sentMs) continue;
      if (bytes >= maxRequestBytes) break;
      const entries = take(partition, maxBatchBytes);
      if (!hasWork(partition)) lane.dirty.delete(partition);
      for (const entry of entries) {
        bytes += recordBodyBytes(entry);
        if (entry.deadlineMs < send.deadlineMs) send.deadlineMs = entry.deadlineMs;
      }
      send.batches.push({ partition, entries });
    }
    return send.batches.length === 0 ? null : send;
  }

  function transmit(lane: Lane<E>, send: Send<E>): void {
    lane.sends.add(send);
    const wire = send.batches.map(({ partition, entries }) => ({ topic: partition.topic.name, partition: partition.index, records: entries }));
    lane.peer.request(produceApi, encodeProduce(wire, brokerTimeoutMs, send.sentMs), parseProduce, (error, results) => {
      lane.sends.delete(send);
      if (results === null) {
        cluster.refresh();
        for (const batch of send.batches) retry(batch, error);
      } else {
        cluster.answered();
        judge(send, results);
      }
      if (lane.dirty.size === 0) return;
      if (lane.sends.size === 0 || performance.now() >= lane.dueMs) pump(lane);
      else schedule(lane);
    });
  }

  function judge(send: Send<E>, results: readonly ProducedPartition[]): void {
    const unanswered = new Map(send.batches.map((batch) => [`${batch.partition.index} ${batch.partition.topic.name}`, batch]));
    for (const { topic, partition, errorCode, baseOffset } of results) {
      const batch = unanswered.get(`${partition} ${topic}`);
      if (batch === undefined) continue;
      unanswered.delete(`${partition} ${topic}`);
      if (errorCode === 0) {
        batch.partition.attempts = 0;
        options.onStored(batch.entries, partition, baseOffset);
      } else failed(batch, errorCode);
    }
    for (const batch of unanswered.values()) retry(batch, new Error('the broker answered without a result for this partition'));
  }

  function failed(batch: Batch<E>, code: number): void {
    const { partition, entries } = batch;
    const { id, message, retryable, oneRecords } = kafkaFault(code);
    if (retryable) {
      cluster.refresh();
      return retry(batch, new Error(`${id}: ${message}`));
    }
    if (oneRecords && entries.length > 1) {
      // Halved until the record at fault stands alone.
      const middle = entries.length >> 1;
      partition.parcels.unshift(entries.slice(0, middle), entries.slice(middle));
      return wake(partition);
    }
    note(log, 'records_refused', { topic: partition.topic.name, partition: partition.index, records: entries.length, kafka: id });
    options.onRefused(entries, `topic ${partition.topic.name}: ${id}: ${message}`);
  }

  function retry({ partition, entries }: Batch<E>, cause: Error | null): void {
    const now = Date.now();
    const open = entries.filter((entry) => entry.deadlineMs > now);
    if (open.length < entries.length) options.onExpired(entries.filter((entry) => entry.deadlineMs <= now), cause);
    if (open.length === 0) return;
    if (partition.topic.partitions[partition.index] !== partition) {
      for (const entry of open) enqueue(entry);
      return;
    }
    partition.parcels.push(open);
    const backoffMs = Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(10, partition.attempts++)) * (0.75 + Math.random() / 2);
    partition.notBeforeMs = now + backoffMs;
    setTimeout(() => {
      if (hasWork(partition)) wake(partition);
    }, backoffMs + 1);
  }

  function sweep(): void {
    const now = Date.now();
    for (const lane of lanes.values()) {
      for (const send of lane.sends) {
        if (send.deadlineMs > now && now - send.sentMs < requestTimeoutMs) continue;
        // The answers to one connection come in order, so a send that hangs holds up the others: all are tried anew.
        lane.peer.drop();
        break;
      }
      if (lane.dirty.size > 0) schedule(lane);
    }
    const old: E[] = [];
    for (const topic of topics.values()) {
      if (topic.waiting.length > 0) cluster.refresh();
      const young = topic.waiting.filter((entry) => entry.deadlineMs > now);
      if (young.length < topic.waiting.length) old.push(...topic.waiting.filter((entry) => entry.deadlineMs <= now));
      topic.waiting = young;
      for (const partition of topic.partitions) {
        if (!hasWork(partition)) continue;
        if (partition.lane === null) cluster.refresh();
        old.push(...dropOld(partition, now));
        if (!hasWork(partition)) partition.lane?.dirty.delete(partition);
      }
    }
    if (old.length === 0) return;
    note(log, 'records_expired', { records: old.length });
    options.onExpired(old, null);
  }

  return {
    enqueue,
    route,
    sweep,
    peerUp(peer) {
      const lane = lanes.get(peer);
      if (lane !== undefined) pump(lane);
    },
  };
}
