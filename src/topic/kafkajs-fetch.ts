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
 *               `maxBytes`, giving a batch over the partition's limit only to the first: the later ones starve. Here the
 *               order is turned at random, as Java's consumer does it.
 *   inflation   It inflates and decodes all that a fetch brought before it hands over any of it: 16 MiB of compressed records are
 *               hundreds of megabytes, in one piece of work. Here a partition's batches are decoded as long as what they come to
 *               fits; the rest is fetched again.
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

interface FetchArguments {
  topics: { partitions: { maxBytes: number }[] }[];
}

interface FetchAnswer {
  responses: { partitions: FetchedPartition[] }[];
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
  const budget = new AsyncLocalStorage<number>();
  replaceDecoding(require, () => budget.getStore() ?? Infinity);
  const fetch = require('kafkajs/src/protocol/requests/fetch') as FetchDefinition;
  const { protocol } = fetch;
  fetch.protocol = choice => {
    const build = protocol(choice);
    return args => {
      const made = build({ ...args, topics: args.topics.map(topic => ({ ...topic, partitions: turned(topic.partitions, Math.random()) })) });
      const { response } = made;
      return {
        ...made,
        response: {
          ...response,
          async decode(data) {
            const answer = await budget.run(decodedBytesOf(args), () => response.decode(data));
            for (const { partitions } of answer.responses) partitions.forEach(mendPartition);
            return answer;
          },
        },
      };
    };
  };
}

/** What a record takes beside its bytes, about. */
const perRecord = 300;

/** What the records of one partition may come to: half as much again as its share of the fetch, so that without compression only records of less than some 600 bytes are cut. */
function decodedBytesOf({ topics }: FetchArguments): number {
  return 1.5 * Math.max(0, ...topics.flatMap(({ partitions }) => partitions.map(({ maxBytes }) => maxBytes)));
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
function replaceDecoding(require: NodeJS.Require, budget: () => number): void {
  const path = require.resolve('kafkajs/src/protocol/requests/fetch/v4/decodeMessages');
  const theirs = require(path) as DecodeMessages;
  const DecoderOf = require('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => Decoder;
  const decode: DecodeMessages = async decoder => {
    const size = decoder.readInt32();
    if (size <= 0 || !decoder.canReadBytes(size)) return [];
    const bytes = decoder.readBytes(size);
    const format = batchFormat(bytes, 0);
    if (format === null) return [];
    if (format !== newest) return theirs(new DecoderOf(Buffer.concat([int32(size), bytes])));
    const records: FetchedRecord[] = [];
    let breathedAt = 0;
    // An older format behind a newer one comes with the next fetch.
    for (let came = 0, at = 0; came < budget() && batchFormat(bytes, at) === newest; ) {
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

/** The list, begun at another place: `at` from 0 to below 1. */
export function turned<T>(list: readonly T[], at: number): T[] {
  const start = Math.floor(at * list.length);
  return [...list.slice(start), ...list.slice(0, start)];
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
