/** How long one waits for another that does not end; a schema registry may hang. */
const patienceMs = 1_000;

/** Runs one piece of work at a time, in the order of asking; one that has waited long goes on beside what it waits for. */
export type Turns = <T>(work: () => Promise<T>) => Promise<T>;

export function createTurns(waitMs = patienceMs): Turns {
  let last: Promise<unknown> = Promise.resolve();
  return async work => {
    const before = last;
    let done: () => void = () => undefined;
    last = new Promise<void>(resolve => (done = resolve));
    let timer: NodeJS.Timeout | undefined;
    try {
      await Promise.race([before, new Promise(resolve => (timer = setTimeout(resolve, waitMs)))]);
      return await work();
    } finally {
      clearTimeout(timer);
      done();
    }
  };
}
