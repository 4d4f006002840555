import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Kafka } from 'kafkajs';
import { MillraceError, asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { openMetadata } from './committed-metadata.ts';
import type { TopicId } from './committed-metadata.ts';
import { createPositions, startOf } from './positions.ts';
import type { Committed, Gap, Positions, RawCommit, Start } from './positions.ts';
import type { TopicState, TopicWatch } from './topic-state.ts';

/** Identity of a session, to know a partition that was given up and got back from one that was kept. */
export interface Session {
  /** Aborts when the session is over. */
  signal: AbortSignal;
}

export interface LiveSession extends Session {
  /** Null while it is alive. */
  cause: Error | null;
  partitions: readonly number[];
  running: Set<Promise<unknown>>;
  /** By partition what was committed, once every position is known. Rejects with `ownership_lost`. */
  begun: Promise<ReadonlyMap<number, Committed>>;
  positions: Positions;
  /** The id that the topic had when the session began; null before that, and where brokers have none. */
  topicId(): TopicId | null;
  /** How endSession ends it. */
  abort(cause: Error): void;
}

export interface SessionOptions {
  kafka: Kafka;
  watch: TopicWatch;
  groupId: string;
  topic: string;
  partitions: readonly number[];
  /** What must have ended first: the handlers of the session before. */
  after: Promise<unknown>;
  seek: (partition: number, offset: bigint) => void;
  /** Called when every position is known: nothing may be fetched before, since kafkajs overwrites a commit that is out of range. */
  resume: () => void;
  onGap: (gap: Gap) => void;
  /** As {@link LiveSession.begun}, once. */
  onBegun: (commits: ReadonlyMap<number, Committed>) => void;
  /** Commits of an older topic of this name were found. */
  onRemade: (partitions: readonly number[], oldTopicId: TopicId, newTopicId: TopicId) => void;
  /** The id that was announced last by onRemade. */
  remadeAs: () => TopicId | null;
  log: Log;
}

const retryMs = 500;

/** Ends a session once; false when it was over already. */
export function endSession(session: LiveSession, cause: Error): boolean {
  if (session.cause !== null) return false;
  session.cause = cause;
  session.abort(cause);
  return true;
}

export function lostSession(topic: string, { cause }: LiveSession): MillraceError {
  return new MillraceError('ownership_lost', `the group session of ${topic} ended in the middle of a batch: ${cause?.message ?? ''}`, { cause });
}

/** Begins a session: finds out where each partition stands (positions.ts has the table), for as long as that takes or the session lasts. */
export function createSession(options: SessionOptions): LiveSession {
  const { watch, groupId, topic, partitions, log } = options;
  const controller = new AbortController();
  // Each batch in work waits for it in several places; they are as many as partitions are in work at once.
  setMaxListeners(0, controller.signal);
  let topicId: TopicId | null = null;

  const onGap = (gap: Gap): void => {
    const { partition, reason, from, to, count } = gap;
    note(log, 'offset_gap', { groupId, topic, partition, reason, from: from === null ? null : String(from), to: String(to), count: count === null ? null : String(count) });
    options.onGap(gap);
  };
  const lookNow = async (): Promise<TopicState> => {
    const state = await watch.look();
    if (state === null) throw new Error(`the topic ${topic} is not there`);
    if (topicId !== null && state.id !== topicId) throw new Error(`the topic ${topic} was made again`);
    return state;
  };
  const positions = createPositions({ topic, seek: options.seek, look: lookNow, onGap });

  const begin = async (): Promise<ReadonlyMap<number, Committed>> => {
    await options.after;
    for (let attempt = 0; ; attempt++) {
      if (session.cause !== null) throw lostSession(topic, session);
      try {
        const [state, commits] = await Promise.all([lookNow(), readCommits(options.kafka, groupId, topic)]);
        const starts = new Map(partitions.map(partition => {
          const earliest = state.earliest.get(partition);
          if (earliest === undefined) throw new Error(`partition ${partition} has no leader`);
          return [partition, startOf(commits.get(partition), state.id, earliest)] as const;
        }));
        // From here on in one tick with the question: a seek must not meet another session.
        if (session.cause !== null) throw lostSession(topic, session);
        topicId = state.id;
        for (const [partition, start] of starts) positions.begin(partition, start);
        options.resume();
        report(starts, state.id);
        const begun = new Map([...starts].map(([partition, { committed }]) => [partition, committed]));
        options.onBegun(begun);
        return begun;
      } catch (thrown) {
        if (session.cause !== null) throw lostSession(topic, session);
        log[attempt === 0 ? 'info' : 'debug']({ groupId, topic, error: asError(thrown).message }, 'where to read from is not known yet; asking again');
        await sleep(retryMs, undefined, { ref: false });
      }
    }
  };

  const report = (starts: ReadonlyMap<number, Start>, id: TopicId | null): void => {
    const remade = [...starts].flatMap(([partition, { finding }]) => (finding?.kind === 'remade' ? [{ partition, oldTopicId: finding.oldTopicId }] : []));
    if (remade[0] !== undefined && id !== null) options.onRemade(remade.map(({ partition }) => partition), remade[0].oldTopicId, id);
    for (const [partition, { finding, position }] of starts) {
      // kafkajs' mark of a reset is explained where it had gone on, for a moment, at an offset of the topic before.
      if (finding?.kind !== 'gap' || (finding.reason === 'reset' && id !== null && options.remadeAs() === id)) continue;
      onGap({ topic, partition, reason: finding.reason, from: finding.from, to: position, count: finding.from === null ? null : position - finding.from });
    }
    const begun = [...starts].flatMap(([partition, { committed, finding, position }]) => (finding === null && committed.offset === null && position > 0n ? [{ partition, from: '0', to: String(position) }] : []));
    if (begun.length > 0) note(log, 'group_begins_late', { groupId, topic, partitions: begun });
  };

  const session: LiveSession = {
    signal: controller.signal,
    cause: null,
    partitions,
    running: new Set(),
    begun: Promise.resolve(new Map()),
    positions,
    topicId: () => topicId,
    abort: cause => controller.abort(cause),
  };
  session.begun = begin();
  // Whoever waits for it hears of the fault; it may be that nobody does.
  session.begun.catch(() => undefined);
  return session;
}

/** A new admin each time: one that is kept knows added partitions, and new leaders, only minutes later. */
async function readCommits(kafka: Kafka, groupId: string, topic: string): Promise<Map<number, RawCommit>> {
  const admin = kafka.admin({ retry: { retries: 2 } });
  try {
    await admin.connect();
    const topics = await admin.fetchOffsets({ groupId, topics: [topic] });
    const partitions = topics.find(found => found.topic === topic)?.partitions ?? [];
    return new Map(partitions.map(({ partition, offset, metadata }) => [partition, { offset: BigInt(offset), ...openMetadata(metadata ?? '') }]));
  } finally {
    await admin.disconnect();
  }
}
