import { deadLetterId } from '../../src/event/dead-letter.ts';
import { decodePlan } from '../../src/sink/plan.ts';
import type { ModelClickHouse } from './model-clickhouse.ts';
import type { ModelKafka } from './model-kafka.ts';
import { describeRecord, messageIdOf, topic } from './records.ts';
import type { SimRecord } from './records.ts';
import { isExactAlways, mayLackProfiles } from './scenario.ts';
import type { Scenario } from './scenario.ts';
import type { Scheduler } from './scheduler.ts';

export type Violate = (invariant: string, detail: string) => void;

const letterId = ({ partition, offset, timestampMs }: SimRecord): string => deadLetterId({ topic, partition, offset }, timestampMs);

/** Watches both models, so that a promise is broken in the step that breaks it. */
export function watch(kafka: ModelKafka, clickhouse: ModelClickHouse, scheduler: Scheduler, scenario: Scenario, violate: Violate): void {
  const isSettled = (record: SimRecord): boolean => {
    const at = (row: { partition: number; offset: bigint }): boolean => row.partition === record.partition && row.offset === record.offset;
    return record.vanished || clickhouse.events.some(at) || clickhouse.outcomes.some(at);
  };
  const checkPassed = (partition: number): void => {
    const passed = kafka.committed.get(partition)?.offset ?? 0n;
    for (const record of kafka.log[partition] ?? []) {
      if (record.offset < passed && !isSettled(record)) violate('I3', `${partition}@${passed} is committed, and ${describeRecord(record)} is neither stored nor accounted for`);
    }
  };
  kafka.onCommit = ({ partition, offset, metadata, generation, begunIn }, before, ownedNow) => {
    if (begunIn.generation !== generation) violate('I4', `a commit for ${partition} leaves in generation ${generation} for work of generation ${begunIn.generation}`);
    if (!ownedNow || !begunIn.partitions.includes(partition)) violate('I4', `a commit for ${partition} by who does not own it`);
    const planned = before === undefined ? null : decodePlan(before.offset, before.metadata);
    const plan = decodePlan(offset, metadata);
    if (planned !== null && plan !== null && planned.first === plan.first && (planned.last !== plan.last || planned.hash !== plan.hash) && !scenario.shortFetches && !scenario.compaction) {
      violate('I2', `the plan ${planned.first}-${planned.last} of ${partition} gives way to ${plan.first}-${plan.last}, and its records are unchanged`);
    }
    checkPassed(partition);
  };
  clickhouse.onChange = what => {
    if (what === 'removed') for (const partition of kafka.log.keys()) checkPassed(partition);
    else {
      const seen = new Set<string>();
      for (const { eventId, partition, offset } of clickhouse.events) {
        if (seen.has(eventId)) scheduler.mark('model: an event was stored twice');
        if (seen.has(eventId) && isExactAlways(scenario)) violate('stored twice', `a second row of one event, at ${partition}/${offset}`);
        seen.add(eventId);
      }
    }
  };
}

/** What must be true when all is quiet: every event once, every record accounted for in one way. */
export function checkEnd(scenario: Scenario, kafka: ModelKafka, clickhouse: ModelClickHouse, violate: Violate): void {
  const rowsOf = new Map<string, number>();
  for (const { eventId } of clickhouse.events) rowsOf.set(eventId, (rowsOf.get(eventId) ?? 0) + 1);
  const contents = new Map<string, Set<string>>();
  for (const { eventId, content } of [...clickhouse.events, ...clickhouse.conflicts]) contents.set(eventId, (contents.get(eventId) ?? new Set()).add(content));

  for (const [partition, log] of kafka.log.entries()) {
    for (const record of log) {
      const at = (row: { partition: number; offset: bigint }): boolean => row.partition === partition && row.offset === record.offset;
      const { reading } = record;
      const rows = clickhouse.events.filter(at).length;
      const said = clickhouse.outcomes.filter(at).map(({ outcome }) => outcome);
      const outcomes = [...new Set(said)];
      const what = describeRecord(record);
      if (rows + outcomes.length === 0) {
        if (!record.vanished) violate('lost', `${what} is neither stored nor accounted for`);
        continue;
      }
      if (rows > 1) violate('stored twice', `${what} has ${rows} rows`);
      if (rows > 0 && outcomes.length > 0) violate('contradiction', `${what} is stored and ${outcomes.join()}`);
      if (outcomes.length > 1) violate('contradiction', `${what} is ${outcomes.join(' and ')}`);
      if (said.length > outcomes.length) violate('accounted for twice', `${what} is ${said.join(' and ')}`);
      if (clickhouse.conflicts.filter(at).length > 1) violate('accounted for twice', `${what} is in conflicts ${clickhouse.conflicts.filter(at).length} times`);
      if (outcomes.includes('dead_lettered') && !kafka.letters.has(letterId(record))) violate('lost', `${what} is no letter of the dead-letter topic`);
      if (!reading.ok) continue;
      const stored = rowsOf.get(reading.eventId) ?? 0;
      if (stored > 1) violate('stored twice', `${messageIdOf(record)} has ${stored} rows`);
      if (stored === 0 && (outcomes.includes('duplicate') || outcomes.includes('conflict'))) violate('lost', `${what} is ${outcomes.join()}, and its event is not stored`);
      if ((rows > 0 || outcomes.includes('duplicate') || outcomes.includes('conflict')) && contents.get(reading.eventId)?.has(reading.event.properties ?? '') !== true) {
        violate('content lost', `${what}: what it says is in neither events nor conflicts`);
      }
    }
  }
  if (!mayLackProfiles(scenario)) for (const { eventId, partition, offset } of clickhouse.events) if (!clickhouse.fed.has(eventId)) violate('no profile', `the row of ${partition}/${offset} is in no profile`);
  const high = kafka.log.map(log => log.filter(({ vanished }) => !vanished).at(-1)?.offset ?? -1n);
  for (const [partition, last] of high.entries()) {
    if ((kafka.committed.get(partition)?.offset ?? 0n) <= last) violate('stuck', `${partition} is committed up to ${kafka.committed.get(partition)?.offset}, and has records up to ${last}`);
  }
}
