import { setTimeout as sleep } from 'node:timers/promises';
import { asError } from '../errors.ts';
import { note } from '../telemetry.ts';
import { topicNames } from './provision.ts';
import { subscribe } from './subscribe.ts';
import type { SubscribeOptions, Subscription } from './subscribe.ts';

/*
 * A subscription to a topic that is somebody else's: it may be missing, come later, be deleted and come back.
 * Every `pollMs` it is asked whether the topic is there:
 *
 *   state        the topic is there                        it is not
 *   ----------   --------------------------------------    -----------------------------------------------
 *   Waiting      subscribe → Subscribed                    a warning, once → Waiting
 *   Subscribed   nothing                                   close the subscription → Waiting
 *   (kafkajs     onFatal                                   the same
 *    gave up)
 */

export interface AwaitTopicOptions extends SubscribeOptions {
  /** Milliseconds between two questions whether the topic is there. */
  pollMs: number;
}

/** Never makes the topic. While that is missing `joined()` is true: there is nothing to join. */
export function subscribeWhenThere(options: AwaitTopicOptions): Subscription {
  const { connection, topic, log, pollMs, onFatal } = options;
  const stop = new AbortController();
  let subscription: Subscription | null = null;
  let warned = false;

  const isThere = async (): Promise<boolean> => (await topicNames(connection, log)).has(topic);
  const leave = async (): Promise<void> => {
    const ended = subscription;
    subscription = null;
    await ended?.close();
  };
  const gaveUp: SubscribeOptions['onFatal'] = error => {
    if (stop.signal.aborted) return;
    // Gone: the next round leaves.
    isThere().then(there => there && onFatal(error), () => onFatal(error));
  };

  const look = async (): Promise<void> => {
    const there = await isThere();
    if (stop.signal.aborted) return;
    if (there && subscription === null) {
      subscription = await subscribe({ ...options, onFatal: gaveUp });
      if (warned) note(log, 'topic_there', { topic });
      warned = false;
    } else if (!there && !warned) {
      note(log, subscription === null ? 'topic_awaited' : 'topic_gone', { topic });
      warned = true;
      await leave();
    }
  };
  const run = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      await look().catch((error: unknown) => note(log, 'topic_unknown', { topic, error: asError(error).message }));
      // Ends early, and then without a fault, when it is closed.
      await sleep(pollMs, undefined, { signal: stop.signal }).catch(() => undefined);
    }
  };
  const running = run();

  return {
    joined: () => subscription?.joined() ?? true,
    partitions: () => subscription?.partitions() ?? [],
    position: partition => subscription?.position(partition) ?? null,
    async close() {
      stop.abort();
      await running;
      await leave();
    },
  };
}
