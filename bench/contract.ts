import { createContracts } from '../src/contract/contracts.ts';
import type { ContractEntry } from '../src/contract/contracts.ts';
import type { CanonicalEvent, ParsedObjects } from '../src/event/canonical.ts';
import { readSegmentEvent } from '../src/event/segment.ts';
import { numberMark, orderContract, trackEvent, userMark } from './harness/events.ts';
import { figureOf, median, spread } from './harness/figures.ts';
import type { Bench } from './harness/report.ts';

const count = 100_000;

const types = { ...orderContract.properties, currency: { type: 'string' }, sku: { type: 'string' }, placed: { type: 'string' } };
const entry = (properties: object, tenant = 'dev'): ContractEntry => ({
  tenant, type: 'track', event: 'Order Completed', version: 1, onViolation: 'reject', schema: JSON.stringify({ ...orderContract, properties }),
});
const contracts = { 'types alone': entry(types), 'with enum, pattern and format': entry(orderContract.properties) };

const source = { tenant: 'dev', dialect: 'segment', writeKeyId: 'k', receivedAtMs: 1_750_000_000_000, newMessageId: () => 'm' };
const texts = Array.from({ length: 1_000 }, (_none, index) => trackEvent.replaceAll(numberMark, String(index)).replaceAll(userMark, String(index)));
const read = (text: string): { event: CanonicalEvent; parsed?: ParsedObjects } => {
  const result = readSegmentEvent(JSON.parse(text), text, source);
  if (!result.ok) throw new Error(result.message);
  return result;
};

/** Microseconds of processor time a call. */
function measure(work: (index: number) => unknown): number {
  const began = process.cpuUsage();
  for (let at = 0; at < count; at++) work(at % texts.length);
  const { user, system } = process.cpuUsage(began);
  return (user + system) / count;
}

/** What judging an event costs, beside reading it. At the door its properties are parsed already, in the sink they are not. */
export const contractBench: Bench = async ({ rounds, onProgress }) => {
  const events = texts.map(read);
  const at = (index: number): { event: CanonicalEvent; parsed?: ParsedObjects } => events[index] ?? read('');
  const works: Record<string, (index: number) => unknown> = { 'reading an event': index => read(texts[index] ?? '') };
  for (const [name, contract] of Object.entries(contracts)) {
    const { judge } = createContracts([contract]);
    const probe = judge(at(0).event);
    if (probe === null || probe.violations.length > 0) throw new Error(`the events should fit: ${JSON.stringify(probe)}`);
    works[`judging it at the door, ${name}`] = index => judge(at(index).event, at(index).parsed);
    works[`judging it in the sink, ${name}`] = index => judge(at(index).event);
  }
  const many = createContracts(Array.from({ length: 50 }, (_none, tenant) => entry(types, tenant === 0 ? 'dev' : `t${tenant}`)));
  works['judging it at the door, one of 50 contracts'] = index => many.judge(at(index).event, at(index).parsed);
  const other = createContracts([entry(types, 'other')]);
  works['no contract is for it'] = index => other.judge(at(index).event);

  const figures = new Map<string, number[]>();
  // The first round warms up.
  for (let round = 0; round <= 3 * rounds; round++) {
    onProgress(`round ${round} of ${3 * rounds}`);
    for (const [name, work] of Object.entries(works)) {
      const figure = measure(work);
      if (round > 0) figures.set(name, [...(figures.get(name) ?? []), figure]);
    }
  }
  const reading = median(figures.get('reading an event') ?? []);
  const door = Object.keys(contracts).map(name => median(figures.get(`judging it at the door, ${name}`) ?? []));
  return {
    name: 'contract',
    tables: [{
      title: 'A contract of ten properties', unit: 'µs of processor time an event; medians (least–most)', columns: ['', 'µs', 'of reading it'],
      rows: [...figures].map(([name, values]) => [name, spread(figureOf(values)), (median(values) / reading).toFixed(2)]),
    }],
    plots: [],
    checks: [{ what: 'a contract of ten properties ≤ 2 µs an event at the door', value: Math.max(...door), met: Math.max(...door) <= 2 }],
  };
};
