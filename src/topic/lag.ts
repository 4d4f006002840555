import { setTimeout as sleep } from 'node:timers/promises';
import type { Admin } from 'kafkajs';
import { asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { createKafka } from './connection.ts';
import type { KafkaConnection } from './connection.ts';
import type { RecordBatch, Subscription } from './subscribe.ts';

type Member = Pick<Subscription, 'joined' | 'partitions'>;

export interface LagOptions {
  connection: KafkaConnection;
  /** How often Kafka is asked for what batches do not tell: the lag of a partition that waits or has none under way. Milliseconds. */
  everyMs: number;
  /** Offsets between the group's commit and the end of the partition; null once the member no longer holds it. */
  onLag: (topic: string, partition: number, lag: number | null) => void;
  log: Log;
}

export interface LagWatch {
  follow(groupId: string, topic: string, member: Member): void;
  /** The same batch, whose commits are seen. */
  watch(batch: RecordBatch): RecordBatch;
  close(): Promise<void>;
}

interface Place {
  topic: string;
  partition: number;
  end: bigint;
  settled: bigint;
  /** Changes with every commit: a poll that began before one knows less. */
  commits: number;
}

/**
 * Follows how far the partitions that a member holds are behind, from its own commits and by asking Kafka. Between two sessions it
 * goes on with those that it held last, so that a sink that never gets back in is seen to fall behind.
 * A commit says that everything below it is settled (sink/partitions.ts), so lag is the end less the commit.
 */
export function watchLag({ connection, everyMs, onLag, log }: LagOptions): LagWatch {
  const followed: { groupId: string; topic: string; member: Member }[] = [];
  const places = new Map<string, Place>();
  let admin: Admin | null = null;
  let closed = false;

  const placeOf = (topic: string, partition: number): Place => {
    const key = `${topic}/${partition}`;
    const place = places.get(key) ?? { topic, partition, end: 0n, settled: 0n, commits: 0 };
    places.set(key, place);
    return place;
  };
  const tell = (place: Place): void => {
    if (!closed) onLag(place.topic, place.partition, Number(place.end > place.settled ? place.end - place.settled : 0n));
  };

  const pollGroup = async (connected: Admin, groupId: string, topic: string, member: Member): Promise<void> => {
    if (member.joined()) {
      const held = new Set(member.partitions());
      for (const [key, place] of places) {
        if (place.topic !== topic || held.has(place.partition)) continue;
        places.delete(key);
        onLag(topic, place.partition, null);
      }
      for (const partition of held) placeOf(topic, partition);
    }
    const mine = [...places.values()].filter(place => place.topic === topic);
    if (mine.length === 0) return;
    const commitsBefore = new Map(mine.map(place => [place, place.commits]));
    const [group] = await connected.fetchOffsets({ groupId, topics: [topic] });
    const committed = new Map(group?.partitions.map(({ partition, offset }) => [partition, BigInt(offset)]));
    const ends = new Map((await connected.fetchTopicOffsets(topic)).map(({ partition, low, high }) => [partition, { low: BigInt(low), high: BigInt(high) }]));
    for (const place of mine) {
      const end = ends.get(place.partition);
      if (end === undefined || places.get(`${topic}/${place.partition}`) !== place) continue;
      place.end = end.high;
      // What Kafka has deleted can't be waited for.
      const offset = committed.get(place.partition) ?? -1n;
      if (place.commits === commitsBefore.get(place)) place.settled = offset > end.low ? offset : end.low;
      tell(place);
    }
  };

  const poll = async (): Promise<void> => {
    const connected = admin ?? createKafka(connection, log).admin({ retry: { retries: 1 } });
    try {
      if (admin === null) await connected.connect();
      admin = connected;
      for (const { groupId, topic, member } of followed) await pollGroup(connected, groupId, topic, member);
    } catch (thrown) {
      if (!closed) note(log, 'lag_unknown', { error: asError(thrown).message });
      admin = null;
      await connected.disconnect();
    }
  };

  let polling = false;
  let running: Promise<void> = Promise.resolve();
  const timer = setInterval(() => {
    if (polling) return;
    polling = true;
    running = poll()
      .catch((thrown: unknown) => log.debug({ error: asError(thrown).message }, 'closing a connection to Kafka failed'))
      .finally(() => (polling = false));
  }, everyMs);

  return {
    follow(groupId, topic, member) {
      followed.push({ groupId, topic, member });
    },
    watch(batch) {
      const place = placeOf(batch.topic, batch.partition);
      const first = batch.records[0];
      if (first !== undefined) place.settled = first.offset;
      const note = (settled: bigint): void => {
        place.settled = settled;
        place.commits++;
        if (batch.highWatermark > place.end) place.end = batch.highWatermark;
        tell(place);
      };
      note(place.settled);
      return {
        ...batch,
        async commit(offset, metadata) {
          await batch.commit(offset, metadata);
          note(offset);
        },
      };
    },
    async close() {
      closed = true;
      clearInterval(timer);
      await admin?.disconnect();
      // A poll that is under way ends with its connection, or soon.
      await Promise.race([running, sleep(2_000, undefined, { ref: false })]);
    },
  };
}
