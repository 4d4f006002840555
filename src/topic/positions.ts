import type { TopicId } from './committed-metadata.ts';
import type { TopicState } from './topic-state.ts';

/*
 * Where each partition is to be read from, kept beside kafkajs' own count, which jumps without a word: out of range it goes
 * to the earliest offset, and on a topic that was made again it goes on where it was.
 *
 *   what is committed                        where the session begins              alarm
 *   -------------------------------------    ----------------------------------    ------------------------------
 *   nothing                                  the earliest                          none (a new group)
 *   offset n, of this topic or of no id      n                                     none
 *   offset n, below the earliest             the earliest                          offset_gap, reason deleted
 *   offset n, of a topic of another id       the earliest, as if nothing were      topic_remade
 *                                            committed
 *   kafkajs' mark of a reset (-2)            the earliest                          offset_gap, reason reset, from null
 *
 *   a batch that was fetched at f, where p was expected
 *   f = p                                    it is handled
 *   p still there                            it is dropped and p sought, once; a second time it is handled, with an
 *                                            alarm: offset_gap, reason skipped
 *   p below the earliest                     it is handled, with offset_gap, reason deleted
 *   p above the end                          it is handled, with offset_gap, reason truncated
 */

export interface Committed {
  /** Null where the group has committed nothing. */
  offset: bigint | null;
  metadata: string;
}

/** What a group had committed, as Kafka has it: -1 is nothing, -2 what kafkajs writes when it goes to the earliest. */
export interface RawCommit {
  offset: bigint;
  topicId: TopicId | null;
  metadata: string;
}

/** Records that were never handed over, or never will be. */
export interface Gap {
  topic: string;
  partition: number;
  /** deleted: by retention or DeleteRecords; truncated: the log is shorter than what was read; reset, skipped: see above. */
  reason: 'deleted' | 'truncated' | 'reset' | 'skipped';
  /** What was next to be read; null where nobody knows any more. */
  from: bigint | null;
  /** Where reading goes on. */
  to: bigint;
  /** Offsets between; null where `from` is, and where reading goes back. */
  count: bigint | null;
}

export interface Start {
  /** As the handler may see it. */
  committed: Committed;
  position: bigint;
  /** kafkajs would begin elsewhere. */
  seek: boolean;
  finding: { kind: 'remade'; oldTopicId: TopicId } | { kind: 'gap'; reason: 'deleted' | 'reset'; from: bigint | null } | null;
}

const nothing: Committed = { offset: null, metadata: '' };
const resetByKafkajs = -2n;

/** Where a session begins to read a partition: the first half of the table above. */
export function startOf(commit: RawCommit | undefined, topicId: TopicId | null, earliest: bigint): Start {
  if (commit === undefined || commit.offset < 0n) {
    return { committed: nothing, position: earliest, seek: false, finding: commit?.offset === resetByKafkajs ? { kind: 'gap', reason: 'reset', from: null } : null };
  }
  if (commit.topicId !== null && topicId !== null && commit.topicId !== topicId) {
    return { committed: nothing, position: earliest, seek: true, finding: { kind: 'remade', oldTopicId: commit.topicId } };
  }
  const committed = { offset: commit.offset, metadata: commit.metadata };
  if (commit.offset >= earliest) return { committed, position: commit.offset, seek: false, finding: null };
  return { committed, position: earliest, seek: true, finding: { kind: 'gap', reason: 'deleted', from: commit.offset } };
}

export interface PositionsOptions {
  topic: string;
  seek: (partition: number, offset: bigint) => void;
  look: () => Promise<TopicState>;
  onGap: (gap: Gap) => void;
}

/** The positions of one session. */
export interface Positions {
  begin(partition: number, start: Start): void;
  /** What is read next; null before the session has begun, and where the partition is not its own. */
  at(partition: number): bigint | null;
  /** Whether a batch fetched at `fetched` is the one to handle now; else another will come. */
  judge(partition: number, fetched: bigint): Promise<boolean>;
  /** A batch was handled: `next` is read next. */
  advance(partition: number, next: bigint): void;
  /** kafkajs passed by itself over a batch in which nothing is for us (control records, aborted transactions). */
  passed(partition: number, next: bigint): void;
  /** Partitions that have records beyond their position. */
  behind(state: TopicState): { partition: number; position: bigint }[];
}

export function createPositions(options: PositionsOptions): Positions {
  const { topic, look, onGap } = options;
  /** `placed`: kafkajs is known to be there. `sought`: the position that was sought last. `passed`: the end of what kafkajs passed over since. */
  const places = new Map<number, { position: bigint; placed: boolean; sought: bigint | null; passed: bigint | null }>();

  const place = (partition: number, position: bigint): void => {
    places.set(partition, { position, placed: true, sought: null, passed: null });
  };
  const seek = (partition: number, position: bigint): void => {
    places.set(partition, { position, placed: false, sought: position, passed: null });
    options.seek(partition, position);
  };

  return {
    begin(partition, { position, seek: elsewhere }) {
      if (elsewhere) {
        seek(partition, position);
        // The seek may find a fetch under way, so it has one more try.
        places.set(partition, { position, placed: false, sought: null, passed: null });
      } else place(partition, position);
    },
    at: partition => places.get(partition)?.position ?? null,
    async judge(partition, fetched) {
      const known = places.get(partition);
      if (known === undefined || known.position === fetched || (known.sought === known.position && known.passed === fetched)) {
        place(partition, fetched);
        return true;
      }
      const { position, sought } = known;
      const state = await look();
      const earliest = state.earliest.get(partition);
      const latest = state.latest.get(partition);
      if (earliest === undefined || latest === undefined) throw new Error(`partition ${partition} has no leader`);
      const isThere = earliest <= position && position <= latest;
      if (isThere && sought !== position) {
        seek(partition, position);
        return false;
      }
      onGap({
        topic,
        partition,
        reason: isThere ? 'skipped' : position < earliest ? 'deleted' : 'truncated',
        from: position,
        to: fetched,
        count: fetched > position ? fetched - position : null,
      });
      place(partition, fetched);
      return true;
    },
    advance: place,
    passed(partition, next) {
      const known = places.get(partition);
      if (known === undefined) return;
      if (known.placed) place(partition, next);
      else places.set(partition, { ...known, passed: next });
    },
    behind: state => [...places].flatMap(([partition, { position }]) => (position < (state.latest.get(partition) ?? 0n) ? [{ partition, position }] : [])),
  };
}
