import { asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import type { TopicId } from './committed-metadata.ts';
import type { LiveSession } from './session.ts';
import type { TopicState, TopicWatch } from './topic-state.ts';

/*
 * Looks at the topic every few seconds, beside kafkajs and over connections of its own.
 *
 *   the topic has another id than the session                 restart, with an alarm
 *   brokers answer, the session shows no life for long        restart: kafkajs hangs
 *   brokers answer, a partition has records that nobody
 *   was handed for long, and no handler runs                  restart, once for each position
 *   brokers answer, kafkajs crashes on and on without a
 *   fetch, or there is no session, for very long              onStuck: the process should end, for its supervisor to start it
 *
 * Signs of life are answers of the group's coordinator (heartbeats, joins). While no broker answers, or the topic is not there,
 * nothing is said: then there is nothing to read either.
 */

export interface WatchdogOptions {
  watch: TopicWatch;
  groupId: string;
  topic: string;
  sessionTimeoutMs: number;
  rebalanceTimeoutMs: number;
  topicPollMs?: number;
  stuckAfterMs?: number;
  giveUpAfterMs?: number;
  session: () => LiveSession | null;
  restart: (session: LiveSession, cause: Error) => void;
  onStuck: (why: Error) => void;
  onRemade: (partitions: readonly number[], oldTopicId: TopicId, newTopicId: TopicId) => void;
  log: Log;
}

export interface Watchdog {
  /** The group's coordinator answered. */
  sign(): void;
  crashed(error: Error): void;
  fetched(): void;
  close(): void;
}

export function startWatchdog(options: WatchdogOptions): Watchdog {
  const { watch, groupId, topic, log } = options;
  const stuckAfterMs = options.stuckAfterMs ?? 3 * options.sessionTimeoutMs;
  const giveUpAfterMs = options.giveUpAfterMs ?? Math.max(120_000, options.rebalanceTimeoutMs + stuckAfterMs);
  let signMs = Date.now();
  /** Since when every look was answered. */
  let answeredSinceMs = Infinity;
  /** Since when kafkajs crashed without one fetch in between. */
  let failing: { sinceMs: number; error: Error } | null = null;
  const behindSince = new Map<number, { position: bigint; sinceMs: number }>();
  const triedAgain = new Set<string>();
  let looking = false;
  let closed = false;

  const judge = (state: TopicState): void => {
    const now = Date.now();
    const session = options.session();
    if (failing !== null && now - Math.max(failing.sinceMs, answeredSinceMs) > giveUpAfterMs) return options.onStuck(failing.error);
    const quietMs = now - Math.max(signMs, answeredSinceMs);
    if (session === null || session.cause !== null) {
      if (quietMs > giveUpAfterMs) options.onStuck(new Error(`brokers answer, but the group was not joined for ${Math.round(quietMs / 1000)} s`));
      return;
    }
    const id = session.topicId();
    if (id !== null && state.id !== null && state.id !== id) {
      options.onRemade([...state.earliest.keys()].sort((a, b) => a - b), id, state.id);
      options.restart(session, new Error('the topic was made again'));
    } else if (quietMs > stuckAfterMs) {
      note(log, 'consumer_stuck', { groupId, topic, quietMs });
      options.restart(session, new Error('kafkajs shows no sign of life'));
    } else {
      const stuck = longBehind(session, state, now);
      if (stuck === null) return;
      note(log, 'partition_stuck', { groupId, topic, partition: stuck.partition, position: String(stuck.position) });
      options.restart(session, new Error(`partition ${stuck.partition} is stuck`));
    }
  };

  /** A partition that was behind at the same position for long, while no handler ran; each position once. */
  const longBehind = (session: LiveSession, state: TopicState, now: number): { partition: number; position: bigint } | null => {
    const behind = session.running.size > 0 ? [] : session.positions.behind(state);
    const known = new Map(behindSince);
    behindSince.clear();
    for (const { partition, position } of behind) {
      const before = known.get(partition);
      behindSince.set(partition, before?.position === position ? before : { position, sinceMs: now });
    }
    const stuck = behind.find(({ partition, position }) => now - (behindSince.get(partition)?.sinceMs ?? now) > stuckAfterMs && !triedAgain.has(`${partition}/${position}`));
    if (stuck === undefined) return null;
    if (triedAgain.size > 1_000) triedAgain.clear();
    triedAgain.add(`${stuck.partition}/${stuck.position}`);
    return stuck;
  };

  const timer = setInterval(() => {
    if (looking) return;
    looking = true;
    watch.look().then(
      state => {
        if (closed) return;
        if (state === null) {
          answeredSinceMs = Infinity;
          return;
        }
        if (answeredSinceMs === Infinity) answeredSinceMs = Date.now();
        judge(state);
      },
      (thrown: unknown) => {
        answeredSinceMs = Infinity;
        log.debug({ groupId, topic, error: asError(thrown).message }, 'no broker answers');
      },
    ).catch((thrown: unknown) => note(log, 'watch_failed', { err: asError(thrown) })).finally(() => (looking = false));
  }, options.topicPollMs ?? 3_000);
  timer.unref();

  return {
    sign() {
      signMs = Date.now();
    },
    crashed(error) {
      failing = { sinceMs: failing?.sinceMs ?? Date.now(), error };
    },
    fetched() {
      failing = null;
    },
    close() {
      closed = true;
      clearInterval(timer);
    },
  };
}
