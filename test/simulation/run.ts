/**
 * Schedules from the command line: node --import tsx test/simulation/run.ts --seed N [--schedules M] [--off I1]
 * One schedule prints its journal; several print the first that breaks something.
 */
import { parseArgs } from 'node:util';
import { describeResult } from './report.ts';
import type { SwitchedOff } from './sink.ts';
import { runSchedule } from './world.ts';

const { values } = parseArgs({ options: { seed: { type: 'string', default: '1' }, schedules: { type: 'string', default: '1' }, off: { type: 'string' } } });
const schedules = Number(values.schedules);
// Traces of faults that are meant to happen cost a third of the time.
Error.stackTraceLimit = schedules === 1 ? 10 : 0;
const first = Number(values.seed);
const switchedOff = (values.off ?? null) as SwitchedOff | null;
const began = performance.now();
const marks = new Map<string, number>();
let steps = 0;
let failed = 0;
for (let seed = first; seed < first + schedules; seed++) {
  const result = await runSchedule({ seed, switchedOff, journal: schedules === 1 });
  steps += result.steps;
  for (const mark of result.marks) marks.set(mark, (marks.get(mark) ?? 0) + 1);
  if (schedules === 1) console.log(describeResult(result));
  else if (result.violation !== null && ++failed <= 20) console.log(`seed ${seed}: ${result.violation.invariant}: ${result.violation.detail}`);
}
if (schedules > 1) for (const [mark, count] of marks) console.log(`${count} times: ${mark}`);
console.log(`${schedules} schedules, ${steps} steps, ${failed} broken, ${Math.round(performance.now() - began)} ms`);
