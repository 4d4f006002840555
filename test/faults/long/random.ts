/** Choices that a seed repeats. */
export interface Random {
  /** From 0 to below 1. */
  next(): number;
  /** A whole number, both ends included. */
  int(low: number, high: number): number;
  chance(probability: number): boolean;
  pick<T>(from: readonly T[]): T;
  shuffled<T>(from: readonly T[]): T[];
  /** Another row of choices, so that what one part takes does not shift what another gets. */
  fork(): Random;
}

/** mulberry32: 32 bits of state, even enough for choosing faults. */
export function createRandom(seed: number): Random {
  let state = seed | 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  const random: Random = {
    next,
    int: (low, high) => low + Math.floor(next() * (high - low + 1)),
    chance: probability => next() < probability,
    pick(from) {
      const found = from[Math.floor(next() * from.length)];
      if (found === undefined) throw new RangeError('nothing to pick from');
      return found;
    },
    shuffled(from) {
      const list = [...from];
      for (let at = list.length - 1; at > 0; at--) {
        const other = random.int(0, at);
        const moved = list[at] as (typeof list)[number];
        list[at] = list[other] as (typeof list)[number];
        list[other] = moved;
      }
      return list;
    },
    fork: () => createRandom(Math.floor(next() * 4_294_967_296)),
  };
  return random;
}
