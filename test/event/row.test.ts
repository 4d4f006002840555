import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CanonicalEvent } from '../../src/event/canonical.ts';
import { deadLetterRow } from '../../src/event/dead-letter.ts';
import { eventColumns, eventRow } from '../../src/event/row.ts';
import { readDeadLetter } from '../../src/topic/dead-letter.ts';
import { headerText } from '../../src/topic/subscribe.ts';

const event: CanonicalEvent = {
  tenant: 't', dialect: 'avro', messageId: 'm', type: 'track', event: 'E', userId: null, anonymousId: null, previousId: null, groupId: null, email: null, name: null, category: null,
  timestampMs: 0, sentAtMs: null, receivedAtMs: 0, properties: null, traits: null, context: null, integrations: null, writeKeyId: null, violations: [], raw: null,
};
const row = (part: Partial<CanonicalEvent>): Record<string, unknown> => {
  const line = eventRow({ ...event, ...part }, { topic: 't', partition: 0, offset: 2n ** 63n - 1n, eventId: '00000000-0000-0000-0000-000000000000', source: 'kafka', key: Buffer.from([0xff, 0x41]), contentHash: '18446744073709551615' });
  assert.ok(!line.includes('\n'));
  const cells = JSON.parse(line) as unknown[];
  assert.equal(cells.length, eventColumns.length);
  return Object.fromEntries(eventColumns.map((column, index) => [column, cells[index]]));
};

test('times that only Avro can say: the nearest that fits, named, and the number in raw', () => {
  const extreme = row({ timestampMs: Number.MAX_SAFE_INTEGER, sentAtMs: -9e15, receivedAtMs: -1e13 });
  assert.deepEqual([extreme['timestamp'], extreme['sent_at'], extreme['received_at']], ['2299-12-31 23:59:59.999', '1900-01-01 00:00:00.000', '2015-01-01 00:00:00.000']);
  assert.deepEqual(extreme['violations'], ['not_queryable:/timestamp', 'not_queryable:/sentAt', 'not_queryable:/receivedAt']);
  assert.equal(extreme['raw'], '{"type":"track","messageId":"m","event":"E","timestamp":9007199254740991,"sentAt":-9000000000000000}');
});

test('line breaks between tokens, odd keys and quotes stay in one line', () => {
  const odd = row({ properties: '{\n"a":\r\n[1,\n2]}', userId: 'a"b\\c\n\u2028', raw: '{\n}' });
  assert.deepEqual([odd['properties'], odd['user_id'], odd['raw'], odd['user_key']], [{ a: [1, 2] }, 'a"b\\c\n\u2028', '{\n}', '\uFFFDA']);
});

test('a dead letter with headers that make no sense is a row all the same', () => {
  const read = (headers: Record<string, string>, timestampMs = 5): unknown[] =>
    JSON.parse(deadLetterRow(readDeadLetter({ topic: 'd', partition: 0, offset: 1n, timestampMs, value: Buffer.from([0xff]), headers }))) as unknown[];
  for (const partition of ['-1', '1.5', 'x', '99999999999']) assert.equal(read({ 'origin-topic': 't', 'origin-partition': partition, 'origin-offset': '-5' })[11], 0);
  assert.equal(read({ at: '9007199254740991' })[2], '2299-12-31 23:59:59.999');
  assert.equal(read({ at: 'never' }, 9e18)[2], '2299-12-31 23:59:59.999');
  assert.deepEqual(read({ id: 'not a uuid' }).slice(5, 7), ['/w==', 'base64']);
});

test('a header without a value is none', () => {
  assert.equal(headerText({ tenant: null } as never, 'tenant'), null);
  assert.equal(headerText({ tenant: ['a', 'b'] }, 'tenant'), 'b');
});

test('an identify or group event says the text of each trait, nulls and all; what no column can hold is null', () => {
  const values = (traits: string, type: CanonicalEvent['type'] = 'identify'): unknown => row({ type, traits })['trait_values'];
  assert.deepEqual(values('{"a": {"b":\n1.50},"gone":null,"e":{},"n":9007199254740993}'), { a: '{"b":\n1.50}', gone: 'null', e: '{}', n: '9007199254740993' });
  assert.deepEqual(values('{"gone":null,"e":{},"n":9007199254740993,"a\\u0062":"\\"","twice":1,"twice":2}'), { gone: 'null', e: '{}', n: '9007199254740993', ab: '"\\""', twice: '2' });
  assert.deepEqual(values('{"huge":12345678901234567890123,"o":{"x":1e400,"y":1},"half":"\\ud800","\\ud800":1}', 'group'), { huge: 'null', o: '{"y":1}', half: 'null' });
  assert.deepEqual([values('{"a":1}', 'track'), row({ type: 'identify' })['trait_values']], [{}, {}]);
});
