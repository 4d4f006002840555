/**
 * Contracts: what judging an event costs, beside what reading it costs.
 *   node --import tsx bench/contracts.ts [--events 200000] [--rounds 9]
 * The contract has ten properties: seven of plain types, an enum, a pattern and a format; a second one has types alone. The figures are medians of the rounds, in µs of processor
 * time an event (other work on the machine counts little). The door has an event's properties parsed already, the sink has not.
 */
import { parseArgs } from 'node:util';
import { createContracts } from '../src/contract/contracts.ts';
import type { ContractEntry } from '../src/contract/contracts.ts';
import type { CanonicalEvent, ParsedObjects } from '../src/event/canonical.ts';
import { readSegmentEvent } from '../src/event/segment.ts';

const { values: args } = parseArgs({ options: { events: { type: 'string', default: '200000' }, rounds: { type: 'string', default: '9' } } });
const count = Number(args.events);

const types = {
  order_id: { type: 'string', maxLength: 64 }, total: { type: 'number', minimum: 0 }, currency: { type: 'string' }, coupon: { type: ['string', 'null'] }, items: { type: 'integer', minimum: 1 },
  first: { type: 'boolean' }, store: { type: 'string' }, shipping: { type: 'number' }, sku: { type: 'string' }, placed: { type: 'string' },
};
const entry = (properties: object): ContractEntry => ({
  tenant: 'acme', type: 'track', event: 'Order Completed', version: 1, onViolation: 'reject',
  schema: JSON.stringify({ type: 'object', properties, required: ['order_id', 'total', 'currency'], additionalProperties: false }),
});
const contracts = {
  'types alone': entry(types),
  'with enum, pattern, format': entry({ ...types, currency: { enum: ['EUR', 'USD', 'GBP'] }, sku: { type: 'string', pattern: '^[A-Z]{2}-[0-9]{4}$' }, placed: { type: 'string', format: 'date' } }),
};

const source = { tenant: 'acme', dialect: 'segment', writeKeyId: 'k', receivedAtMs: 1_750_000_000_000, newMessageId: () => 'm' };
const texts = Array.from({ length: 1_000 }, (_none, index) => JSON.stringify({
  type: 'track', userId: `user_${index}`, event: 'Order Completed', messageId: `m-${index}`, timestamp: '2026-03-15T14:30:00Z',
  properties: { order_id: `ord_${index}`, total: index * 1.25, currency: 'EUR', coupon: null, items: 3, first: false, store: 'berlin', shipping: 4.9, sku: 'AB-1234', placed: '2026-03-15' },
}));
const read = (text: string): { event: CanonicalEvent; parsed?: ParsedObjects } => {
  const result = readSegmentEvent(JSON.parse(text), text, source);
  if (!result.ok) throw new Error(result.message);
  return result;
};
const events = texts.map(read);

/** Microseconds a call. */
function measure(work: (index: number) => unknown): number {
  const began = process.cpuUsage();
  for (let at = 0; at < count; at++) work(at % 1_000);
  const { user, system } = process.cpuUsage(began);
  return (user + system) / count;
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? NaN;
const works: Record<string, (index: number) => unknown> = { 'reading an event': index => read(texts[index] ?? '') };
for (const [name, contract] of Object.entries(contracts)) {
  const { judge } = createContracts([contract]);
  const probe = judge((events[0] ?? read('')).event);
  if (probe === null || probe.violations.length > 0) throw new Error(`the events should fit: ${JSON.stringify(probe)}`);
  const at = (index: number): { event: CanonicalEvent; parsed?: ParsedObjects } => events[index] ?? read('');
  works[`judging it at the door, ${name}`] = index => judge(at(index).event, at(index).parsed);
  works[`judging it in the sink, ${name}`] = index => judge(at(index).event);
}
const { judge: judgeOther } = createContracts([{ ...entry(types), tenant: 'other' }]);
works['no contract is for it'] = index => judgeOther((events[index] ?? read('')).event);

const figures = new Map<string, number[]>();
for (let round = 0; round <= Number(args.rounds); round++) {
  for (const [name, work] of Object.entries(works)) {
    const figure = measure(work);
    // The first round warms up.
    if (round > 0) figures.set(name, [...(figures.get(name) ?? []), figure]);
  }
}
const reading = median(figures.get('reading an event') ?? []);
for (const [name, values] of figures) {
  const figure = median(values);
  console.log(`${name.padEnd(52)} ${figure.toFixed(2).padStart(6)} µs   ${(figure / reading).toFixed(2)} of reading it`);
}
