import { AsyncLocalStorage } from 'node:async_hooks';
import { createRequire } from 'node:module';
import { batchFormat, decodeBatch } from './record-batch.ts';
import type { BatchContext } from './record-batch.ts';

/*
 * Five faults of kafkajs 2.2.4's Fetch, mended where its request is built and its answer is read.
 *
 *   aborted     It judges aborted transactions in the order of the broker's list, one a record, and ends one at any record
 *               whose key is four zero bytes: records of overlapping aborted transactions come through as if committed.
 *               Here they are judged as Java's consumer does (KIP-98), and marked like control records, which kafkajs skips.
 *   gaps        It takes a batch's last record for the batch's end. Where compaction has removed that record, it walks on by
 *               one offset a fetch, each of which waits (tulios/kafkajs#562, #1072). Here a control record is put at the end.
 *   empty       A batch without any record (compaction keeps a producer's last one so) brings it no step further: a fetch of nothing
 *               else comes again for ever. Here such a batch has a control record at its end.
 *   order       It asks for partitions always in the same order, and a broker fills its answer in that order up to
 *               `maxBytes`, giving a batch over the partition's limit only to the first: the later ones starve. Here those
 *               come first that have waited longest, as in Java's consumer.
 *   inflation   It inflates and decodes all that a fetch brought before it hands over any of it: 16 MiB of compressed records are
 *               hundreds of megabytes, in one piece of work. Here a partition's batches are decoded as long as what they come to
 *               fits; the rest is fetched again.
 *
 * Where `maxBytes` ends an answer, so that most partitions of a backlog come later, the partition that it has cut comes later too, unless
 * it is the only one: whoever reads one again from the same offset must be given what was given before, or more.
 */

export interface FetchedRecord {
  offset: string;
  timestamp?: string;
  key: Buffer | null;
  value?: Buffer | null;
  headers?: Record<string, Buffer | null | (Buffer | null)[]>;
  isControlRecord?: boolean;
  /** Absent on records of the formats before Kafka 0.11. */
  batchContext?: BatchContext;
}

export interface FetchedPartition {
  abortedTransactions?: { producerId: string; firstOffset: string }[] | null;
  messages: FetchedRecord[];
}

interface AskedPartition {
  partition: number;
  maxBytes: number;
}

interface FetchArguments {
  maxBytes: number;
  topics: { topic: string; partitions: AskedPartition[] }[];
}

interface FetchAnswer {
  responses: { topicName: string; partitions: (FetchedPartition & { partition: number })[] }[];
}

/** Of one answer while it is decoded. */
interface Budget {
  /** What the records of one partition may come to. */
  share: number;
  /** What those of all may come to; a partition that might not find its share any more is left for later. */
  left: number;
  /** Bytes of each partition, in the order of the answer. */
  sizes: number[];
}

interface FetchRequest {
  response: { decode: (data: Buffer) => Promise<FetchAnswer> };
}

interface FetchDefinition {
  protocol: (choice: { version: number }) => (args: FetchArguments) => FetchRequest;
}

let mended = false;

/** Mends kafkajs' Fetch for this process. May be called again. */
export function mendFetch(): void {
  if (mended) return;
  mended = true;
  const require = createRequire(import.meta.url);
  const budgets = new AsyncLocalStorage<Budget>();
  replaceDecoding(require, () => budgets.getStore() ?? { share: Infinity, left: Infinity, sizes: [] });
  const queue = createQueue();
  const fetch = require('kafkajs/src/protocol/requests/fetch') as FetchDefinition;
  const { protocol } = fetch;
  fetch.protocol = choice => {
    const build = protocol(choice);
    return args => {
      const made = build({ ...args, topics: args.topics.map(({ topic, partitions }) => ({ topic, partitions: queue.ordered(topic, partitions) })) });
      const { response } = made;
      return {
        ...made,
        response: {
          ...response,
          async decode(data) {
            const budget = budgetOf(args);
            const answer = await budgets.run(budget, () => response.decode(data));
            const partitions = answer.responses.flatMap(({ topicName, partitions: list }) => list.map(partition => ({ topicName, partition })));
            const cut = cutPartition(budget.sizes, args);
            for (const [index, { topicName, partition }] of partitions.entries()) {
              if (index === cut) partition.messages = [];
              mendPartition(partition);
              if (partition.messages.length > 0) queue.served(topicName, partition.partition);
            }
            return answer;
          },
        },
      };
    };
  };
}

/** What a record takes beside its bytes, about. */
const perRecord = 300;

function shareOf({ topics }: FetchArguments): number {
  return Math.max(0, ...topics.flatMap(({ partitions }) => partitions.map(({ maxBytes }) => maxBytes)));
}

/** Half as much again as was asked for, so that without compression only records of less than some 600 bytes are cut; and one share more than fits. */
function budgetOf(args: FetchArguments): Budget {
  const share = 1.5 * shareOf(args);
  return { share, left: 1.5 * args.maxBytes + share, sizes: [] };
}

