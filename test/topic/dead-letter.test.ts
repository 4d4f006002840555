import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DeadLetter } from '../../src/event/dead-letter.ts';
import { deadLetterRecord, readDeadLetter } from '../../src/topic/dead-letter.ts';

const letter: DeadLetter = {
  id: '00000000-0000-4000-8000-00000000000a', attempt: '00000000-0000-4000-8000-00000000000b', tenant: 'acme', atMs: 5, code: 'unreadable', detail: 'é "x"',
  payload: Buffer.from([0, 0xff]), tombstone: false, source: 'kafka', writeKeyId: 'web', messageId: 'm', place: { topic: 't', partition: 2, offset: 9_007_199_254_740_993n },
  origin: { key: Buffer.from([0xfe, 0]), headers: [['a', Buffer.from('1')], ['a', Buffer.from([0xff])], ['none', null], ['empty', Buffer.alloc(0)]], timestampMs: 7 },
};

/** As Kafka gives a record back: every header as bytes. */
const back = (sent: DeadLetter, without: readonly string[] = []): DeadLetter => {
  const { value, headers } = deadLetterRecord('dead', sent);
  const read = Object.fromEntries(Object.entries(headers).filter(([name]) => !without.includes(name)).map(([name, header]) => [name, Buffer.from(header as string)]));
  return readDeadLetter({ topic: 'dead', partition: 0, offset: 1n, timestampMs: 99, value, headers: read });
};

test('a letter comes back from its topic as it was', () => {
  assert.deepEqual(back(letter), letter);
  const bare: DeadLetter = { ...letter, attempt: null, tombstone: true, payload: Buffer.alloc(0), writeKeyId: null, messageId: null, origin: { key: null, headers: [], timestampMs: -1 } };
  assert.deepEqual(back(bare), bare);
  const emptyKey: DeadLetter = { ...bare, origin: { key: Buffer.alloc(0), headers: [], timestampMs: 0 } };
  assert.deepEqual(back(emptyKey), emptyKey);
  const judged: DeadLetter = { ...bare, judged: { version: 2, action: 'dead_letter', eventId: letter.id, type: 'track', event: 'é', violations: [{ kind: 'other', pointer: '/properties/a~1b', message: '"' }] } };
  assert.deepEqual(back(judged), judged);
});

test('letters from before their origin was kept, and headers that are no such thing', () => {
  assert.deepEqual(back(letter, ['origin-key', 'origin-headers', 'origin-timestamp', 'attempt']), { ...letter, origin: null, attempt: null });
  const odd = readDeadLetter({ topic: 'dead', partition: 0, offset: 1n, timestampMs: 99, value: null, headers: { id: 'x', attempt: 'y', 'origin-headers': '[["a"],7,[1,2]]', 'origin-timestamp': 'soon' } });
  const broken = readDeadLetter({ topic: 'dead', partition: 0, offset: 1n, timestampMs: 99, value: null, headers: { 'origin-headers': '[["\\ud800","QQ=="]]' } });
  assert.deepEqual(broken.origin?.headers, [['\ufffd', Buffer.from('A')]], 'ClickHouse takes no half of a surrogate pair');
  assert.deepEqual([odd.attempt, odd.tombstone, odd.origin, odd.place], [null, true, { key: null, headers: [['a', null]], timestampMs: -1 }, null]);
  assert.equal(readDeadLetter({ topic: 'dead', partition: 0, offset: 1n, timestampMs: 99, value: null, headers: { 'origin-headers': '{' } }).origin, null);
});
