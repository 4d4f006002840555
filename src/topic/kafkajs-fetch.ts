import { createRequire } from 'node:module';

/*
 * Three faults of kafkajs 2.2.4's Fetch, mended where its request is built and its answer is read.
 *
 *   aborted     It judges aborted transactions in the order of the broker's list, one a record, and ends one at any record
 *               whose key is four zero bytes: records of overlapping aborted transactions come through as if committed.
 *               Here they are judged as Java's consumer does (KIP-98), and marked like control records, which kafkajs skips.
 *   gaps        It takes a batch's last record for the batch's end. Where compaction has removed that record, it walks on by
 *               one offset a fetch, each of which waits (tulios/kafkajs#562, #1072). Here a control record is put at the end.
 *   order       It asks for partitions always in the same order, and a broker fills its answer in that order up to
 *               `maxBytes`, giving a batch over the partition's limit only to the first: the later ones starve. Here the
 *               order is turned at random, as Java's consumer does it.
 */

export interface FetchedRecord {
  offset: string;
  key: Buffer | null;
  isControlRecord?: boolean;
  /** Absent on records of the formats before Kafka 0.11. */
  batchContext?: { firstOffset: string; lastOffsetDelta: number; producerId: string; inTransaction: boolean };
}

export interface FetchedPartition {
  abortedTransactions?: { producerId: string; firstOffset: string }[] | null;
  messages: FetchedRecord[];
}

interface FetchArguments {
  topics: { partitions: unknown[] }[];
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
  const fetch = createRequire(import.meta.url)('kafkajs/src/protocol/requests/fetch') as FetchDefinition;
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
            const answer = await response.decode(data);
            for (const { partitions } of answer.responses) partitions.forEach(mendPartition);
            return answer;
          },
        },
      };
    };
  };
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

function batchEnd({ firstOffset, lastOffsetDelta }: { firstOffset: string; lastOffsetDelta: number }): bigint {
  return BigInt(firstOffset) + BigInt(lastOffsetDelta);
}