/** Which partition of an answer the limit of the whole has cut, where others came before it: the last that has anything, and less than its share. */
export function cutPartition(sizes: readonly number[], args: FetchArguments): number | null {
  const last = sizes.findLastIndex(size => size > 0);
  const isFull = sizes.reduce((sum, size) => sum + size, 0) >= args.maxBytes;
  return isFull && (sizes[last] ?? 0) < shareOf(args) && sizes.findIndex(size => size > 0) < last ? last : null;
}

interface Decoder {
  readInt32(): number;
  readBytes(length: number): Buffer;
  canReadBytes(length: number): boolean;
}

type DecodeMessages = (decoder: Decoder) => Promise<FetchedRecord[]>;

/** Of batches of the newest format. */
const newest = 2;
/** Some milliseconds of work. */
const recordsAtOnce = 1_000;

/** kafkajs' decodeMessages, which all versions of Fetch since 4 share, with an end: whole batches, at least one. */
function replaceDecoding(require: NodeJS.Require, budgetOfNow: () => Budget): void {
  const path = require.resolve('kafkajs/src/protocol/requests/fetch/v4/decodeMessages');
  const theirs = require(path) as DecodeMessages;
  const DecoderOf = require('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => Decoder;
  const decode: DecodeMessages = async decoder => {
    const budget = budgetOfNow();
    const size = decoder.readInt32();
    budget.sizes.push(Math.max(0, size));
    if (size <= 0 || !decoder.canReadBytes(size)) return [];
    const bytes = decoder.readBytes(size);
    const format = batchFormat(bytes, 0);
    if (format === null) return [];
    // What is on its way must not come to more than was granted, whatever it was compressed to.
    if (budget.left < budget.share) return [];
    if (format !== newest) return theirs(new DecoderOf(Buffer.concat([int32(size), bytes])));
    const records: FetchedRecord[] = [];
    let breathedAt = 0;
    // An older format behind a newer one comes with the next fetch.
    let came = 0;
    for (let at = 0; came < budget.share && batchFormat(bytes, at) === newest; ) {
      const batch = await decodeBatch(bytes, at);
      if (batch === null) break;
      at = batch.end;
      if (batch.records.length === 0) records.push({ offset: String(batchEnd(batch.context)), key: null, isControlRecord: true, batchContext: batch.context });
      for (const record of batch.records) records.push(record);
      came += batch.recordBytes + batch.records.length * perRecord;
      // Heartbeats and other partitions go on beside it.
      if (records.length - breathedAt < recordsAtOnce) continue;
      breathedAt = records.length;
      await new Promise(resolve => setImmediate(resolve));
    }
    budget.left -= came;
    return records;
  };
  const module = require.cache[path];
  if (module === undefined) throw new Error('kafkajs is not the version that this was written for');
  module.exports = decode;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

interface Queue {
  /** Those that have waited longest come first. */
  ordered: (topic: string, partitions: readonly AskedPartition[]) => AskedPartition[];
  /** Something came of it. */
  served: (topic: string, partition: number) => void;
}

export function createQueue(): Queue {
  const servedAt = new Map<string, number>();
  let time = 0;
  const at = (topic: string, partition: number): number => servedAt.get(`${topic}/${partition}`) ?? 0;
  return {
    ordered: (topic, partitions) => [...partitions].sort((a, b) => at(topic, a.partition) - at(topic, b.partition)),
    served: (topic, partition) => void servedAt.set(`${topic}/${partition}`, ++time),
  };
}

/** Changes the answer for one partition as said above. */
export function mendPartition(partition: FetchedPartition): void {
  hideAborted(partition);
  markEnd(partition.messages);
}

function hideAborted(partition: FetchedPartition): void {
  const begun = (partition.abortedTransactions ?? []).map(({ producerId, firstOffset }) => ({ producerId, first: BigInt(firstOffset) })).sort((a, b) => (a.first < b.first ? -1 : 1));
  if (begun.length === 0) return;
  partition.abortedTransactions = [];
  const aborted = new Set<string>();
  for (const record of partition.messages) {
    const { batchContext } = record;
    if (batchContext === undefined) continue;
    while (begun[0] !== undefined && begun[0].first <= batchEnd(batchContext)) aborted.add(begun.shift()?.producerId ?? '');
    if (isAbortMarker(record)) aborted.delete(batchContext.producerId);
    else if (batchContext.inTransaction && aborted.has(batchContext.producerId)) record.isControlRecord = true;
  }
}

/** A control record's key: version INT16, type INT16, 0 for abort. */
function isAbortMarker({ isControlRecord, key }: FetchedRecord): boolean {
  return isControlRecord === true && key !== null && key.length >= 4 && key.readInt16BE(2) === 0;
}

function markEnd(records: FetchedRecord[]): void {
  const last = records.at(-1);
  if (last?.batchContext === undefined) return;
  const end = batchEnd(last.batchContext);
  if (BigInt(last.offset) < end) records.push({ ...last, offset: String(end), key: null, isControlRecord: true });
}

function batchEnd({ firstOffset, lastOffsetDelta }: BatchContext): bigint {
  return BigInt(firstOffset) + BigInt(lastOffsetDelta);
}
