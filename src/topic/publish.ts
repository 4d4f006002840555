import { protocolErrors, protocolErrorsCodesById } from '@platformatic/kafka';
import { MillraceError } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import { partitionOfKey } from './partition.ts';
import { createCluster } from './producer-cluster.ts';
import type { KafkaSecurity, Peer } from './producer-peer.ts';
import { batchHeadBytes, encodeProduce, parseProduce, produceApi, recordBodyBytes, type ProducedPartition } from './producer-wire.ts';

export interface OutgoingRecord {
  topic: string;
  key: Buffer | null;
  value: Buffer;
  headers: Record<string, string | Buffer>;
  /** Else murmur2 of the key as Java's producer chooses it, and for a null key one partition after the other. */
  partition?: number;
}

export type PublishResult =
  | { ok: true; partition: number; offset: bigint }
  | { ok: false; error: MillraceError };

export interface Publisher {
  /**
   * Resolves when every record has its result, in the order given; never rejects. `ok` says that all in-sync replicas
   * have the record (acks=all). A failed record leaves the others alone: `kafka_unavailable` may be tried again (Kafka
   * may nevertheless have stored it), `kafka_refused` never will be taken (too large for the topic, not authorised).
   */
  publish(records: readonly OutgoingRecord[]): Promise<PublishResult[]>;
  /** What was accepted and has no result yet. While `full`, publish fails everything with kafka_unavailable. */
  inFlight(): { bytes: number; records: number; full: boolean };
  /** Brokers answered lately, and the topics named in the options are known. */
  ready(): boolean;
  /** Takes no more records, and waits for what is in flight, `retryForMs` at most. */
  close(): Promise<void>;
}

export interface PublisherOptions extends KafkaSecurity {
  brokers: readonly string[];
  clientId: string;
  /** Topics whose metadata is fetched at once; `ready` waits for them. */
  topics?: readonly string[];
  /** How long a record waits for company while a send is in flight; with none in flight it goes at once. Default 1.5 ms. */
  lingerMs?: number;
  /** Sends in flight to one broker. Default 4. */
  maxSendsInFlight?: number;
  /** Size of a record batch, headroom for the broker's 1 MiB included; a larger record goes alone. Default 900,000. */
  maxBatchBytes?: number;
  /** Default 64 MiB. Sizes count key, value and headers. */
  maxInFlightBytes?: number;
  /** After this long without an answer the connection is given up. Default 5 s. */
  requestTimeoutMs?: number;
  connectTimeoutMs?: number;
  /** How long a record is tried before it is reported as failed. Default 8 s. */
  retryForMs?: number;
  metadataRefreshMs?: number;
  log: Log;
}

interface Call {
  results: PublishResult[];
  open: number;
  deadlineMs: number;
  resolve: (results: PublishResult[]) => void;
}

interface Entry {
  record: OutgoingRecord;
  bodyBytes: number;
  call: Call;
  index: number;
}

interface Partition {
  topic: Topic;
  index: number;
  queue: Entry[];
  queuedBytes: number;
  /** Batches that came back: sent as they are, before the queue. */
  parcels: Entry[][];
  lane: Lane | null;
  notBeforeMs: number;
  attempts: number;
}

interface Topic {
  name: string;
  partitions: Partition[];
  /** Records that came before the topic's metadata. */
  waiting: Entry[];
  next: number;
}

interface Batch {
  partition: Partition;
  entries: Entry[];
}

interface Send {
  batches: Batch[];
  sentMs: number;
  deadlineMs: number;
}

/** A broker with what waits for it. */
interface Lane {
  peer: Peer;
  dirty: Set<Partition>;
  sends: Set<Send>;
  /** When the records that wait have waited long enough; 0 when none wait. */
  dueMs: number;
  immediate: NodeJS.Immediate | null;
  timer: NodeJS.Timeout | null;
}

