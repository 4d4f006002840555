import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { DeadLetter } from '../../src/event/dead-letter.ts';
import { createClickHouse } from '../../src/sink/clickhouse.ts';
import type { ClickHouse } from '../../src/sink/clickhouse.ts';
import { migrate, readMigrations } from '../../src/sink/migrate.ts';
import { createStoreDeadLetters } from '../../src/sink/store-dead-letters.ts';
import { packageRoot } from '../helpers/local.ts';
import { sharedStack, testLog } from '../helpers/shared-stack.ts';

const database = `test_${randomUUID().slice(0, 8)}`;
let clickhouse: ClickHouse;
before(async () => {
  const connection = { url: sharedStack().clickhouseUrl, database, timeoutMs: 30_000 };
  await migrate(connection, readMigrations(join(packageRoot, 'schemas', 'clickhouse')), testLog());
  clickhouse = createClickHouse(connection);
});
after(async () => {
  await clickhouse.command(`DROP DATABASE ${database}`);
  await clickhouse.close();
});

const letterOf = (id: string, attempt: string | null, detail: string): DeadLetter => ({
  id, attempt, tenant: 't', atMs: Date.UTC(2026, 0, 1), code: attempt === null ? 'unreadable' : 'schema_mismatch', detail, payload: Buffer.from(detail), tombstone: false,
  source: 'kafka', writeKeyId: null, messageId: null, place: { topic: 'events', partition: 0, offset: 1n }, origin: { key: null, headers: [], timestampMs: 1 },
});
const store = async (token: string, ...letters: DeadLetter[]): Promise<void> =>
  createStoreDeadLetters(clickhouse)({
    topic: 'dead', partition: 0, token, replay: false, signal: new AbortController().signal,
    records: letters.map((letter, index) => ({ offset: BigInt(index), value: letter.payload, letter })),
  });
const rowOf = async (id: string): Promise<unknown[]> => {
  const rows = await clickhouse.rows(`SELECT status, code, detail, payload, attempts FROM dead_letters WHERE id = '${id}'`);
  assert.equal(rows.length, 1);
  return rows[0] ?? [];
};
const mark = (id: string): Promise<void> => clickhouse.command(`ALTER TABLE dead_letters UPDATE status = 'redriven' WHERE id = '${id}' SETTINGS mutations_sync = 1`);

test('a letter that fails again is open again, once for each time', async () => {
  const [id, other, a, b, c] = [randomUUID(), randomUUID(), randomUUID(), randomUUID(), randomUUID()];
  await store('1', letterOf(id, null, 'first'), letterOf(other, null, 'other'), letterOf(id, null, 'first'));
  assert.deepEqual(await rowOf(id), ['open', 'unreadable', 'first', 'first', []]);
  await mark(id);
  await store('2', letterOf(id, a, "again, with 'quotes' \\ and \n lines"));
  assert.deepEqual(await rowOf(id), ['open', 'schema_mismatch', "again, with 'quotes' \\ and \n lines", 'first', [a]]);
  // The batch is read again long after: nothing is opened by it.
  await mark(id);
  await store('2', letterOf(id, a, 'again'));
  assert.deepEqual((await rowOf(id))[0], 'redriven');
  // Several in one batch: in order, the last one counts.
  await store('3', letterOf(id, b, 'b'), letterOf(id, a, 'again'), letterOf(id, c, 'c'));
  assert.deepEqual(await rowOf(id), ['open', 'schema_mismatch', 'c', 'first', [a, b, c]]);
  assert.deepEqual(await rowOf(other), ['open', 'unreadable', 'other', 'other', []]);
  const attempts = await clickhouse.rows(`SELECT id, payload FROM dead_letter_attempts WHERE letter_id = '${id}' ORDER BY payload`);
  assert.deepEqual(attempts.map(([attempt, payload]) => [attempt, payload]), [[a, "again, with 'quotes' \\ and \n lines"], [b, 'b'], [c, 'c']]);
});

test('an attempt whose letter is not there becomes one', async () => {
  const [id, a, b] = [randomUUID(), randomUUID(), randomUUID()];
  await store('4', letterOf(id, a, 'a'), letterOf(id, b, 'b'));
  assert.deepEqual(await rowOf(id), ['open', 'schema_mismatch', 'b', 'a', [a, b]]);
});

test('what a contract said is there once for each time: of the letter, and of each attempt', async () => {
  const [id, attempt, orphan, orphans] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
  const judged = { version: 2, action: 'reject', eventId: randomUUID(), type: 'page', event: "it's", violations: [{ kind: 'other', pointer: '/properties/a~1b', message: '"quoted"' }, { kind: 'type_mismatch', pointer: '', message: '' }] } as const;
  const broken = (letter: DeadLetter): DeadLetter => ({ ...letter, judged });
  for (let round = 0; round < 2; round++) {
    await store('7', broken(letterOf(id, null, 'first')), broken(letterOf(id, attempt, 'again')), broken(letterOf(orphan, orphans, 'its letter is not there')));
    await store(`8-${round}`, broken(letterOf(id, null, 'first')));
  }
  const found = await clickhouse.rows(`SELECT type, event, contract_version, kind, pointer, message, action, count() FROM violations WHERE event_id = '${judged.eventId}' GROUP BY ALL ORDER BY kind`);
  assert.deepEqual(found, [['page', "it's", 2, 'other', '/properties/a~1b', '"quoted"', 'reject', '3'], ['page', "it's", 2, 'type_mismatch', '', '', 'reject', '3']]);
});

test('two updates at the same moment: never closed over a failure', async () => {
  const id = randomUUID();
  await store('5', letterOf(id, null, 'x'));
  for (let round = 0; round < 10; round++) {
    const close = (): Promise<void> => clickhouse.command(`ALTER TABLE dead_letters UPDATE status = 'redriven' WHERE id = '${id}' AND length(attempts) = ${round} SETTINGS mutations_sync = 1`);
    await Promise.all([close(), store(`6-${round}`, letterOf(id, randomUUID(), `${round}`)), close()]);
    const [status, , , , attempts] = await rowOf(id);
    assert.deepEqual([status, (attempts as string[]).length], ['open', round + 1]);
  }
});
