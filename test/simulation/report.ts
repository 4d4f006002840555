import type { ScheduleResult } from './world.ts';

/** A schedule as text: what may happen in it, what happened, and what that broke. */
export function describeResult({ seed, scenario, steps, violation, journal }: ScheduleResult): string {
  return [
    `seed ${seed}: ${Object.entries(scenario).map(([name, value]) => `${name} ${String(value)}`).join(', ')}`,
    ...journal,
    violation === null ? `nothing is broken after ${steps} steps` : `BROKEN after ${steps} steps: ${violation.invariant}: ${violation.detail}`,
    `again: SIMULATION_SEED=${seed} npm test -- simulation`,
  ].join('\n');
}