const mebibyte = 1024 * 1024;
/** No more partitions join a request beyond this size. */
const maxRequestBytes = 2 * mebibyte;
/** A broker closes the connection on a request over its socket.request.max.bytes (100 MiB): such a record would hurt the others. */
const maxRecordBytes = 32 * mebibyte;
const sweepEveryMs = 200;
const retryMinMs = 50;
const retryMaxMs = 1000;

/**
 * The producing side of a topic. Records that arrive close together share a request; each partition in it is judged
 * by its own result, and only those that failed for a reason that may pass are sent again.
 *
 * A record's states: queued → sent → stored | refused, or back to queued (retry), or expired after `retryForMs`.
 * A lost answer leads to a second send and perhaps a second copy on the topic; the sink drops it. Records of one
 * partition keep their order, except that a batch that failed comes again after those sent beside it.
 * Added partitions are used after the next refresh of metadata; most keys then change their partition, as in Kafka.
 */
export function createPublisher(options: PublisherOptions): Publisher {
  const { log } = options;
  const lingerMs = options.lingerMs ?? 1.5;
  const maxSendsInFlight = options.maxSendsInFlight ?? 4;
  const maxBatchBytes = options.maxBatchBytes ?? 900_000;
  const maxInFlightBytes = options.maxInFlightBytes ?? 64 * mebibyte;
  const requestTimeoutMs = options.requestTimeoutMs ?? 5_000;
  const retryForMs = options.retryForMs ?? 8_000;
  // The broker gives up on slow replicas before we give up on the broker: its answer says more than none.
  const brokerTimeoutMs = Math.ceil(requestTimeoutMs * 0.8);

  const topics = new Map<string, Topic>();
  const lanes = new Map<Peer, Lane>();
  let openBytes = 0;
  let openRecords = 0;
  let closed = false;
  let drained: (() => void) | null = null;
  let sweeper: NodeJS.Timeout | null = null;

  const cluster = createCluster({
    brokers: options.brokers,
    clientId: options.clientId,
    ...(options.ssl !== undefined && { ssl: options.ssl }),
    ...(options.sasl !== undefined && { sasl: options.sasl }),
    connectTimeoutMs: options.connectTimeoutMs ?? 3_000,
    requestTimeoutMs,
    refreshEveryMs: options.metadataRefreshMs ?? 5_000,
    onUp(peer) {
      const lane = lanes.get(peer);
      if (lane !== undefined) pump(lane);
    },
    onMetadata: route,
    log,
  });
  for (const name of options.topics ?? []) topicOf(name);

  function topicOf(name: string): Topic {
    let topic = topics.get(name);
    if (topic === undefined) {
      topic = { name, partitions: [], waiting: [], next: 0 };
      topics.set(name, topic);
      cluster.track(name);
    }
    return topic;
  }

  /** Metadata changed: partitions get their leader's lane, and what waited for one goes on. */
  function route(): void {
    const used = new Set<Lane>();
    for (const topic of topics.values()) {
      const count = cluster.partitionCount(topic.name);
      const homeless = topic.partitions.splice(count).flatMap((p) => [...p.parcels.flat(), ...p.queue]);
      for (let index = 0; index < count; index++) {
        const partition = (topic.partitions[index] ??= {
          topic, index, queue: [], queuedBytes: 0, parcels: [], lane: null, notBeforeMs: 0, attempts: 0,
        });
        const lane = laneOf(cluster.leader(topic.name, index));
        if (lane !== null) used.add(lane);
        if (lane === partition.lane) continue;
        partition.lane?.dirty.delete(partition);
        partition.lane = lane;
        partition.notBeforeMs = 0;
        if (hasWork(partition)) wake(partition);
      }
      if (count === 0) continue;
      const waiting = topic.waiting;
      topic.waiting = [];
      for (const entry of [...waiting, ...homeless]) enqueue(topic, entry);
    }
    for (const [peer, lane] of lanes) {
      if (!used.has(lane) && lane.sends.size === 0) lanes.delete(peer);
      else if (lane.dirty.size > 0) schedule(lane);
    }
  }

  function laneOf(peer: Peer | null): Lane | null {
    if (peer === null) return null;
    let lane = lanes.get(peer);
    if (lane === undefined) {
      lane = { peer, dirty: new Set(), sends: new Set(), dueMs: 0, immediate: null, timer: null };
      lanes.set(peer, lane);
    }
    return lane;
  }

  function enqueue(topic: Topic, entry: Entry): void {
    const count = topic.partitions.length;
    if (count === 0) {
      topic.waiting.push(entry);
      return cluster.refresh();
    }
    const { key, partition: fixed } = entry.record;
    const index = fixed ?? (key === null ? topic.next++ % count : partitionOfKey(key, count));
    const partition = topic.partitions[index];
    if (partition === undefined) {
      return finish([entry], { ok: false, error: new MillraceError('kafka_refused', `topic ${topic.name} has no partition ${index}`) });
    }
    partition.queue.push(entry);
    partition.queuedBytes += entry.bodyBytes;
    wake(partition);
  }

  function wake(partition: Partition): void {
    const { lane } = partition;
    if (lane === null) return cluster.refresh();
    if (lane.dirty.size === 0 || lane.dueMs === 0) lane.dueMs = performance.now() + lingerMs;
    lane.dirty.add(partition);
    if (partition.queuedBytes >= maxBatchBytes) lane.dueMs = 1;
    schedule(lane);
  }

  /** At the end of this turn when nothing is in flight, when due otherwise, and never beyond the limit of sends. */
  function schedule(lane: Lane): void {
    if (lane.immediate !== null || lane.sends.size >= maxSendsInFlight) return;
    if (!lane.peer.up()) return void lane.peer.connect();
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

  function pump(lane: Lane): void {
    if (lane.timer !== null) clearTimeout(lane.timer);
    lane.timer = null;
    if (!lane.peer.up()) return void lane.peer.connect();
    while (lane.dirty.size > 0 && lane.sends.size < maxSendsInFlight) {
      const send = gather(lane);
      if (send === null) break;
      transmit(lane, send);
    }
    lane.dueMs = lane.dirty.size === 0 ? 0 : performance.now() + lingerMs;
  }

  /** One batch of each partition that has something to send and need not wait before a retry. */
  function gather(lane: Lane): Send | null {
    const now = Date.now();
    const batches: Batch[] = [];
    let bytes = 0;
    let deadlineMs = Infinity;
    for (const partition of lane.dirty) {
      if (partition.notBeforeMs > now) continue;
      if (bytes >= maxRequestBytes) break;
      const entries = take(partition);
      if (!hasWork(partition)) lane.dirty.delete(partition);
      for (const entry of entries) {
        bytes += entry.bodyBytes;
        if (entry.call.deadlineMs < deadlineMs) deadlineMs = entry.call.deadlineMs;
      }
      batches.push({ partition, entries });
    }
    return batches.length === 0 ? null : { batches, sentMs: now, deadlineMs };
  }

  function take(partition: Partition): Entry[] {
    const parcel = partition.parcels.shift();
    if (parcel !== undefined) return parcel;
    const { queue } = partition;
    let bytes = batchHeadBytes;
    let count = 0;
    while (count < queue.length) {
      // 10: the length prefix and the offset delta.
      const next = (queue[count] as Entry).bodyBytes + 10;
      if (count > 0 && bytes + next > maxBatchBytes) break;
      bytes += next;
      count++;
    }
    if (count === queue.length) {
      partition.queue = [];
      partition.queuedBytes = 0;
      return queue;
    }
    const taken = queue.splice(0, count);
    partition.queuedBytes -= bytes - batchHeadBytes - 10 * count;
    return taken;
  }

  function transmit(lane: Lane, send: Send): void {
    lane.sends.add(send);
    const wire = send.batches.map(({ partition, entries }) => ({ topic: partition.topic.name, partition: partition.index, records: entries }));
    lane.peer.request(produceApi, encodeProduce(wire, brokerTimeoutMs, send.sentMs), parseProduce, (error, results) => {
      if (!lane.sends.delete(send)) return;
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

  function judge(send: Send, results: readonly ProducedPartition[]): void {
    const unanswered = new Map(send.batches.map((batch) => [batch.partition, batch]));
    for (const result of results) {
      const partition = topics.get(result.topic)?.partitions[result.partition];
      const batch = partition === undefined ? undefined : unanswered.get(partition);
      if (partition === undefined || batch === undefined) continue;
      unanswered.delete(partition);
      if (result.errorCode === 0) {
        partition.attempts = 0;
        stored(batch, result.baseOffset);
      } else failed(batch, result.errorCode);
    }
    for (const batch of unanswered.values()) retry(batch, new Error('the broker answered without a result for this partition'));
  }

  function stored({ partition, entries }: Batch, baseOffset: bigint): void {
    for (let n = 0; n < entries.length; n++) {
      settle(entries[n] as Entry, { ok: true, partition: partition.index, offset: baseOffset + BigInt(n) });
    }
    if (openRecords === 0) idle();
  }

  function failed(batch: Batch, code: number): void {
    const { id, message, canRetry } = kafkaError(code);
    const { partition, entries } = batch;
    if (canRetry) {
      cluster.refresh();
      return retry(batch, new Error(`${id}: ${message}`));
    }
    if (oneRecordsFault.has(id) && entries.length > 1) {
      // Halved until the record that is at fault stands alone.
      const middle = entries.length >> 1;
      partition.parcels.unshift(entries.slice(0, middle), entries.slice(middle));
      return wake(partition);
    }
    log.warn({ topic: partition.topic.name, partition: partition.index, records: entries.length, kafkaError: id }, 'Kafka refused records');
    finish(entries, { ok: false, error: new MillraceError('kafka_refused', `topic ${partition.topic.name}: ${id}: ${message}`) });
  }

  function retry(batch: Batch, cause: Error | null): void {
    const { partition } = batch;
    const now = Date.now();
    const expired = batch.entries.filter((entry) => entry.call.deadlineMs <= now);
    if (expired.length > 0) finish(expired, unavailable(cause));
    const entries = expired.length === 0 ? batch.entries : batch.entries.filter((entry) => entry.call.deadlineMs > now);
    if (entries.length === 0) return;
    if (partition.topic.partitions[partition.index] !== partition) {
      for (const entry of entries) enqueue(partition.topic, entry);
      return;
    }
    partition.parcels.push(entries);
    const backoffMs = Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(10, partition.attempts++)) * (0.75 + Math.random() / 2);
    partition.notBeforeMs = now + backoffMs;
    partition.lane?.dirty.add(partition);
    setTimeout(() => {
      if (hasWork(partition)) wake(partition);
    }, backoffMs + 1).unref();
  }

  function settle(entry: Entry, result: PublishResult): void {
    const { call } = entry;
    openBytes -= entry.bodyBytes;
    openRecords--;
    call.results[entry.index] = result;
    if (--call.open === 0) call.resolve(call.results);
  }

  function finish(entries: readonly Entry[], result: PublishResult): void {
    for (const entry of entries) settle(entry, result);
    if (openRecords === 0) idle();
  }

  function idle(): void {
    if (sweeper !== null) clearInterval(sweeper);
    sweeper = null;
    drained?.();
  }

  /** Gives up on records that are too old and on brokers that do not answer, and looks for leaders that are missing. */
  function sweep(): void {
    const now = Date.now();
    for (const lane of lanes.values()) {
      for (const send of lane.sends) {
        if (send.deadlineMs <= now || now - send.sentMs > requestTimeoutMs) {
          lane.peer.drop();
          break;
        }
      }
      if (lane.dirty.size > 0) schedule(lane);
    }
    const old: Entry[] = [];
    const keep = (entry: Entry): boolean => entry.call.deadlineMs > now || old.push(entry) === 0;
    for (const topic of topics.values()) {
      if (topic.waiting.length > 0) {
        cluster.refresh();
        topic.waiting = topic.waiting.filter(keep);
      }
      for (const partition of topic.partitions) {
        if (!hasWork(partition)) continue;
        if (partition.lane === null) cluster.refresh();
        partition.queue = partition.queue.filter(keep);
        partition.queuedBytes = partition.queue.reduce((sum, entry) => sum + entry.bodyBytes, 0);
        partition.parcels = partition.parcels.map((parcel) => parcel.filter(keep)).filter((parcel) => parcel.length > 0);
        if (!hasWork(partition)) partition.lane?.dirty.delete(partition);
      }
    }
    if (old.length === 0) return;
    log.warn({ records: old.length }, 'Kafka did not acknowledge records in time');
    finish(old, unavailable(null));
  }

  function unavailable(cause: Error | null): PublishResult {
    return {
      ok: false,
      error: new MillraceError('kafka_unavailable', `Kafka did not acknowledge within ${retryForMs} ms`, cause === null ? {} : { cause }),
    };
  }

  return {
    publish(records) {
      if (records.length === 0) return Promise.resolve([]);
      if (closed || openBytes >= maxInFlightBytes) {
        const why = closed ? 'the publisher is closed' : 'too much is waiting for Kafka';
        const result: PublishResult = { ok: false, error: new MillraceError('kafka_unavailable', why) };
        return Promise.resolve(records.map(() => result));
      }
      return new Promise((resolve) => {
        const call: Call = { results: new Array<PublishResult>(records.length), open: records.length, deadlineMs: Date.now() + retryForMs, resolve };
        openRecords += records.length;
        sweeper ??= setInterval(sweep, sweepEveryMs);
        for (let index = 0; index < records.length; index++) {
          const record = records[index] as OutgoingRecord;
          const entry: Entry = { record, bodyBytes: recordBodyBytes(record), call, index };
          openBytes += entry.bodyBytes;
          if (entry.bodyBytes > maxRecordBytes) {
            finish([entry], { ok: false, error: new MillraceError('kafka_refused', `a record is over ${maxRecordBytes} bytes`) });
          } else enqueue(topicOf(record.topic), entry);
        }
      });
    },
    inFlight: () => ({ bytes: openBytes, records: openRecords, full: openBytes >= maxInFlightBytes }),
    ready: () => !closed && cluster.alive() && (options.topics ?? []).every((name) => cluster.partitionCount(name) > 0),
    async close() {
      closed = true;
      if (openRecords > 0) {
        // Every record has its result by its deadline, a sweep and a broken connection later.
        await new Promise<void>((resolve) => {
          drained = resolve;
        });
      }
      cluster.close();
      for (const lane of lanes.values()) {
        if (lane.timer !== null) clearTimeout(lane.timer);
      }
    },
  };
}

function hasWork(partition: Partition): boolean {
  return partition.queue.length > 0 || partition.parcels.length > 0;
}

/** Errors that one record of a batch may have brought upon all of it. */
const oneRecordsFault = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE', 'INVALID_RECORD', 'INVALID_TIMESTAMP']);

/** An error code that is unknown here, or to the broker (-1), may pass; it is tried again until the record's time is over. */
function kafkaError(code: number): { id: string; message: string; canRetry: boolean } {
  const id = protocolErrorsCodesById[code];
  const known = id === undefined ? undefined : protocolErrors[id];
  if (id === undefined || known === undefined) return { id: `error ${code}`, message: 'unknown to this client', canRetry: true };
  return { id, message: known.message, canRetry: known.canRetry || code === -1 };
}
