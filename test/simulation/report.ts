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

export interface Summary {
  steps: number;
  broken: { seed: number; invariant: string; detail: string }[];
  /** In how many schedules something came about. */
  marks: Record<string, number>;
}

export function summarise(results: readonly Omit<ScheduleResult, 'journal'>[]): Summary {
  const summary: Summary = { steps: 0, broken: [], marks: {} };
  for (const { seed, steps, violation, marks } of results) {
    summary.steps += steps;
    if (violation !== null) summary.broken.push({ seed, ...violation });
    for (const mark of marks) summary.marks[mark] = (summary.marks[mark] ?? 0) + 1;
  }
  return summary;
}
