import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MillraceError } from '../../src/errors.ts';
import type { LetterHead, Letters, StoredLetter } from '../../src/redrive/letters.ts';
import { draftOf, recordOf } from '../../src/redrive/republish.ts';
import { runRedrive } from '../../src/redrive/run.ts';
import type { RunOptions } from '../../src/redrive/run.ts';

const letterOf = (id: string, overrides: Partial<StoredLetter> = {}): StoredLetter => ({
  id, tenant: 't', code: 'c', detail: '', payload: Buffer.from(id), tombstone: false, source: 'kafka', messageId: null,
  place: { topic: 'events', partition: 1, offset: 7n }, origin: { key: null, headers: [], timestampMs: 5 }, timestampMs: 5, ...overrides,
});

/** So many open letters in memory: what was loaded at once, and what was marked. */
function lettersInMemory(count: number, bytes = 10): Letters & { loads: number[]; marks: string[][] } {
  const all: LetterHead[] = Array.from({ length: count }, (_, index) => ({ id: String(index), at: String(index), bytes, status: 'open', attempts: 0 }));
  const loads: number[] = [];
  const marks: string[][] = [];
  return {
    loads,
    marks,
    groups: async () => [],
    page: async (_condition, last, limit) => all.slice(last === null ? 0 : Number(last.id) + 1).slice(0, limit),
    load: async heads => {
      loads.push(heads.length);
      return heads.map(({ id }) => letterOf(id));
    },
    mark: async heads => void marks.push(heads.map(({ id }) => id)),
  };
}

const options = (letters: Letters, overrides: Partial<RunOptions> = {}): RunOptions => ({
  letters, condition: { sql: '1', params: {} }, mode: { kind: 'redrive', publish: async records => records.map(() => null) }, patch: null, eventsTopic: 'events',
  limit: Infinity, onProgress: () => undefined, signal: new AbortController().signal, ...overrides,
});

test('pages by number and by bytes, marks in larger steps, ends at the limit', async () => {
  const letters = lettersInMemory(4_700);
  const tally = await runRedrive(options(letters));
  assert.deepEqual([tally.seen, tally.done, tally.failed, tally.interrupted], [4_700, 4_700, 0, false]);
  assert.deepEqual([Math.max(...letters.loads), letters.marks.map(marked => marked.length)], [500, [2_000, 2_000, 700]]);
  assert.equal(new Set(letters.marks.flat()).size, 4_700);
  const large = lettersInMemory(50, 3 * 1024 * 1024);
  await runRedrive(options(large));
  assert.equal(Math.max(...large.loads), 5);
  assert.equal((await runRedrive(options(lettersInMemory(1_300), { limit: 701 }))).done, 701);
});

test('stopped in the middle: what was published is marked, nothing more is begun', async () => {
  const letters = lettersInMemory(2_000);
  const stop = new AbortController();
  let published = 0;
  const publish = async (records: readonly unknown[]): Promise<null[]> => {
    published += records.length;
    if (published >= 1_000) stop.abort();
    return records.map(() => null);
  };
  const tally = await runRedrive(options(letters, { mode: { kind: 'redrive', publish }, signal: stop.signal }));
  assert.deepEqual([tally.done, tally.interrupted, published, letters.marks.flat().length], [1_000, true, 1_000, 1_000]);
});

test('a refused record stays; Kafka gone ends the run, and what went before is marked', async () => {
  const letters = lettersInMemory(1_500);
  const refused = new MillraceError('kafka_refused', 'too large');
  const gone = new MillraceError('kafka_unavailable', 'gone');
  let batch = 0;
  const publish = async (records: readonly unknown[]): Promise<(MillraceError | null)[]> => {
    batch++;
    return records.map((_, index) => (batch === 1 && index === 3 ? refused : batch === 2 && index >= 400 ? gone : null));
  };
  const tally = await runRedrive(options(letters, { mode: { kind: 'redrive', publish } }));
  assert.deepEqual([tally.done, tally.failed, tally.fault, batch], [899, 101, gone, 2]);
  assert.deepEqual(tally.failures[0], { id: '3', reason: 'too large' });
  assert.ok(!letters.marks.flat().includes('3') && letters.marks.flat().length === 899);
  assert.equal(tally.failures.length, 20);
});

test('ClickHouse gone at the mark: said, and not counted as done', async () => {
  const fault = new MillraceError('clickhouse_unavailable', 'gone');
  const tally = await runRedrive(options({ ...lettersInMemory(3), mark: () => Promise.reject(fault) }));
  assert.deepEqual([tally.done, tally.failed, tally.fault], [0, 3, fault]);
});

test('the message id of a redriven record: its own, the letter’s, or one by where it stood', () => {
  const headersOf = (letter: StoredLetter): Record<string, string[]> => {
    const { headers } = recordOf(letter, draftOf(letter), 'events');
    return Object.fromEntries(Object.entries(headers).map(([name, values]) => [name, values.map(String)]));
  };
  const withHeader = (value: string): StoredLetter => letterOf('a', { origin: { key: null, headers: [['message-id', Buffer.from(value)]], timestampMs: 5 } });
  assert.deepEqual(headersOf(withHeader('mine')), { 'message-id': ['mine'], 'redriven-from': ['a'], 'origin-timestamp': ['5'] });
  assert.match(String(headersOf(withHeader(''))['message-id']), /^record\/events\/1\/7\/5\/[0-9a-f]{32}$/);
  assert.match(String(headersOf(withHeader('x'.repeat(513)))['message-id']), /^record\//);
  assert.deepEqual(headersOf(letterOf('a', { messageId: 'sent' }))['message-id'], ['sent']);
  assert.deepEqual(headersOf(letterOf('a', { place: null, origin: null, source: 'http', timestampMs: -1 })), { tenant: ['t'], 'message-id': ['dead-letter/a'], 'redriven-from': ['a'] });
  assert.deepEqual(headersOf(letterOf('a', { origin: null, source: 'http' }))['dialect'], ['segment']);
  // A record that came with such headers of its own does not keep them.
  assert.deepEqual(headersOf(letterOf('a', { origin: { key: null, headers: [['redriven-from', Buffer.from('forged')], ['origin-timestamp', Buffer.from('9')]], timestampMs: 5 } }))['redriven-from'], ['a']);
});
