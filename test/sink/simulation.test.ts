import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../helpers/local.ts';
import { describeResult } from '../simulation/report.ts';
import type { Summary } from '../simulation/report.ts';
import type { Scenario } from '../simulation/scenario.ts';
import type { SwitchedOff } from '../simulation/sink.ts';
import { runSchedule } from '../simulation/world.ts';

/* The sink's own code on models of Kafka and ClickHouse, in seeded schedules: see test/simulation/README.md. */

// Traces of faults that are meant to happen cost a third of the time.
Error.stackTraceLimit = 0;

const schedules = Number(process.env['SIMULATION_SCHEDULES'] ?? 10_000);
const seedGiven = process.env['SIMULATION_SEED'];

/** In a process of its own, so that both cores have work. */
const runProcess = (seed: number, count: number): Promise<Summary> =>
  new Promise((resolve, reject) => {
    execFile(process.execPath, ['--import', 'tsx', join(packageRoot, 'test', 'simulation', 'run.ts'), '--json', '--seed', String(seed), '--schedules', String(count)], { timeout: 220_000, maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
      try {
        resolve(JSON.parse(stdout) as Summary);
      } catch {
        reject(new Error(`the simulation ended early: ${stderr}`, { cause: error }));
      }
    });
  });

if (seedGiven !== undefined) {
  test(`seed ${seedGiven}`, async () => {
    const result = await runSchedule({ seed: Number(seedGiven), journal: true });
    console.log(describeResult(result));
    assert.equal(result.violation, null);
  });
} else {
  test(`${schedules} schedules of faults break nothing`, async t => {
    // Half of them are the same every time, the others never.
    const half = Math.ceil(schedules / 2);
    const base = 1_000_000 + Math.floor(Math.random() * 1e9);
    t.diagnostic(`seeds 1 to ${half} and ${base} to ${base + schedules - half - 1}`);
    const parts = await Promise.all([runProcess(1, half), runProcess(base, schedules - half)]);
    const [broken] = parts.flatMap(part => part.broken);
    if (broken !== undefined) console.log(describeResult(await runSchedule({ seed: broken.seed, journal: true })));
    assert.deepEqual(parts.flatMap(part => part.broken), []);

    // Schedules in which nothing happens would break nothing either.
    if (schedules < 5_000) return;
    const times = (mark: string): number => parts.reduce((sum, { marks }) => sum + (marks[mark] ?? 0), 0);
    for (const mark of [
      'a batch waits: it could not be stored yet',
      'a fetch brought less than its plan; fetching again',
      'the records of a plan have changed; a new plan takes its place',
      'events were stored without their ids; adding those',
      'events that were stored twice are single again',
      'model: a request landed that nobody waited for',
      'model: rows were deleted, and the group set back',
      'model: a group was set back, and kept its metadata',
    ]) assert.ok(times(mark) >= 10, `only ${times(mark)} schedules came to: ${mark}`);
  });

  test('a seed repeats its schedule', async () => {
    const [one, other] = [await runSchedule({ seed: 7, journal: true }), await runSchedule({ seed: 7, journal: true })];
    assert.ok(one.journal.length > 50);
    assert.deepEqual(one.journal, other.journal);
  });

  /** What users would see, not what the checker knows of the rules. */
  const harm = new Set(['lost', 'stored twice', 'contradiction', 'content lost']);
  const proofs: { off: SwitchedOff; how: string; within: number; scenario: Partial<Scenario> }[] = [
    {
      off: 'I1', how: 'the plan is committed after the insert', within: 1_000,
      scenario: { sinks: 3, partitions: 1, records: 14, steps: 300, faultRate: 0.02, hotFaultRate: 0.3, requestFaultRate: 0.1, suppressions: true, shortFetches: true, halfInsertRate: 0.3 },
    },
    { off: 'I2', how: 'a replay cuts its batch anew', within: 600, scenario: {} },
    { off: 'I3', how: 'an offset is passed before rows, letters and outcomes are acknowledged', within: 100, scenario: {} },
    {
      off: 'I4', how: 'work outlives its session and commits in the next generation', within: 1_000,
      // Two must work on one partition for long enough to judge it differently.
      scenario: { sinks: 3, partitions: 3, records: 14, steps: 300, faultRate: 0.02, hotFaultRate: 0.2, requestFaultRate: 0.05, halfInsertRate: 0.3, suppressions: true, shortFetches: true },
    },
  ];
  test('epochs switched off (tokens stay when a group is set back): rows that were deleted are lost', async () => {
    const scenario: Partial<Scenario> = { rewinds: true, compaction: false, suppressions: false };
    let seed = 1;
    while ((await runSchedule({ seed, switchedOff: 'epochs', scenario })).violation === null) assert.ok(++seed <= 300, 'not found in 300 schedules');
    const { violation } = await runSchedule({ seed, switchedOff: 'epochs', scenario });
    assert.match(violation?.detail ?? '', /neither stored nor accounted for/);
    assert.equal((await runSchedule({ seed, scenario })).violation, null);
  });

  test('commits that do not say what profiles lack: rows stay out of profiles', async () => {
    const scenario: Partial<Scenario> = { rewinds: false, compaction: false };
    let seed = 1;
    while ((await runSchedule({ seed, switchedOff: 'unfed', scenario })).violation?.invariant !== 'no profile') assert.ok(++seed <= 300, 'not found in 300 schedules');
    assert.equal((await runSchedule({ seed, scenario })).violation, null);
  });

  for (const { off, how, within, scenario } of proofs) {
    test(`${off} switched off (${how}): found`, async t => {
      const find = async (counts: (invariant: string) => boolean): Promise<number> => {
        for (let seed = 1; seed <= within; seed++) {
          const { violation } = await runSchedule({ seed, switchedOff: off, counts, scenario });
          if (violation !== null) return seed;
        }
        assert.fail(`not found in ${within} schedules`);
      };
      const byRule = await find(invariant => invariant === off);
      t.diagnostic(`the broken rule is seen with seed ${byRule}`);
      const seed = await find(invariant => harm.has(invariant));
      const counts = (invariant: string): boolean => harm.has(invariant);
      const result = await runSchedule({ seed, journal: true, switchedOff: off, counts, scenario });
      t.diagnostic(`harm is done with seed ${seed}: ${result.violation?.invariant}: ${result.violation?.detail}`);
      t.diagnostic(['its last steps:', ...result.journal.slice(-30)].join('\n'));
      // The very same schedule does no harm with the rule in force.
      assert.equal((await runSchedule({ seed, scenario })).violation, null);
    });
  }
}
