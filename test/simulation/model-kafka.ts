import { decodePlan, planToken } from '../../src/sink/plan.ts';
import { topic } from './records.ts';
import type { SimRecord } from './records.ts';
import type { Scenario } from './scenario.ts';
import { SimulatedFault, createAnswer } from './scheduler.ts';
import type { Answer, Process, Scheduler } from './scheduler.ts';

export interface Committed {
  offset: bigint | null;
  metadata: string;
}
export interface Membership {
  memberId: string;
  generation: number;
  partitions: readonly number[];
}
export interface CommitRequest {
  memberId: string;
  /** The generation that the client stamps. */
  generation: number;
  partition: number;
  offset: bigint;
  metadata: string;
  /** What the checker wants to know: the session that the work was begun in. */
  begunIn: Membership;
}

/**
 * A topic and one consumer group, as far as a sink sees them: a rebalance begins when a member joins, leaves or is expired, and is
 * over when all that are left have joined anew; a commit is judged by member and generation, never by who owns the partition,
 * and is taken while a rebalance is being prepared.
 */
export interface ModelKafka {
  log: SimRecord[][];
  committed: Map<number, Committed>;
  readonly generation: number;
  /** Tokens of all plans that were ever committed. */
  plans: Set<string>;
  letters: Set<string>;
  lettersUp: boolean;
  members(): string[];
  /** Resolves when the rebalance is over. A member that is known stays who it was. */
  join(from: Process, previousId: string | null): Promise<Membership>;
  /** Whether a heartbeat would tell the member to join anew. */
  mustRejoin(membership: Membership): boolean;
  /** The session of a member timed out, or it left. */
  expire(memberId: string): void;
  fetchCommitted(from: Process): Promise<Map<number, Committed>>;
  commit(from: Process, request: CommitRequest): Promise<void>;
  bury(from: Process, ids: readonly string[]): Promise<void>;
  onCommit: (request: CommitRequest, before: Committed | undefined, ownedNow: boolean) => void;
}

export function createModelKafka(scheduler: Scheduler, { partitions, requestFaultRate }: Scenario): ModelKafka {
  const { random } = scheduler;
  /** Members, and those that wait for the rebalance to end. */
  const members = new Map<string, { waiting: Answer<Membership> | null; partitions: readonly number[] }>();
  let generation = 0;
  let preparing = false;
  let lastMember = 0;

  const prepare = (): void => {
    if (preparing) return;
    preparing = true;
    scheduler.add({
      owner: null,
      label: 'Kafka: the rebalance ends',
      ready() { return members.size === 0 || [...members.values()].every(({ waiting }) => waiting !== null); },
      run() {
        preparing = false;
        generation++;
        const ids = [...members.keys()];
        const shares = new Map<string, number[]>(ids.map(id => [id, []]));
        const shift = random.int(0, partitions);
        for (let partition = 0; partition < partitions; partition++) shares.get(ids[(partition + shift) % Math.max(1, ids.length)] ?? '')?.push(partition);
        scheduler.note(() => `    generation ${generation}: ${[...shares].map(([id, share]) => `${id} has ${share.join()}`).join('; ')}`);
        for (const [memberId, member] of members) {
          member.partitions = shares.get(memberId) ?? [];
          member.waiting?.resolve({ memberId, generation, partitions: member.partitions });
          member.waiting = null;
        }
      },
    });
  };
  /** One request, in order with others of nobody: Kafka's client waits for each answer here. */
  const request = <T>(from: Process, label: string, serve: () => T): Promise<T> => {
    const answer = createAnswer<T>(scheduler, from, label);
    scheduler.add({
      owner: null,
      label: `${label} of ${from.name} comes to Kafka`,
      run() {
        if (scheduler.fails(requestFaultRate / 2)) {
          answer.reject(new SimulatedFault('Kafka: not now'));
          return;
        }
        try {
          const value = serve();
          if (scheduler.fails(requestFaultRate)) answer.reject(new SimulatedFault('Kafka: the answer was lost'));
          else answer.resolve(value);
        } catch (fault) {
          answer.reject(fault as SimulatedFault);
        }
      },
    });
    return answer.promise;
  };

  const kafka: ModelKafka = {
    log: Array.from({ length: partitions }, () => []),
    committed: new Map(),
    get generation() {
      return generation;
    },
    plans: new Set(),
    letters: new Set(),
    lettersUp: true,
    members: () => [...members.keys()],
    join(from, previousId) {
      const answer = createAnswer<Membership>(scheduler, from, 'join');
      scheduler.add({
        owner: from,
        label: 'joins',
        run() {
          const memberId = previousId !== null && members.has(previousId) ? previousId : `${from.name}.${++lastMember}`;
          members.set(memberId, { waiting: answer, partitions: [] });
          prepare();
        },
      });
      return answer.promise;
    },
    mustRejoin: ({ memberId, generation: known }) => preparing || known !== generation || !members.has(memberId),
    expire(memberId) {
      const member = members.get(memberId);
      if (member === undefined) return;
      members.delete(memberId);
      member.waiting?.reject(new SimulatedFault('Kafka: unknown member', 'UNKNOWN_MEMBER_ID'));
      prepare();
    },
    fetchCommitted: from => request(from, 'fetch of offsets', () => new Map(kafka.committed)),
    commit: (from, commit) => {
      const { memberId, partition, offset, metadata } = commit;
      return request(from, `commit ${partition}@${offset} ${metadata.slice(0, 20)}`, () => {
        if (!members.has(memberId)) throw new SimulatedFault('Kafka: unknown member', 'UNKNOWN_MEMBER_ID');
        if (commit.generation !== generation) throw new SimulatedFault('Kafka: illegal generation', 'ILLEGAL_GENERATION');
        const before = kafka.committed.get(partition);
        kafka.committed.set(partition, { offset, metadata });
        scheduler.hot = true;
        const plan = decodePlan(offset, metadata);
        if (plan !== null) kafka.plans.add(planToken(topic, partition, plan));
        kafka.onCommit(commit, before, members.get(memberId)?.partitions.includes(partition) === true);
      });
    },
    bury: (from, ids) =>
      request(from, `bury ${ids.length}`, () => {
        if (!kafka.lettersUp) throw new SimulatedFault('Kafka: the dead-letter topic is down');
        for (const id of ids) kafka.letters.add(id);
      }),
    onCommit: () => undefined,
  };
  return kafka;
}
