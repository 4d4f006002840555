import { MillraceError, asError } from '../errors.ts';

/*
 * Questions and answers between the primary and a worker, over the channel that Node gives the two. What is said within a
 * millisecond goes as one message: a channel is much dearer by the message than by the byte.
 *
 *   [number, name, body]       a question; the other side's numbers are its own
 *   [number, null, answer]     its answer
 *   [number, null, null, why]  its answer failed
 */
type Said = [number, string, unknown] | [number, null, unknown] | [number, null, null, string];

/** What the other side may be asked: each question's body and its answer, both plain JSON. */
export type Questions = Record<string, { body: unknown; answer: unknown }>;
export type Handlers<Q extends Questions> = { [N in keyof Q]: (body: Q[N]['body']) => Q[N]['answer'] | Promise<Q[N]['answer']> };

export interface Link<Q extends Questions> {
  /** Throws `worker_silent` after `timeoutMs`, or where the other side is gone. `late` is told of an answer that comes after that. */
  ask<N extends keyof Q & string>(name: N, body: Q[N]['body'], timeoutMs: number, late?: (answer: Q[N]['answer']) => void): Promise<Q[N]['answer']>;
  /** Says it, and waits for no answer. */
  tell<N extends keyof Q & string>(name: N, body: Q[N]['body']): void;
  /** What is still asked fails. */
  close(): void;
}

/** One end of the channel: `process`, or a worker of node:cluster. */
export interface Channel {
  send(message: unknown, done: (error: Error | null) => void): void;
  on(event: 'message', listener: (message: unknown) => void): void;
}

interface Asked {
  answer: (value: unknown) => void;
  fail: (why: string) => void;
}

export function createLink<Theirs extends Questions, Mine extends Questions>(channel: Channel, handlers: Handlers<Mine>): Link<Theirs> {
  const asked = new Map<number, Asked>();
  let next = 1;
  let closed = false;
  let outbox: Said[] = [];

  const flush = (): void => {
    const saying = outbox;
    outbox = [];
    const lost = (error: Error | null): void => {
      if (error !== null) for (const [number, name] of saying) if (name !== null) asked.get(number)?.fail(error.message);
    };
    try {
      channel.send(saying, lost);
    } catch (thrown) {
      lost(asError(thrown));
    }
  };
  const say = (said: Said): void => {
    if (closed) return;
    outbox.push(said);
    if (outbox.length === 1) setTimeout(flush, 1);
  };
  const reply = async (number: number, name: string, body: unknown): Promise<void> => {
    try {
      const handle = handlers[name];
      if (handle === undefined) throw new RangeError(`nobody answers ${name}`);
      const answer = await handle(body);
      if (number > 0) say([number, null, answer]);
    } catch (thrown) {
      if (number > 0) say([number, null, null, asError(thrown).message]);
    }
  };
  channel.on('message', message => {
    for (const [number, name, body, why] of message as [number, string | null, unknown, string?][]) {
      if (name !== null) void reply(number, name, body);
      else if (why === undefined) asked.get(number)?.answer(body);
      else asked.get(number)?.fail(why);
    }
  });

  return {
    ask<N extends keyof Theirs & string>(name: N, body: Theirs[N]['body'], timeoutMs: number, late?: (answer: Theirs[N]['answer']) => void) {
      return new Promise<Theirs[N]['answer']>((resolve, reject) => {
        const number = next++;
        let waits = true;
        const fail = (why: string): void => {
          clearTimeout(timer);
          // Where an answer after the time is of use, it is still waited for.
          if (!waits || late === undefined) asked.delete(number);
          waits = false;
          reject(new MillraceError('worker_silent', `${name} was not answered: ${why}`));
        };
        const timer = setTimeout(() => fail(`nothing within ${timeoutMs} ms`), timeoutMs);
        asked.set(number, {
          answer(value) {
            clearTimeout(timer);
            asked.delete(number);
            if (waits) resolve(value);
            else late?.(value);
          },
          fail,
        });
        if (closed) fail('the other side is gone');
        else say([number, name, body]);
      });
    },
    tell: (name, body) => say([0, name, body]),
    close() {
      closed = true;
      for (const { fail } of [...asked.values()]) fail('the other side is gone');
      asked.clear();
    },
  };
}
