import { Writer, type Reader } from '@platformatic/kafka';
import { MillraceError, asError } from '../errors.ts';
import type { TopicId } from './committed-metadata.ts';
import type { KafkaConnection } from './connection.ts';
import { createPeer, type Peer } from './producer-peer.ts';
import { encodeMetadata, metadataApi, parseMetadata } from './producer-wire.ts';

/*
 * What kafkajs does not tell about a topic: its id (KIP-516), and which offsets each partition has at this moment.
 *
 * ApiVersions (key 18, version 0)   no body; answer: error INT16 | [key INT16 | min INT16 | max INT16]
 * Metadata (key 3, version 12)      compact; [topic_id UUID | name] | auto_create BOOLEAN | authorized_operations BOOLEAN
 * ListOffsets (key 2, version 2)    replica INT32 | isolation INT8 | [topic STRING | [partition INT32 | timestamp INT64]]
 *                                   answer: throttle INT32 | [topic | [partition INT32 | error INT16 | timestamp INT64 | offset INT64]]
 * FindCoordinator (key 10, version 0)  group STRING; answer: error INT16 | …
 *
 * A broker that knows no Metadata 12 (Kafka before 3.1, Redpanda) is asked in version 5, which has no topic id.
 */

export interface TopicState {
  /** Null where the brokers have no topic ids. */
  id: TopicId | null;
  partitionCount: number;
  brokerCount: number;
  /** By partition: the first offset that is there. A partition without a leader is left out of both. */
  earliest: Map<number, bigint>;
  /** By partition: the offset after the last record that read_committed may see. */
  latest: Map<number, bigint>;
}

export interface TopicWatch {
  /** Asks the brokers; null where they know no such topic. Throws `kafka_unavailable`. */
  look(): Promise<TopicState | null>;
  /** Whether Kafka refuses us this group: kafkajs only says that it found no coordinator. Throws where no broker answers. */
  groupRefused(groupId: string): Promise<boolean>;
  close(): void;
}

interface Layout {
  errorCode: number;
  id: TopicId | null;
  brokers: Map<number, string>;
  leaders: { partition: number; leader: number }[];
}

const apiVersionsApi = { key: 18, version: 0 } as const;
const metadataWithIdApi = { key: 3, version: 12, flexible: true } as const;
const listOffsetsApi = { key: 2, version: 2 } as const;
const findCoordinatorApi = { key: 10, version: 0 } as const;
const groupAuthorizationFailed = 30;
const earliestTimestamp = -2n;
const latestTimestamp = -1n;
const readCommitted = 1;
const unknownTopic = 3;
const noId = Buffer.alloc(16);

