/**
 * Schedules from the command line: node --import tsx test/simulation/run.ts --seed N [--schedules M] [--off I1] [--counting lost,stuck]
 * `--long-gaps`: always, see scenario.ts.
 * One schedule prints its journal; of several each that breaks something is one line, and a summary. `--json` prints only that.
 */
import { parseArgs } from 'node:util';
import { describeResult, summarise } from './report.ts';
import type { SwitchedOff } from './sink.ts';
import { runSchedule } from './world.ts';
import type { ScheduleResult } from './world.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    schedules: { type: 'string', default: '1' },
    off: { type: 'string' },
    counting: { type: 'string' },
    'long-gaps': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const schedules = Number(values.schedules);
const first = Number(values.seed);
const counting = values.counting?.split(',');
const began = performance.now();
// Traces of faults that are meant to happen cost a third of the time.
Error.stackTraceLimit = schedules === 1 ? 10 : 0;

const results: Omit<ScheduleResult, 'journal'>[] = [];
for (let seed = first; seed < first + schedules; seed++) {
  const result = await runSchedule({
    seed,
    switchedOff: (values.off ?? null) as SwitchedOff | null,
    journal: schedules === 1 && !values.json,
    ...(values['long-gaps'] && { scenario: { longGaps: true } }),
    ...(counting && { counts: (invariant: string) => counting.includes(invariant) }),
  });
  if (schedules === 1 && !values.json) console.log(describeResult(result));
  else if (result.violation !== null && !values.json) console.log(`seed ${seed}: ${result.violation.invariant}: ${result.violation.detail}`);
  results.push(result);
}
const summary = summarise(results);
if (values.json) console.log(JSON.stringify(summary));
else {
  if (schedules > 1) for (const [mark, count] of Object.entries(summary.marks)) console.log(`${count} times: ${mark}`);
  console.log(`${schedules} schedules, ${summary.steps} steps, ${summary.broken.length} broken, ${Math.round(performance.now() - began)} ms`);
}
process.exitCode = summary.broken.length > 0 ? 1 : 0;
