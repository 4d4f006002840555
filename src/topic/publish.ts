import { MillraceError } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import type { KafkaConnection } from './connection.ts';
import { createCluster } from './producer-cluster.ts';
import { createLanes } from './producer-lanes.ts';
import type { Entry } from './producer-queue.ts';
import { hashOfKey } from './partition.ts';
import { plainBound, recordBodyBytes, writePlain } from './producer-wire.ts';
import type { HeaderValue } from './producer-wire.ts';

export type { HeaderValue };

export interface OutgoingRecord {
  topic: string;
  key: Buffer | null;
  value: Buffer;
  headers: Readonly<Record<string, HeaderValue>>;
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
   * may nevertheless have stored it), `kafka_refused` will never be taken (too large for the topic, not authorised).
   */
  publish(records: readonly OutgoingRecord[]): Promise<PublishResult[]>;
  /** The same for so many records, each asked for when it is its turn: once the next one is asked for, its memory may be used again. */
  publishEach(count: number, recordAt: (index: number) => OutgoingRecord): Promise<PublishResult[]>;
  /** What was accepted and has no result yet. While `full`, publish fails everything at once with kafka_unavailable. */
  inFlight(): { bytes: number; records: number; full: boolean };
  /** Brokers answered lately, and the topics named in the options are known. */
  ready(): boolean;
  /** Takes no more records and resolves when all that are in flight have their results: after `retryForMs` at most. */
  close(): Promise<void>;
}

export interface PublisherOptions extends KafkaConnection {
  /** Topics whose metadata is fetched at once; `ready` waits for them. Default none. */
  topics?: readonly string[];
  /** How long a record waits for company while a send is in flight (with none in flight it goes at once). Default 5. */
  lingerMs?: number;
  /** Sends in flight to one broker, which takes one of a connection at a time: the next is on its way meanwhile, and what comes then shares the one after. Default 2. */
  maxSendsInFlight?: number;
  /** Size of a record batch, below the broker's 1 MiB; a larger record goes alone. Default 900,000. */
  maxBatchBytes?: number;
  /** Where `full` begins: keys, values and headers of what has no result yet. Default 64 MiB. */
  maxInFlightBytes?: number;
  /** After this long without an answer a connection is given up. Default 5,000. */
  requestTimeoutMs?: number;
  /** Default 3,000. */
  connectTimeoutMs?: number;
  /** How long a record is tried before it is reported as failed. Default 8,000. */
  retryForMs?: number;
  /** How often metadata is asked for while all is well: added partitions are used from then on. Default 5,000. */
  metadataRefreshMs?: number;
  log: Log;
}

/** One call of publish. */
interface Call {
  results: PublishResult[];
  open: number;
  resolve: (results: PublishResult[]) => void;
}

interface CallEntry extends Entry {
  call: Call;
  index: number;
}

const mebibyte = 1024 * 1024;
/** A broker closes the connection on a request over its socket.request.max.bytes (100 MiB): such a record would hurt the others. */
const maxRecordBytes = 32 * mebibyte;
const sweepEveryMs = 200;
/** Records of a call that are larger than this together take several pieces of memory. */
const maxPieceBytes = 256 * 1024;

/**
 * The producing side of a topic (docs/adr/0001-producer.md). Records that arrive close together share a request; each
 * partition in it is judged by its own result, and only what failed for a reason that may pass is sent again.
 *
 * A lost answer leads to a second send and perhaps a second copy on the topic; the sink drops it. Records of one
 * partition keep their order, except that a batch that failed may come after those sent beside it.
 * When partitions are added, most keys change their partition, as with every Kafka producer.
 */
