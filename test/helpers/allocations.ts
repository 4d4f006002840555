/**
 * Bytes of JavaScript's heap that one event costs at each step, as JSON; to be run with `--expose-gc` and a young generation that
 * holds all of it. Warm code allocates the same every time and everywhere, so unlike times these can be compared.
 */
import { join } from 'node:path';
import { tenContract } from '../../bench/harness/contract.ts';
import { numberMark, trackEvent, userMark } from '../../bench/harness/events.ts';
import { createContracts } from '../../src/contract/contracts.ts';
import { createEventAvro } from '../../src/contract/event-avro.ts';
import { plainTexts, scannedContentHash } from '../../src/event/content.ts';
import { eventRow } from '../../src/event/row.ts';
import { readSegmentEvent } from '../../src/event/segment.ts';
import { packageRoot } from './local.ts';

const texts = Array.from({ length: 500 }, (_none, index) => trackEvent.replaceAll(numberMark, String(index)).replaceAll(userMark, String(index)));
const source = { tenant: 'dev', dialect: 'segment', writeKeyId: 'dev', receivedAtMs: 1_750_000_000_000, newMessageId: () => 'm', ip: '203.0.113.7', userAgent: 'bench' };
const parsed = texts.map(text => JSON.parse(text) as unknown);
const read = (index: number) => {
  const result = readSegmentEvent(parsed[index], texts[index] ?? '', source);
  if (!result.ok) throw new Error(result.message);
  return result;
};
const events = texts.map((_text, index) => read(index).event);
const avro = createEventAvro(join(packageRoot, 'schemas', 'events', 'event.v1.avsc'));
const values = events.map(event => avro.encode(event, 1));
const { judge } = createContracts(tenContract);
const eventAt = (index: number) => events[index] ?? read(index).event;

const steps: Record<string, (index: number) => unknown> = {
  read,
  judge: index => judge(eventAt(index), { properties: (parsed[index] as { properties: unknown }).properties }),
  encode: index => avro.encode(eventAt(index), 1),
  decode: index => avro.decode(values[index] ?? Buffer.alloc(0), avro.schemaText),
  contentHash: index => scannedContentHash(eventAt(index), plainTexts(eventAt(index))),
  row: index => eventRow(eventAt(index), { topic: 'events', partition: 1, offset: 7n, eventId: '00000000-0000-0000-0000-000000000000', source: 'http', key: null, contentHash: '1' }),
};

const bytes: Record<string, number> = {};
for (const [name, step] of Object.entries(steps)) {
  for (let round = 0; round < 100; round++) for (let index = 0; index < texts.length; index++) step(index);
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  for (let index = 0; index < texts.length; index++) step(index);
  bytes[name] = Math.round((process.memoryUsage().heapUsed - before) / texts.length);
}
console.log(JSON.stringify(bytes));
