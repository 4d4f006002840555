import type { CanonicalEvent } from '../../src/event/canonical.ts';
import { anEvent } from './profile-store.ts';

/** Numbers from a seed (mulberry32). */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return below => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/**
 * The history of some users of two tenants, each message once, in no order: anonymous ids, shared ones too, e-mail addresses, renames in
 * chains and circles, groups, traits that come, change and go. No two events have the same time.
 */
export function inventHistory(users: number, random: (below: number) => number): CanonicalEvent[] {
  const events: CanonicalEvent[] = [];
  const taken = new Set<number>();
  const moment = (): number => {
    for (;;) {
      const at = random(30_000_000);
      if (!taken.has(at)) {
        taken.add(at);
        return at;
      }
    }
  };
  const chance = (percent: number): boolean => random(100) < percent;
  const traitValues = ['null', '1', '"x"', 'true', '[1,"a",null]', '{"id":"c","n":{"deep":1}}', '{"other":2}', '{}', '-1.5', '"2024-01-15T09:00:00Z"', '9007199254740991'];
  const traits = (): string => `{${[...new Set(Array.from({ length: 1 + random(4) }, () => random(8)))].map(name => `"trait ${name}":${traitValues[random(traitValues.length)]}`).join()}}`;
  for (let number = 0; number < users; number++) {
    const tenant = chance(50) ? 't' : 'other';
    const user = `user-${number}`;
    const anonymous = Array.from({ length: random(4) }, (_, index) => `anon-${chance(3) ? random(users) : number}-${index}`);
    const email = `Mail${number}@example.com`;
    const add = (part: Partial<CanonicalEvent>): void => void events.push(anEvent({ tenant, timestampMs: Date.UTC(2026, 0, 1) + moment(), ...part }));
    for (let count = random(5); count > 0; count--) add({ userId: user, event: 'Did' });
    for (const anonymousId of anonymous) {
      for (let count = random(4); count > 0; count--) add({ anonymousId, type: 'page' });
      if (chance(50)) add({ anonymousId, type: 'identify', traits: traits() });
      if (chance(70)) add({ anonymousId, userId: user, type: 'identify', traits: traits() });
      if (chance(5)) add({ anonymousId, userId: `user-${random(users)}`, type: 'identify' });
      if (chance(20)) add({ anonymousId, type: 'group', groupId: `group-${random(40)}`, traits: traits() });
    }
    for (let count = random(4); count > 0; count--) add({ userId: user, type: 'identify', traits: chance(30) ? `{"email":" ${email}","trait 1":null}` : traits() });
    for (let count = chance(40) ? random(4) : 0; count > 0; count--) add({ userId: user, type: 'group', groupId: `group-${random(40)}`, traits: chance(50) ? traits() : null });
    if (chance(20)) add({ email: `${email} `, event: 'purchase' });
    if (chance(15)) add({ email, userId: user, event: 'purchase' });
    if (chance(8)) add({ userId: user, previousId: chance(70) ? `user-${random(users)}` : `anon-${random(users)}-0`, type: 'alias' });
    if (chance(2)) add({ userId: email.toLowerCase(), previousId: user, type: 'alias' });
  }
  return events;
}

/** The same in another order, some of it twice. */
export function shuffled<T>(events: readonly T[], random: (below: number) => number, duplicatesPercent: number): T[] {
  const all = [...events, ...events.filter(() => random(100) < duplicatesPercent)];
  for (let index = all.length - 1; index > 0; index--) {
    const other = random(index + 1);
    [all[index], all[other]] = [all[other] as T, all[index] as T];
  }
  return all;
}
