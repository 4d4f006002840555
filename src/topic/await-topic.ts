import { setTimeout as sleep } from 'node:timers/promises';
import { asError } from '../errors.ts';
import { topicNames } from './provision.ts';
import { subscribe } from './subscribe.ts';
import type { SubscribeOptions, Subscription } from './subscribe.ts';

/*
 * A subscription to a topic that is somebody else's: it may be missing, come later, be deleted and come back.
 *
 *   state        event                              next
 *   ---------    -------------------------------    -------------------------------------------------------------
 *   Waiting      asked every `pollMs`: not there    Waiting (a warning, once)
 *   Waiting      it is there                        Subscribed; a subscription that fails leads back to Waiting
 *   Subscribed   the consumer gives up, and the     Waiting
 *                topic is gone
 *   Subscribed   it gives up, the topic is there    onFatal
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
  let waiting: Promise<void> = Promise.resolve();

  const isThere = async (): Promise<boolean> => (await topicNames(connection, log)).has(topic);

  const gaveUp: SubscribeOptions['onFatal'] = error => {
    const decide = async (): Promise<void> => {
      if (await isThere()) {
        onFatal(error);
        return;
      }
      const ended = subscription;
      subscription = null;
      await ended?.close();
      if (!stop.signal.aborted) waiting = wait();
    };
    if (!stop.signal.aborted) decide().catch(() => onFatal(error));
  };

  const wait = async (): Promise<void> => {
    let warned = false;
    while (!stop.signal.aborted) {
      try {
        if (await isThere()) {
          const made = await subscribe({ ...options, onFatal: gaveUp });
          subscription = made;
          if (warned) log.warn({ topic }, 'the topic is there now');
          return;
        }
        if (!warned) log.warn({ topic }, 'the topic does not exist yet; waiting for it');
        warned = true;
      } catch (error) {
        log.info({ topic, error: asError(error).message }, 'could not ask for the topic; asking again');
      }
      // Ends early, and then without a fault, when it is closed.
      await sleep(pollMs, undefined, { signal: stop.signal }).catch(() => undefined);
    }
  };

  waiting = wait();
  return {
    joined: () => subscription?.joined() ?? true,
    partitions: () => subscription?.partitions() ?? [],
    async close() {
      stop.abort();
      await waiting;
      await subscription?.close();
    },
  };
}
