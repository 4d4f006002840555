import { asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import type { KafkaConnection } from './connection.ts';
import { createPeer, type Peer } from './producer-peer.ts';
import { encodeMetadata, metadataApi, parseMetadata, type MetadataAnswer } from './producer-wire.ts';

export interface ClusterOptions {
  /** Its brokers are any of the cluster, to learn the others from. */
  connection: KafkaConnection;
  connectTimeoutMs: number;
  requestTimeoutMs: number;
  /** How often metadata is asked for without any trouble: finds added partitions, and tells whether Kafka answers. */
  refreshEveryMs: number;
  onUp: (peer: Peer) => void;
  onMetadata: () => void;
  log: Log;
}

/** What is known of a Kafka cluster: which topic has how many partitions, and which broker leads each. */
export interface Cluster {
  /** Has the topic's metadata asked for, now and from now on. */
  track(topic: string): void;
  /** Partitions of a topic; 0 while unknown. */
  partitionCount(topic: string): number;
  leader(topic: string, partition: number): Peer | null;
  /** Asks for fresh metadata soon: at most every 100 ms, and every second while no broker answers. */
  refresh(): void;
  /** Notes that a broker answered something. */
  answered(): void;
  /** The last question for metadata was answered, and the last answer is not older than three refreshes. */
  alive(): boolean;
  close(): void;
}

const refreshGapMinMs = 100;
const refreshGapMaxMs = 1000;

export function createCluster(options: ClusterOptions): Cluster {
  const { log } = options;
  const peers = new Map<string, Peer>();
  const waiting = new Map<Peer, ((up: boolean) => void)[]>();
  /** Per topic the leaders' broker ids, by partition; -1 where there is no leader. */
  const topics = new Map<string, number[]>();
  let addresses = new Map<number, string>();
  const bootstrap = new Set(options.connection.brokers);
  let closed = false;
  let asking = false;
  let askTimer: NodeJS.Timeout | null = null;
  let gapMs = 0;
  let answeredAt = 0;
  let failing = true;

  const settle = (peer: Peer, up: boolean): void => {
    const waiters = waiting.get(peer);
    waiting.delete(peer);
    for (const waiter of waiters ?? []) waiter(up);
  };

  function peerAt(address: string): Peer {
    let peer = peers.get(address);
    if (peer === undefined) {
      const colon = address.lastIndexOf(':');
      const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
      peer = createPeer(host, Number(address.slice(colon + 1)), {
        connection: options.connection,
        connectTimeoutMs: options.connectTimeoutMs,
        requestTimeoutMs: options.requestTimeoutMs,
        onUp(up) {
          settle(up, true);
          options.onUp(up);
        },
        onDown(down, error) {
          if (!closed && peers.get(address) === down) {
            note(log, 'broker_unreachable', { broker: address, error: error.message });
            refresh();
          }
          settle(down, false);
        },
      });
      peers.set(address, peer);
    }
    return peer;
  }

  function whenUp(peer: Peer): Promise<boolean> {
    if (peer.up()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const waiters = waiting.get(peer) ?? [];
      waiting.set(peer, [...waiters, resolve]);
      if (!peer.connect()) settle(peer, false);
    });
  }

  async function ask(): Promise<MetadataAnswer> {
    const known = [...peers.values()];
    let last: Error = new Error('no broker is known');
    for (const peer of [...known.filter((p) => p.up()), ...known.filter((p) => !p.up())]) {
      if (closed) break;
      if (!(await whenUp(peer))) {
        last = new Error(`no connection to ${peer.address}`);
        continue;
      }
      try {
        return await new Promise((resolve, reject) => {
          peer.request(metadataApi, encodeMetadata([...topics.keys()]), parseMetadata, (error, answer) => {
            if (answer !== null) resolve(answer);
            else reject(error ?? new Error('no answer'));
          });
        });
      } catch (thrown) {
        last = asError(thrown);
      }
    }
    throw last;
  }

  function apply(answer: MetadataAnswer): void {
    addresses = new Map(answer.brokers.map(({ id, host, port }) => [id, `${host}:${port}`]));
    for (const { name, errorCode, partitions } of answer.topics) {
      // With an error (a topic not yet known to a broker that has just started) what was known before is kept.
      if (errorCode !== 0 || partitions.length === 0) continue;
      const leaders = new Array<number>(partitions.length).fill(-1);
      for (const { index, leader } of partitions) leaders[index] = leader;
      topics.set(name, leaders);
    }
    const current = new Set(addresses.values());
    for (const [address, peer] of peers) {
      if (current.has(address) || bootstrap.has(address)) continue;
      peers.delete(address);
      peer.close();
    }
  }

  function refresh(): void {
    if (closed || asking || askTimer !== null) return;
    askTimer = setTimeout(() => {
      askTimer = null;
      asking = true;
      ask()
        .then(
          (answer) => {
            if (closed) return;
            apply(answer);
            failing = false;
            gapMs = refreshGapMinMs;
            answeredAt = Date.now();
            options.onMetadata();
          },
          (error: unknown) => {
            if (closed) return;
            if (!failing) note(log, 'kafka_silent', { error: asError(error).message });
            failing = true;
            gapMs = Math.min(refreshGapMaxMs, Math.max(refreshGapMinMs, gapMs * 2));
          },
        )
        .catch((error: unknown) => note(log, 'metadata_failed', { err: asError(error) }))
        .finally(() => {
          asking = false;
          if (failing) refresh();
        });
    }, gapMs);
  }

  for (const address of bootstrap) peerAt(address);
  const every = setInterval(refresh, options.refreshEveryMs);
  every.unref();
  refresh();

  return {
    track(topic) {
      if (topics.has(topic)) return;
      topics.set(topic, []);
      refresh();
    },
    partitionCount: (topic) => topics.get(topic)?.length ?? 0,
    leader(topic, partition) {
      const address = addresses.get(topics.get(topic)?.[partition] ?? -1);
      return address === undefined ? null : peerAt(address);
    },
    refresh,
    answered() {
      answeredAt = Date.now();
    },
    alive: () => !closed && !failing && Date.now() - answeredAt < 3 * options.refreshEveryMs,
    close() {
      closed = true;
      clearInterval(every);
      if (askTimer !== null) clearTimeout(askTimer);
      for (const peer of peers.values()) peer.close();
    },
  };
}
