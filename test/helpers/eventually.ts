/** Asks until the answer satisfies, then returns it; throws with the last answer when time is up. Never a bare sleep. */
export async function eventually<T>(ask: () => Promise<T> | T, satisfied: (answer: T) => boolean, timeoutMs = 20_000, everyMs = 50): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (satisfied(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms; the last answer was ${JSON.stringify(answer, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}`);
    await new Promise(resolve => setTimeout(resolve, everyMs));
  }
}