export function createTopicWatch(connection: KafkaConnection, topic: string): TopicWatch {
  const peers = new Map<string, Peer>();
  const waiting = new Map<Peer, ((up: Error | null) => void)[]>();
  let withIds: boolean | null = null;
  let closed = false;

  const settle = (peer: Peer, fault: Error | null): void => {
    const waiters = waiting.get(peer) ?? [];
    waiting.delete(peer);
    for (const waiter of waiters) waiter(fault);
  };

  function peerAt(address: string): Peer {
    let peer = peers.get(address);
    if (peer === undefined) {
      const colon = address.lastIndexOf(':');
      peer = createPeer(address.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), Number(address.slice(colon + 1)), {
        connection,
        connectTimeoutMs: 3_000,
        requestTimeoutMs: 5_000,
        onUp: up => settle(up, null),
        onDown: (down, error) => settle(down, error),
      });
      peers.set(address, peer);
    }
    return peer;
  }

  async function ask<T>(address: string, api: { key: number; version: number; flexible?: boolean }, body: Buffer, parse: (reader: Reader) => T): Promise<T> {
    const peer = peerAt(address);
    if (!peer.up()) {
      const fault = await new Promise<Error | null>(resolve => {
        waiting.set(peer, [...(waiting.get(peer) ?? []), resolve]);
        if (!peer.connect()) settle(peer, new Error(`no connection to ${address}`));
      });
      if (fault !== null) throw fault;
    }
    return new Promise((resolve, reject) => {
      peer.request(api, body, (_correlationId, _key, _version, reader) => parse(reader), (error, answer) => {
        if (answer !== null) resolve(answer);
        else reject(error ?? new Error('no answer'));
      });
    });
  }

  async function layoutFrom(address: string): Promise<Layout> {
    withIds ??= (await ask(address, apiVersionsApi, Buffer.alloc(0), parseMaxVersions)).get(metadataWithIdApi.key)! >= metadataWithIdApi.version;
    if (withIds) return ask(address, metadataWithIdApi, encodeMetadataWithId(topic), parseLayout);
    const { brokers, topics } = await ask(address, metadataApi, encodeMetadata([topic]), reader => parseMetadata(0, 0, 0, reader));
    const found = topics[0];
    return {
      errorCode: found?.errorCode ?? unknownTopic,
      id: null,
      brokers: new Map(brokers.map(({ id, host, port }) => [id, `${host}:${port}`])),
      leaders: (found?.partitions ?? []).map(({ index, leader }) => ({ partition: index, leader })),
    };
  }

  const layoutFromAny = (): Promise<Layout> => fromAny(layoutFrom);

  async function fromAny<T>(question: (address: string) => Promise<T>): Promise<T> {
    let last: Error = new Error('closed');
    // Those that are up come first; the ones that the configuration names are never forgotten.
    const known = [...new Set([...peers.keys(), ...connection.brokers])].sort((a, b) => Number(peers.get(b)?.up() ?? false) - Number(peers.get(a)?.up() ?? false));
    for (const address of known) {
      if (closed) break;
      try {
        return await question(address);
      } catch (thrown) {
        last = asError(thrown);
      }
    }
    throw last;
  }

  async function look(): Promise<TopicState | null> {
    const { errorCode, id, brokers, leaders } = await layoutFromAny();
    if (errorCode === unknownTopic) return null;
    if (errorCode !== 0) throw new Error(`metadata of ${topic}: Kafka's error ${errorCode}`);
    const earliest = new Map<number, bigint>();
    const latest = new Map<number, bigint>();
    await Promise.all([...brokers].flatMap(([node, address]) => {
      const led = leaders.filter(({ leader }) => leader === node).map(({ partition }) => partition);
      if (led.length === 0) return [];
      const list = async (timestamp: bigint, into: Map<number, bigint>): Promise<void> => {
        for (const { partition, error, offset } of await ask(address, listOffsetsApi, encodeListOffsets(topic, led, timestamp), parseListOffsets)) {
          if (error === 0) into.set(partition, offset);
        }
      };
      return [list(earliestTimestamp, earliest), list(latestTimestamp, latest)];
    }));
    return { id, partitionCount: leaders.length, brokerCount: brokers.size, earliest, latest };
  }

  return {
    async look() {
      try {
        return await look();
      } catch (thrown) {
        const error = asError(thrown);
        throw new MillraceError('kafka_unavailable', `Kafka at ${connection.brokers.join(', ')}: ${error.message}`, { cause: error });
      }
    },
    groupRefused: groupId =>
      fromAny(address => ask(address, findCoordinatorApi, Writer.create().appendString(groupId, false).buffer, reader => reader.readInt16() === groupAuthorizationFailed)),
    close() {
      closed = true;
      for (const peer of peers.values()) peer.close();
    },
  };
}

function parseMaxVersions(reader: Reader): Map<number, number> {
  reader.skip(2);
  return new Map(reader.readArray(r => {
    const key = r.readInt16();
    r.skip(2);
    return [key, r.readInt16()] as const;
  }, false, false));
}

function encodeMetadataWithId(topic: string): Buffer {
  return Writer.create()
    .appendArray([topic], (w, name) => void w.appendUUID(null).appendString(name))
    .appendBoolean(false)
    .appendBoolean(false)
    .appendTaggedFields().buffer;
}

function parseLayout(reader: Reader): Layout {
  reader.skip(4);
  const brokers = new Map(reader.readArray(r => {
    const node = r.readInt32();
    const address = `${r.readString()}:${r.readInt32()}`;
    r.readNullableString();
    return [node, address] as const;
  }));
  reader.readNullableString();
  reader.skip(4);
  const [found] = reader.readArray(r => {
    const errorCode = r.readInt16();
    r.readNullableString();
    const id = Buffer.from(r.readUUID().replaceAll('-', ''), 'hex');
    r.skip(1);
    const leaders = r.readArray(p => {
      p.skip(2);
      const partition = { partition: p.readInt32(), leader: p.readInt32() };
      p.skip(4);
      for (let lists = 3; lists > 0; lists--) p.readArray(node => node.readInt32(), true, false);
      return partition;
    });
    r.skip(4);
    return { errorCode, id: id.equals(noId) ? null : id.toString('base64url'), leaders };
  });
  return { errorCode: found?.errorCode ?? unknownTopic, id: found?.id ?? null, brokers, leaders: found?.leaders ?? [] };
}

function encodeListOffsets(topic: string, partitions: readonly number[], timestamp: bigint): Buffer {
  const writer = Writer.create().appendInt32(-1).appendInt8(readCommitted);
  return writer.appendArray([topic], (w, name) => {
    w.appendString(name, false).appendArray([...partitions], (p, partition) => void p.appendInt32(partition).appendInt64(timestamp), false, false);
  }, false, false).buffer;
}

function parseListOffsets(reader: Reader): { partition: number; error: number; offset: bigint }[] {
  reader.skip(4);
  return reader.readArray(r => {
    r.readString(false);
    return r.readArray(p => {
      const partition = p.readInt32();
      const error = p.readInt16();
      p.skip(8);
      return { partition, error, offset: p.readInt64() };
    }, false, false);
  }, false, false).flat();
}
