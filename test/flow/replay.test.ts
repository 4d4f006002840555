import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';
import type { Admin, Message, Producer } from 'kafkajs';
import { endpointsOf, parseReplayOptions, replay } from '../../src/compose.ts';
import { createDatedTopic } from '../helpers/create-topic.ts';
import { eventually } from '../helpers/eventually.ts';
import { startClickHouseProxy } from '../helpers/http-proxy.ts';
import type { ClickHouseProxy } from '../helpers/http-proxy.ts';
import { packageRoot } from '../helpers/local.ts';
import { outputOf } from '../helpers/output-of.ts';
import { freshConfig, sharedStack, testLog } from '../helpers/shared-stack.ts';
import { startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';

const foreign = `replayed-${randomUUID().slice(0, 8)}`;
const kafka = new Kafka({ brokers: [sharedStack().kafkaBrokers], logLevel: logLevel.NOTHING });
/** Times of records, one a minute, so that a range of time is a range of records. */
const firstMs = Math.floor(Date.now() / 60_000) * 60_000 - 3 * 24 * 3_600_000;
const minute = (number: number): number => firstMs + number * 60_000;
const perPartition = 120;

let system: System;
let producer: Producer;
let admin: Admin;
let proxy: ClickHouseProxy;
let produced = 0;

before(async () => {
  admin = kafka.admin();
  await admin.connect();
  const config = freshConfig();
  await createDatedTopic(foreign, 2);
  await createDatedTopic(config.topic.events, config.topic.partitions);
  producer = kafka.producer({ allowAutoTopicCreation: false });
  await producer.connect();
  proxy = await startClickHouseProxy(sharedStack().clickhouseUrl);
  system = await startSystem({ ...config, topics: [{ name: foreign, tenant: 'shop', format: 'json', event: 'Order Placed', fields: { userId: 'customer', messageId: 'order', timestamp: 'at' } }] });
  const messages = [0, 1, 2].flatMap(partition => Array.from({ length: perPartition }, (_, number): Message => ({ partition, ...messageOf(partition, number) })));
  await send(system.config.topic.events, messages);
  await send(foreign, Array.from({ length: 80 }, (_, number) => ({ partition: number % 2, key: null, timestamp: String(minute(number)), value: JSON.stringify({ order: `order-${number % 70}`, customer: `user-${number % 9}`, at: new Date(minute(number)).toISOString(), total: number }) })));
  await settled();
});
after(async () => {
  await system.close();
  await producer.disconnect();
  await admin.deleteTopics({ topics: [foreign] }).catch(() => undefined);
  await admin.disconnect();
  await proxy.close();
});

/** Events of all kinds; every tenth says what another partition has said already, or something else under its id, every 25th can't be read. */
function messageOf(partition: number, number: number): Message {
  const timestamp = String(minute(number));
  if (number % 25 === 24) return { key: 'x', value: `{"broken": ${number}`, timestamp, headers: { tenant: 'acme' } };
  const id = number % 10 === 9 ? `shared-${number}` : `m-${partition}-${number}`;
  const type = number % 7 === 3 ? 'identify' : 'track';
  const said = number % 20 === 19 ? partition : 0;
  const value = { type, messageId: id, userId: `user-${number % 11}`, anonymousId: `anon-${number % 13}`, timestamp: new Date(Date.UTC(2025, number % 4, 3, 0, number)).toISOString(), ...(type === 'track' ? { event: `Did ${number % 3}`, properties: { number, said, nested: { list: [1, 2.5], big: 1 } } } : { traits: { number, plan: null, mail: 'a@b.c' } }) };
  return { key: `user-${number % 11}`, value: JSON.stringify(value), timestamp, headers: { tenant: 'acme' } };
}
async function send(topic: string, messages: Message[]): Promise<void> {
  await producer.send({ topic, messages });
  produced += messages.length;
}
/** Waits until every record has ended somewhere. */
async function settled(): Promise<void> {
  await eventually(() => system.query<{ n: number }>('SELECT (SELECT uniqExact(topic, partition, offset) FROM events) + (SELECT uniqExact(topic, partition, offset) FROM outcomes) AS n'), ([row]) => Number(row?.n) === produced);
  await eventually(() => system.query<{ n: number }>(`SELECT (SELECT count() FROM outcomes WHERE outcome = 'dead_lettered') - (SELECT count() FROM dead_letters) AS n`), ([row]) => Number(row?.n) === 0);
  // Also for the group.
  await eventually(async () => {
    const lags = await Promise.all([[system.config.topic.events, system.config.consumerGroup], [foreign, `${system.config.consumerGroup}.topic.${foreign}`]].map(async ([topic = '', groupId = '']) => {
      const ends = await admin.fetchTopicOffsets(topic);
      const [group] = await admin.fetchOffsets({ groupId, topics: [topic] });
      return ends.reduce((sum, { partition, high }) => sum + Number(high) - Number(group?.partitions.find(each => each.partition === partition)?.offset), 0);
    }));
    return lags.reduce((a, b) => a + b, 0);
  }, lag => lag === 0);
}

type Rows = Record<string, unknown>[];
const base = `event NOT LIKE 'Live%'`;
const eventRows = (where = base): Promise<Rows> => system.query(`SELECT * EXCEPT stored_at FROM events WHERE ${where} ORDER BY topic, partition, offset, event_id`);
/** What a replay must leave as it is. */
const accounts = async (): Promise<Rows[]> => [
  await system.query('SELECT * FROM outcomes ORDER BY topic, partition, offset, event_id'),
  await system.query('SELECT * FROM conflicts ORDER BY topic, partition, offset, event_id'),
  await system.query('SELECT * FROM dead_letters ORDER BY topic, partition, offset, id'),
];
const profiles = (): Promise<Rows> => system.query('SELECT * FROM users ORDER BY tenant, user_id, anonymous_ids');
const replayTables = async (): Promise<unknown[]> => (await system.query<{ name: string }>(`SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE 'events_replay%'`)).map(({ name }) => name);

/** `millrace replay` in this process: its exit code and what it wrote. */
const run = async (args: string[], { viaProxy = false, answer = null as boolean | null, signal = new AbortController().signal } = {}): Promise<{ code: number; text: string; progress: string[] }> => {
  const parsed = parseReplayOptions(args);
  if (parsed.ok !== true) throw new Error(JSON.stringify(parsed));
  let text = '';
  const progress: string[] = [];
  const endpoints = endpointsOf(system.config, null);
  if (viaProxy) endpoints.clickhouse.url = proxy.url;
  const write = (more: string): void => { text += more; };
  const code = await replay(parsed.options, system.config, endpoints, { log: testLog(), followForMs: 500 }, { write, progress: line => progress.push(line), progressEveryMs: 0, ask: answer === null ? null : async question => { write(question); return answer; } }, signal);
  return { code, text, progress };
};
const added = (text: string): number => Number(/(\d+) {2}rows added/.exec(text)?.[1]);

/** Events that come while `work` goes on: all of them are rows, once. */
const whileLive = async <T>(work: () => Promise<T>): Promise<T> => {
  const name = `Live ${randomUUID().slice(0, 8)}`;
  let sent = 0;
  let on = true;
  const live = (async () => {
    while (on) {
      await send(system.config.topic.events, Array.from({ length: 5 }, () => ({ key: `live-${sent}`, value: JSON.stringify({ type: 'track', event: name, userId: `live-${sent % 3}`, messageId: `${name}-${sent++}` }), headers: { tenant: 'acme' } })));
      await new Promise(resolve => setTimeout(resolve, 100));
    }
  })();
  try {
    return await work();
  } finally {
    on = false;
    await live;
    await settled();
    const [row] = await system.query<{ n: number; ids: number }>(`SELECT count() AS n, uniqExact(event_id) AS ids FROM events WHERE event = '${name}'`);
    assert.deepEqual([Number(row?.n), Number(row?.ids)], [sent, sent], 'what live sinks stored meanwhile');
  }
};

test('rows that somebody deleted come back exactly once, and nothing else changes, while sinks go on', async () => {
  const [rows, before] = [await eventRows(), await accounts()];
  assert.ok(rows.length > 350 && before.every(list => list.length > 0), JSON.stringify([rows.length, ...before.map(list => list.length)]));
  const lose = async (): Promise<number> => {
    await system.command('DELETE FROM event_ids WHERE offset % 6 = 0');
    await system.command(`DELETE FROM events WHERE ${base} AND (offset % 3 = 0 OR topic = '${foreign}' OR toYYYYMM(timestamp) = 202502)`);
    return rows.length - (await eventRows()).length;
  };
  const lost = await lose();
  assert.ok(lost > 100);

  const nobody = await run([]);
  assert.deepEqual([nobody.code, /there is no terminal to ask/.test(nobody.text)], [2, true]);
  const no = await run([], { answer: false });
  assert.equal(no.code, 1);
  assert.match(no.text, new RegExp(`${3 * perPartition}  events-[^]*80  ${foreign}, 2 of 2 partitions\n[^]*Replay ${3 * perPartition + 80} offsets\\? \\[y/N\\] Nothing done`));
  assert.equal((await eventRows()).length, rows.length - lost);

  const done = await whileLive(() => run(['--yes']));
  assert.equal(done.code, 0, done.text);
  assert.equal(added(done.text), lost);
  assert.match(done.progress.at(-1) ?? '', /^\[#{24}\] 100% (\d+) of \1 offsets, \d+ records\/s$/);
  assert.deepEqual(await eventRows(), rows);
  assert.deepEqual(await accounts(), before);

  const again = await run(['--yes']);
  assert.deepEqual([again.code, added(again.text)], [0, 0]);
  assert.match(again.text, /(\d+) {2}rows were there\n +\d+ {2}had their outcome\n$/);
  // Under tokens of its own: ClickHouse would silently drop the same rows.
  for (let time = 0; time < 2; time++) {
    assert.equal(await lose(), lost);
    assert.equal(added((await run(['--yes'])).text), lost);
    assert.deepEqual(await eventRows(), rows);
  }
  assert.deepEqual(await accounts(), before);
});

test('a range of time, one topic, and a topic that nobody configured', async () => {
  const rows = await eventRows();
  await system.command(`DELETE FROM events WHERE ${base}`);
  const range = ['--from', new Date(minute(30)).toISOString(), '--to', new Date(minute(40)).toISOString(), '--yes'];
  const within = rows.filter(row => Date.parse(`${String(row['received_at']).replace(' ', 'T')}Z`) >= minute(30) && Date.parse(`${String(row['received_at']).replace(' ', 'T')}Z`) < minute(40));
  assert.ok(within.length > 30);
  const one = await run([...range, '--topic', foreign]);
  assert.deepEqual([one.code, added(one.text)], [0, within.filter(({ topic }) => topic === foreign).length]);
  await run(range);
  assert.deepEqual(await eventRows(), within);
  assert.deepEqual((await run(['--topic', 'nowhere', '--yes'])).code, 2);
  const none = await run(['--from', new Date(Date.now() + 3_600_000).toISOString(), '--yes']);
  assert.deepEqual([none.code, /Nothing to replay/.test(none.text)], [0, true]);
  assert.equal((await run(['--yes'])).code, 0);
  assert.deepEqual(await eventRows(), rows);
});

test('stopped in the middle it says so, and goes to its end the next time', async () => {
  const [rows, before] = [await eventRows(), await accounts()];
  await system.command(`DELETE FROM events WHERE ${base}`);
  const stop = new AbortController();
  proxy.judge = statement => {
    if (statement.startsWith('INSERT INTO events ')) stop.abort(new Error('Ctrl-C'));
    return 'pass';
  };
  const stopped = await run(['--yes'], { viaProxy: true, signal: stop.signal });
  proxy.judge = () => 'pass';
  assert.equal(stopped.code, 1);
  assert.match(stopped.text, /rows added[^]*Stopped before the end; what was added stays\. It may be run again\.\n$/);
  const some = (await eventRows()).length;
  assert.ok(some > 0 && some < rows.length, `${some} of ${rows.length}`);
  assert.equal(added(stopped.text), some);
  assert.equal(added((await run(['--yes'])).text), rows.length - some);
  assert.deepEqual(await eventRows(), rows);
  assert.deepEqual(await accounts(), before);
});

test('a fresh table has the same rows, made anew, and takes the place of events while sinks go on', async () => {
  const { events } = system.config.topic;
  await admin.deleteTopicRecords({ topic: events, partitions: [{ partition: 0, offset: '20' }] });
  const gone = `topic = '${events}' AND partition = 0 AND offset < 20`;
  const lostByHand = `topic = '${events}' AND partition = 2 AND offset = 5`;
  await system.command(`DELETE FROM events WHERE ${lostByHand}`);
  produced--;
  const rows = await eventRows();
  // Made wrong, so that what is made anew shows; the record of some is gone.
  await system.command(`ALTER TABLE events UPDATE name = 'wrong' WHERE ${base} SETTINGS mutations_sync = 2`);
  await system.command(`ALTER TABLE events DELETE WHERE 0 SETTINGS mutations_sync = 2`);
  const [before, people, ids] = [await accounts(), await profiles(), await system.query('SELECT DISTINCT event_id, topic, partition, offset FROM event_ids ORDER BY ALL')];
  assert.ok(people.length > 10);

  const done = await whileLive(() => run(['--fresh', '--yes', '--keep']));
  assert.equal(done.code, 0, done.text);
  assert.match(done.text, /then takes the place of events[^]*rows made anew\n +\d+ {2}rows copied\n$/);
  const kept = await eventRows(gone);
  assert.ok(kept.length > 0);
  assert.deepEqual(await eventRows(`NOT (${gone}) AND ${base}`), rows.filter(row => !kept.some(each => each['event_id'] === row['event_id'])));
  assert.deepEqual([...new Set(kept.map(({ name }) => name))], ['wrong']);
  assert.deepEqual(await eventRows(lostByHand), []);
  assert.deepEqual(await accounts(), before);
  const after = await system.query('SELECT DISTINCT event_id, topic, partition, offset FROM event_ids ORDER BY ALL');
  const known = new Set(after.map(row => JSON.stringify(row)));
  assert.ok(ids.every(row => known.has(JSON.stringify(row))));
  const lives = (row: Record<string, unknown>): boolean => String(row['user_id']).startsWith('live-');
  // The row that was deleted by hand is in no profile any more.
  const counted = (list: Rows): number => list.filter(row => !lives(row)).reduce((sum, row) => sum + Number(row['events']), 0);
  assert.equal(counted(await profiles()), rows.length);
  assert.equal(counted(people), rows.length + 1);

  assert.deepEqual(await replayTables(), ['events_replay']);
  const [old] = await system.query<{ n: number }>(`SELECT count() AS n FROM events_replay WHERE ${base} AND name = 'wrong'`);
  assert.equal(Number(old?.n), rows.length);
  await assert.rejects(run(['--fresh', '--keep', '--yes']), /has kept the table events_replay/);
  await system.command('DROP TABLE events_replay');
});

test('a fresh replay that is stopped, or dies before or after the exchange, loses nothing', async () => {
  const rows = await eventRows();
  const [comment] = await system.query(`SELECT comment FROM system.tables WHERE database = currentDatabase() AND name = 'events'`);
  assert.deepEqual(comment, { comment: '' });
  const stop = new AbortController();
  proxy.judge = statement => {
    if (statement.startsWith('INSERT INTO events_replay_') && statement.includes('SELECT *')) stop.abort(new Error('Ctrl-C'));
    return 'pass';
  };
  const stopped = await run(['--fresh', '--yes'], { viaProxy: true, signal: stop.signal });
  assert.deepEqual([stopped.code, /Stopped before the end\. It may be run again/.test(stopped.text)], [1, true]);
  assert.deepEqual([await eventRows(), await replayTables()], [rows, []]);

  // Dies while it copies: the next one begins anew.
  let dead = false;
  const dieAt = (word: string, after: boolean) => (statement: string): 'pass' | 'refuse' | 'lose' => {
    if (dead) return 'refuse';
    if (!statement.startsWith(word)) return 'pass';
    dead = true;
    return after ? 'lose' : 'refuse';
  };
  proxy.judge = dieAt('ALTER TABLE events MODIFY', true);
  await assert.rejects(run(['--fresh', '--yes'], { viaProxy: true }));
  assert.equal((await replayTables()).length, 1);
  assert.deepEqual(await eventRows(), rows);

  // Dies with the exchange, before a row that came in the last moment was copied.
  dead = false;
  const die = dieAt('EXCHANGE', true);
  proxy.judge = async statement => {
    if (statement.startsWith('EXCHANGE')) {
      await send(system.config.topic.events, [{ key: 'late', value: JSON.stringify({ type: 'track', event: 'Late', userId: 'late', messageId: 'late' }), headers: { tenant: 'acme' } }]);
      await settled();
    }
    return die(statement);
  };
  await assert.rejects(run(['--fresh', '--yes'], { viaProxy: true }));
  assert.equal((await replayTables()).length, 1);
  assert.deepEqual(await eventRows(`event = 'Late'`), [], 'the row is in the old table');
  const next = await run(['--yes']);
  // The one that was deleted by hand in the test before; the late one was copied.
  assert.deepEqual([next.code, added(next.text)], [0, 1]);
  produced++;
  assert.equal((await eventRows(`event = 'Late'`)).length, 1);
  assert.deepEqual(await eventRows(`${base} AND event != 'Late' AND NOT (topic = '${system.config.topic.events}' AND partition = 2 AND offset = 5)`), rows);
  assert.deepEqual(await replayTables(), []);
  proxy.judge = () => 'pass';
});

test('the command itself, in a process of its own', async () => {
  const { kafkaBrokers, registryUrl, clickhouseUrl } = sharedStack();
  const { clickhouse } = system.config;
  const file = join(await mkdtemp(join(tmpdir(), 'millrace-replay-')), 'millrace.yaml');
  await writeFile(file, `topics: [{ name: ${foreign}, tenant: shop, format: json, event: Order Placed, fields: { userId: customer, messageId: order, timestamp: at } }]\n`);
  await admin.setOffsets({ groupId: `millrace.sink.topic.${foreign}`, topic: foreign, partitions: [{ partition: 0, offset: '40' }, { partition: 1, offset: '30' }] });
  const lost = `topic = '${foreign}' AND offset >= 20`;
  const rows = await eventRows(`${lost} AND (partition = 0 OR offset < 30)`);
  await system.command(`DELETE FROM events WHERE ${lost}`);
  const cli = (...args: string[]): ReturnType<typeof outputOf> => {
    const env = { ...process.env, KAFKA_BROKERS: kafkaBrokers, SCHEMA_REGISTRY_URL: registryUrl, CLICKHOUSE_URL: clickhouseUrl, CLICKHOUSE_DATABASE: clickhouse.database, MILLRACE_CONFIG: file };
    const child = spawn(process.execPath, [join(packageRoot, 'src', 'millrace.mjs'), 'replay', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    return outputOf(child);
  };
  const [done, profiled] = [await cli('--topic', foreign, '--yes'), await run(['--profiles', '--yes'])];
  assert.equal(done.status, 0, done.stderr);
  assert.match(done.stdout, /\d+ {2}records read in [\d.]+ s\n +(\d+) {2}rows added\n/);
  assert.deepEqual(await eventRows(lost), rows, 'not beyond what the group has settled');
  assert.equal(profiled.code, 0);
  assert.match(profiled.text, /Profiles made from \d+ events in/);
});
