import { checkEnd, watch } from './check.ts';
import { createModelClickHouse } from './model-clickhouse.ts';
import { createModelKafka } from './model-kafka.ts';
import { describeRecord, eventReading, poisonReading } from './records.ts';
import type { SimRecord } from './records.ts';
import { drawScenario } from './scenario.ts';
import type { Scenario } from './scenario.ts';
import { createRandom, createScheduler } from './scheduler.ts';
import { startSink } from './sink.ts';
import type { SimSink, SinkWorld, SwitchedOff } from './sink.ts';

export interface ScheduleOptions {
  seed: number;
  /** Kept only where somebody will read it. */
  journal?: boolean;
  switchedOff?: SwitchedOff | null;
  /** Violations that count; default: all. */
  counts?: (invariant: string) => boolean;
  /** In place of what the seed draws. */
  scenario?: Partial<Scenario>;
}

export interface ScheduleResult {
  seed: number;
  steps: number;
  scenario: Scenario;
  violation: { invariant: string; detail: string } | null;
  journal: readonly string[];
  /** What came about in it. */
  marks: ReadonlySet<string>;
}

/** More steps than any schedule needs to drain. */
const maxDrainSteps = 5_000;

/** Runs one schedule: steps with faults, then everything recovers and drains, reconciles and is checked. */
export async function runSchedule({ seed, journal = false, switchedOff = null, counts = () => true, scenario: given }: ScheduleOptions): Promise<ScheduleResult> {
  const random = createRandom(seed);
  const scenario = { ...drawScenario(random), ...given };
  const scheduler = createScheduler(random, journal);
  const kafka = createModelKafka(scheduler, scenario);
  const clickhouse = createModelClickHouse(scheduler, scenario);
  const suppressed = new Set<string>();
  let violation: ScheduleResult['violation'] = null;
  const world: SinkWorld = {
    scheduler, scenario, kafka, clickhouse, suppressed, switchedOff,
    violate(invariant, detail) {
      if (violation !== null || !counts(invariant)) return;
      violation = { invariant, detail };
      scheduler.note(`VIOLATION of ${invariant}: ${detail}`);
    },
  };
  watch(kafka, clickhouse, scheduler, scenario, world.violate);

  let produced = 0;
  const produce = (): void => {
    produced++;
    const number = random.int(0, Math.ceil(scenario.records * 0.6));
    const partition = scenario.crossPartition ? random.int(0, scenario.partitions - 1) : number % scenario.partitions;
    const log = kafka.log[partition] ?? [];
    const unstorable = random.chance(0.05);
    const reading = random.chance(0.08) ? poisonReading : eventReading(`m${number}`, random.chance(0.2) ? 1 : 0, unstorable);
    const offset = BigInt(log.length);
    const record: SimRecord = {
      partition, offset, reading, vanished: false, timestampMs: 1_750_000_000_000 + produced, key: null, header: () => null, headers: () => [],
      value: Buffer.from(reading.ok ? `${reading.event.messageId}${reading.event.properties ?? ''}${String(unstorable)}` : 'poison'),
    };
    log.push(record);
    scheduler.note(() => `produced ${describeRecord(record)}`);
  };
  while (produced < scenario.records / 2) produce();

  let started = 0;
  let sinks: SimSink[] = [];
  const start = (): void => void sinks.push(startSink(world, `sink${++started}`));
  const kill = (sink: SimSink): void => {
    scheduler.note(`${sink.process.name} is killed`);
    sink.process.dead = true;
    scheduler.drop(sink.process);
    clickhouse.forget(sink.process);
    sinks = sinks.filter(other => other !== sink);
  };
  /** Members whose process is gone. */
  const orphans = (): string[] => kafka.members().filter(id => !sinks.some(({ process }) => id.startsWith(`${process.name}.`)));
  for (let count = 0; count < scenario.sinks; count++) start();

  const live = (): SimSink[] => sinks.filter(({ process }) => !process.stopped);
  const faults: { weight: number; possible: () => boolean; run: () => void }[] = [
    { weight: 3, possible: () => sinks.length > 0, run: () => kill(random.pick(sinks)) },
    { weight: 6, possible: () => sinks.length < scenario.sinks, run: start },
    { weight: 3, possible: () => orphans().length > 0, run: () => expire(random.pick(orphans())) },
    // A member that is too slow, or stopped.
    { weight: 1.5, possible: () => kafka.members().length > 0, run: () => expire(random.pick(kafka.members())) },
    { weight: 1.5, possible: () => scenario.stops && live().length > 0, run: () => setStopped(random.pick(live()), true) },
    { weight: 2, possible: () => sinks.some(({ process }) => process.stopped), run: () => setStopped(random.pick(sinks.filter(({ process }) => process.stopped)), false) },
    { weight: 1.5, possible: () => clickhouse.up, run: () => { scheduler.note('ClickHouse goes down'); clickhouse.crash(); } },
    { weight: 6, possible: () => !clickhouse.up, run: () => { scheduler.note('ClickHouse is up'); clickhouse.up = true; } },
    { weight: 1, possible: () => kafka.lettersUp, run: () => void (kafka.lettersUp = false) },
    { weight: 4, possible: () => !kafka.lettersUp, run: () => void (kafka.lettersUp = true) },
    { weight: 2, possible: () => scenario.compaction, run: compact },
    { weight: 1, possible: () => scenario.rewinds, run: rewind },
    { weight: 1, possible: () => scenario.suppressions, run: () => void suppressed.add(`user of m${random.int(0, scenario.records)}`) },
    { weight: 3, possible: () => scenario.reconciliation && leaders().length > 0, run: () => random.pick(leaders()).startPass() },
    // Long enough for the reconciliation to look no further back; so nothing that began before may still be on its way.
    { weight: 1, possible: () => !clickhouse.busy() && ((scenario.longGaps && !(scenario.compaction && scenario.halfInsertRate > 0)) || (!clickhouse.lacksIds() && !sinks.some(sink => sink.working()))), run: () => { scheduler.note('twenty minutes pass'); scheduler.advance(20 * 60_000); } },
  ];
  /** Two may think that they hold partition 0: a sink that was expired does not know yet. */
  function leaders(): SimSink[] {
    return live().filter(sink => !sink.reconciling && sink.partitions().includes(0));
  }
  function expire(memberId: string): void {
    scheduler.note(`Kafka expires ${memberId}`);
    kafka.expire(memberId);
  }
  function setStopped({ process }: SimSink, stopped: boolean): void {
    scheduler.note(`${process.name} is ${stopped ? 'stopped' : 'continued'}`);
    process.stopped = stopped;
    // Past its session, often.
    const own = kafka.members().find(id => id.startsWith(`${process.name}.`));
    if (stopped && own !== undefined && random.chance(0.5)) expire(own);
  }
  function compact(): void {
    const there = kafka.log.flat().filter(({ vanished }) => !vanished);
    if (there.length === 0) return;
    const record = random.pick(there);
    record.vanished = true;
    scheduler.note(() => `${describeRecord(record)} is compacted away`);
  }
  /** An operator sets offsets back, for which Kafka wants the group empty; perhaps by a tool that keeps the metadata, perhaps to have again what was deleted. */
  function rewind(): void {
    for (const sink of [...sinks]) kill(sink);
    for (const id of kafka.members()) expire(id);
    const partition = random.int(0, scenario.partitions - 1);
    const before = kafka.committed.get(partition);
    const offset = BigInt(random.int(0, Number(before?.offset ?? 0n)));
    const keeps = random.chance(0.3);
    kafka.committed.set(partition, { offset, metadata: keeps ? (before?.metadata ?? '') : '' });
    if (keeps) scheduler.mark('model: a group was set back, and kept its metadata');
    scheduler.note(`an operator sets ${partition} back to ${offset}${keeps ? ', and keeps the metadata' : ''}`);
    // Not where what is deleted could not come again, where somebody still acts on it, or where nobody could tell that the group was set back.
    if ((keeps && offset === before?.offset) || scenario.compaction || scenario.suppressions || clickhouse.busy() || random.chance(0.5)) return;
    // Rows without their ids, where an id may stand in two partitions: known to break (README.md).
    const what = random.pick(scenario.crossPartition ? ['rows and ids', 'all'] : ['rows', 'rows and ids', 'all']);
    const until = offset + BigInt(random.int(0, scenario.records));
    scheduler.mark('model: rows were deleted, and the group set back');
    scheduler.note(`and deletes ${what} from there to ${until}`);
    const remove = <R extends { partition: number; offset: bigint }>(rows: R[]): void => {
      const left = rows.filter(row => row.partition !== partition || row.offset < offset || row.offset > until);
      rows.splice(0, rows.length, ...left);
    };
    remove(clickhouse.events);
    if (what !== 'rows') remove(clickhouse.ids);
    if (what === 'all') remove(clickhouse.outcomes);
    clickhouse.onChange('removed');
  }
  const fault = (): void => {
    const possible = faults.filter(({ possible: test }) => test());
    let at = random.int(0, 999) / 1_000 * possible.reduce((sum, { weight }) => sum + weight, 0);
    for (const { weight, run } of possible) {
      at -= weight;
      if (at < 0) {
        run();
        return;
      }
    }
  };

  await scheduler.settle();
  for (let step = 0; step < scenario.steps && violation === null; step++) {
    if (produced < scenario.records && random.chance(0.08)) produce();
    const rate = scheduler.hot ? scenario.hotFaultRate : scenario.faultRate;
    scheduler.hot = false;
    const happened = random.chance(rate) ? 'none' : scheduler.step();
    if (happened === 'none') fault();
    if (happened !== 'quiet') await scheduler.settle();
  }

  scheduler.note('faults end');
  scheduler.faults = false;
  clickhouse.up = true;
  kafka.lettersUp = true;
  while (produced < scenario.records) produce();
  for (const { process } of sinks) process.stopped = false;
  if (sinks.length === 0) start();
  await scheduler.settle();
  let left = maxDrainSteps;
  const drain = async (): Promise<void> => {
    while (violation === null && left-- > 0) {
      const happened = scheduler.step();
      if (happened === 'none') {
        const orphan = orphans()[0];
        if (orphan === undefined) return;
        expire(orphan);
      }
      if (happened === 'heard') await scheduler.settle();
    }
    if (violation === null) world.violate('stuck', `there is no end after ${maxDrainSteps} steps`);
  };
  await drain();
  for (const sink of sinks) sink.foundNothing = false;
  // The passes of the next minutes.
  const [first] = sinks;
  for (let pass = 0; pass < 6 && violation === null && first?.foundNothing === false; pass++) {
    scheduler.advance(61_000);
    first.startPass();
    await scheduler.settle();
    await drain();
  }
  if (violation === null) checkEnd(scenario, kafka, clickhouse, world.violate);
  for (const sink of [...sinks]) kill(sink);
  return { seed, steps: scheduler.steps, scenario, violation, journal: scheduler.journal, marks: scheduler.marks };
}