export function createPublisher(options: PublisherOptions): Publisher {
  const { topics = [], maxInFlightBytes = 64 * mebibyte, requestTimeoutMs = 5_000, retryForMs = 8_000, log } = options;
  let openBytes = 0;
  let openRecords = 0;
  let closing: Promise<void> | null = null;
  let onIdle: (() => void) | null = null;
  let sweeper: NodeJS.Timeout | null = null;
  let scratch: Buffer = Buffer.allocUnsafe(maxPieceBytes);

  const cluster = createCluster({
    connection: options,
    connectTimeoutMs: options.connectTimeoutMs ?? 3_000,
    requestTimeoutMs,
    refreshEveryMs: options.metadataRefreshMs ?? 5_000,
    onUp: (peer) => lanes.peerUp(peer),
    onMetadata: () => lanes.route(),
    log,
  });
  for (const topic of topics) cluster.track(topic);

  const lanes = createLanes<CallEntry>({
    cluster,
    lingerMs: options.lingerMs ?? 5,
    maxSendsInFlight: options.maxSendsInFlight ?? 2,
    maxBatchBytes: options.maxBatchBytes ?? 900_000,
    requestTimeoutMs,
    onStored(entries, partition, baseOffset) {
      let offset = baseOffset;
      for (const entry of entries) settle(entry, { ok: true, partition, offset: offset++ });
    },
    onRefused: (entries, why) => fail(entries, new MillraceError('kafka_refused', why)),
    onExpired: (entries, cause) => fail(entries, new MillraceError('kafka_unavailable', `Kafka did not acknowledge within ${retryForMs} ms`, { cause: cause ?? undefined })),
    log,
  });

  function settle(entry: CallEntry, result: PublishResult): void {
    const { call } = entry;
    openBytes -= recordBodyBytes(entry);
    openRecords--;
    call.results[entry.index] = result;
    if (--call.open === 0) call.resolve(call.results);
    if (openRecords === 0) idle();
  }

  function fail(entries: readonly CallEntry[], error: MillraceError): void {
    for (const entry of entries) settle(entry, { ok: false, error });
  }

  function idle(): void {
    if (sweeper !== null) clearInterval(sweeper);
    sweeper = null;
    onIdle?.();
  }

  async function close(): Promise<void> {
    // Ends by itself: the sweep settles every record soon after its deadline.
    if (openRecords > 0) await new Promise<void>((resolve) => (onIdle = resolve));
    cluster.close();
  }

  function publishEach(count: number, recordAt: (index: number) => OutgoingRecord): Promise<PublishResult[]> {
    if (count === 0) return Promise.resolve([]);
    if (closing !== null || openBytes >= maxInFlightBytes) {
      const error = new MillraceError('kafka_unavailable', closing !== null ? 'the publisher is closed' : 'too much is waiting for Kafka');
      return Promise.resolve(Array.from({ length: count }, () => ({ ok: false, error })));
    }
    return new Promise((resolve) => {
      const call: Call = { results: new Array<PublishResult>(count), open: count, resolve };
      const entries = entriesOf(call, recordAt);
      sweeper ??= setInterval(() => lanes.sweep(), sweepEveryMs);
      openRecords += count;
      for (const entry of entries) {
        openBytes += recordBodyBytes(entry);
        if (recordBodyBytes(entry) > maxRecordBytes) fail([entry], new MillraceError('kafka_refused', `a record is over ${maxRecordBytes} bytes`));
        else lanes.enqueue(entry);
      }
    });
  }

  /** The records of a call, encoded: side by side in a few pieces of memory, which are free again when all of the call are settled. */
  function entriesOf(call: Call, recordAt: (index: number) => OutgoingRecord): CallEntry[] {
    const deadlineMs = Date.now() + retryForMs;
    const entries: CallEntry[] = [];
    let piece: CallEntry[] = [];
    let end = 0;
    const cut = (): void => {
      const bytes = Buffer.from(scratch.subarray(0, end));
      for (const entry of piece) entry.bytes = bytes;
      if (scratch.length > 2 * maxPieceBytes) scratch = Buffer.allocUnsafe(maxPieceBytes);
      piece = [];
      end = 0;
    };
    for (let index = 0; index < call.results.length; index++) {
      const record = recordAt(index);
      const bound = plainBound(record);
      if (end > 0 && end + bound > maxPieceBytes) cut();
      if (bound > scratch.length - end) scratch = Buffer.allocUnsafe(Math.max(bound, maxPieceBytes));
      const start = end;
      end = writePlain(scratch, start, record);
      const entry: CallEntry = {
        bytes: scratch, start, end, topic: record.topic, partition: record.partition, keyHash: record.key === null ? null : hashOfKey(record.key), deadlineMs, call, index,
      };
      piece.push(entry);
      entries.push(entry);
    }
    cut();
    return entries;
  }

  return {
    publish: (records) => publishEach(records.length, (index) => records[index] as OutgoingRecord),
    publishEach,
    inFlight: () => ({ bytes: openBytes, records: openRecords, full: openBytes >= maxInFlightBytes }),
    ready: () => closing === null && cluster.alive() && topics.every((topic) => cluster.partitionCount(topic) > 0),
    close: () => (closing ??= close()),
  };
}
