import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';
import type { Message, Producer } from 'kafkajs';
import { endpointsOf, parseRedriveOptions, redrive } from '../../src/compose.ts';
import type { Config } from '../../src/config.ts';
import { createEventAvro } from '../../src/contract/event-avro.ts';
import { createRegistry } from '../../src/contract/registry.ts';
import type { CanonicalEvent } from '../../src/event/canonical.ts';
import { createDatedTopic } from '../helpers/create-topic.ts';
import { eventually } from '../helpers/eventually.ts';
import { startClickHouseProxy } from '../helpers/http-proxy.ts';
import type { Verdict } from '../helpers/http-proxy.ts';
import { packageRoot } from '../helpers/local.ts';
import { outputOf } from '../helpers/output-of.ts';
import { freshConfig, sharedStack, testLog } from '../helpers/shared-stack.ts';
import { queryClient, startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';

let system: System;
let producer: Producer;
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-redrive-'));
  const config = freshConfig();
  await createDatedTopic(config.topic.events, config.topic.partitions);
  system = await startSystem(config);
  producer = new Kafka({ brokers: [sharedStack().kafkaBrokers], logLevel: logLevel.NOTHING }).producer();
  await producer.connect();
});
after(async () => {
  await producer.disconnect();
  await system.close();
  await rm(folder, { recursive: true });
});

interface Row extends Record<string, unknown> {
  id: string;
  status: string;
  code: string;
}

let expected = 0;
/** Waits until so many more records have ended somewhere, and not one more than that. */
const settled = async (count: number): Promise<void> => {
  expected += count;
  await eventually(() => system.query<{ n: number }>('SELECT (SELECT count() FROM events) + (SELECT count() FROM outcomes) AS n'), ([row]) => Number(row?.n) === expected);
};
const produce = async (...messages: Message[]): Promise<void> => {
  await producer.send({ topic: system.config.topic.events, messages });
  await settled(messages.length);
};
const lettersOf = (where: string, count = 1): Promise<Row[]> => eventually(() => system.query<Row>(`SELECT * FROM dead_letters WHERE ${where} ORDER BY at, offset`), rows => rows.length === count);

/** `millrace redrive` in this process: its exit code and what it wrote. */
const run = async (args: string[], { config = system.config, answer = null as boolean | null, signal = new AbortController().signal } = {}): Promise<{ code: number; text: string }> => {
  const parsed = parseRedriveOptions(args);
  if (parsed.ok !== true) throw new Error(JSON.stringify(parsed));
  let text = '';
  const write = (more: string): void => { text += more; };
  const code = await redrive(parsed.options, config, endpointsOf(config, null), { log: testLog() }, { write, progress: () => undefined, ask: answer === null ? null : async question => { write(question); return answer; } }, signal);
  return { code, text };
};
const patchFile = async (name: string, source: string): Promise<string> => {
  await writeFile(join(folder, name), source);
  return join(folder, name);
};

/** `millrace redrive` in a process of its own. */
const spawnRedrive = (args: string[], environment: Record<string, string> = {}): ChildProcessByStdio<null, Readable, Readable> => {
  const { kafkaBrokers, registryUrl, clickhouseUrl } = sharedStack();
  const env = { ...process.env, KAFKA_BROKERS: kafkaBrokers, SCHEMA_REGISTRY_URL: registryUrl, CLICKHOUSE_URL: clickhouseUrl, CLICKHOUSE_DATABASE: system.config.clickhouse.database, ...environment };
  return spawn(process.execPath, [join(packageRoot, 'src', 'millrace.mjs'), 'redrive', ...args], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
};

const avroPath = join(packageRoot, 'schemas', 'events', 'event.v1.avsc');
const event = (userId: string, messageId: string): CanonicalEvent => ({
  tenant: 'acme', dialect: 'avro', messageId, type: 'track', event: 'Late Schema', userId, anonymousId: null, previousId: null, groupId: null, email: null, name: null,
  category: null, timestampMs: Date.UTC(2026, 0, 2), sentAtMs: null, receivedAtMs: null as unknown as number, properties: '{"a":1}', traits: null, context: null, integrations: null, writeKeyId: null, violations: [], raw: null,
});

test('a letter keeps key, headers, time and bytes, whatever they are', async () => {
  const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  const text = Buffer.from(`\ufeffplain \u0000\u001f "quoted" \\ 'single' ${'é'.repeat(3)}\n`);
  const at = Date.UTC(2026, 2, 1, 12);
  await produce(
    { key: 'kept-text', value: text, timestamp: String(at), headers: { tenant: 'acme', twice: ['1', '2'], binary: Buffer.from([0xff, 0]), empty: '' } },
    { key: Buffer.from([0xfe, 0x01]), value: everyByte, timestamp: String(at + 1) },
    { key: null, value: Buffer.alloc(0), timestamp: String(at + 2) },
    { key: 'kept-tombstone', value: null, timestamp: String(at + 3) },
  );
  const letters = await lettersOf(`timestamp_ms BETWEEN ${at} AND ${at + 3}`, 4);
  const byTime = new Map(letters.map(row => [Number(row['timestamp_ms']) - at, row]));
  const pick = (index: number, ...columns: string[]): unknown[] => columns.map(column => byTime.get(index)?.[column]);
  assert.deepEqual(pick(0, 'key', 'key_encoding', 'payload', 'payload_encoding', 'tombstone', 'tenant'), ['kept-text', 'utf8', text.toString(), 'utf8', false, 'acme']);
  assert.deepEqual(pick(0, 'headers')[0], [
    { name: 'tenant', value: 'acme', encoding: 'utf8' }, { name: 'twice', value: '1', encoding: 'utf8' }, { name: 'twice', value: '2', encoding: 'utf8' },
    { name: 'binary', value: '/wA=', encoding: 'base64' }, { name: 'empty', value: '', encoding: 'utf8' },
  ]);
  assert.deepEqual(pick(1, 'key', 'key_encoding', 'payload', 'payload_encoding'), ['/gE=', 'base64', everyByte.toString('base64'), 'base64']);
  assert.deepEqual(pick(2, 'key', 'key_encoding', 'payload', 'tombstone', 'code'), ['', 'none', '', false, 'unreadable']);
  assert.deepEqual(pick(3, 'key', 'payload', 'tombstone', 'code'), ['kept-tombstone', '', true, 'tombstone']);

  // Published again, all of that is there again.
  const patch = await patchFile('none.mjs', `export default letter => ({ ...letter, headers: { ...letter.headers, none: null } });`);
  assert.equal((await run(['--id', String(byTime.get(0)?.id), '--id', String(byTime.get(1)?.id), '--yes', '--patch', patch])).code, 0);
  await settled(2);
  const attempts = await eventually(() => system.query(`SELECT key, key_encoding, payload, headers FROM dead_letter_attempts ORDER BY key_encoding`), rows => rows.length === 2);
  assert.deepEqual(attempts.map(row => [row['key'], row['payload']]), [['/gE=', everyByte.toString('base64')], ['kept-text', text.toString()]]);
  assert.deepEqual((attempts[1]?.['headers'] as { name: string }[]).filter(({ name }) => !['message-id', 'redriven-from', 'origin-timestamp'].includes(name)), [
    ...(pick(0, 'headers')[0] as unknown[]), { name: 'none', value: '', encoding: 'none' },
  ]);

  const { code, text: said } = await run(['--code', 'tombstone', '--yes']);
  assert.equal(code, 1);
  assert.match(said, /a tombstone has no value to publish/);
  assert.deepEqual((await lettersOf(`code = 'tombstone'`)).map(({ status }) => status), ['open']);
});

test('an unknown schema, registered later, redriven twice at once: stored once, as it came', async () => {
  const avro = createEventAvro(avroPath);
  const registry = createRegistry({ url: sharedStack().registryUrl, timeoutMs: 10_000 });
  const variant = (name: string): string => JSON.stringify({ ...(JSON.parse(avro.schemaText) as object), doc: `${system.config.topic.events} ${name}` });
  const subject = `${system.config.topic.events}-late`;
  const latest = await registry.register(subject, variant('first'));
  const at = Date.UTC(2026, 2, 2);
  // Registries count their ids up, and others register here too: one of these is the next.
  const ids = Array.from({ length: 12 }, (_, index) => latest + 1 + index);
  await produce(...ids.map(id => ({ key: `late-${id}`, value: avro.encode(event(`late-${id}`, ''), id), timestamp: String(at), headers: { tenant: 'acme', traceparent: '00-1' } })));
  await lettersOf(`code = 'schema_unknown' AND tenant = 'acme' AND status = 'open'`, ids.length);

  const filter = ['--code', 'schema_unknown', '--tenant', 'acme', '--since', '2026-03-01T23:00:00Z', '--until', '2026-03-03T00:00:00Z'];
  const dry = await run([...filter, '--dry-run']);
  assert.equal(dry.code, 0);
  assert.match(dry.text, /12 dead letters would be published again: 0 would be read as events, 12 would be dead letters again\n +12 {2}schema_unknown/);
  assert.match(dry.text, /\+ header redriven-from: /);
  const [touched] = await system.query<{ n: number }>(`SELECT count() AS n FROM dead_letters WHERE key LIKE 'late-%' AND (status != 'open' OR changed_at IS NOT NULL)`);
  assert.equal(Number(touched?.n), 0);

  const id = await registry.register(subject, variant('second'));
  const [letter] = await lettersOf(`key = 'late-${id}'`);
  assert.ok(letter, `the next id was ${id} after ${latest}`);
  const both = await Promise.all([1, 2].map(() => run([...filter, '--where', `key = 'late-${id}'`, '--yes'])));
  assert.deepEqual(both.map(({ code }) => code), [0, 0]);
  await settled(both.filter(({ text }) => text.includes('1 dead letter redriven')).length);
  const rows = await system.query(`SELECT message_id, user_key, tenant, dialect, source, received_at FROM events WHERE event = 'Late Schema'`);
  const place = [letter['topic'], letter['partition'], letter['offset'], at].map(String).join('/');
  assert.match(String(rows[0]?.['message_id']), new RegExp(`^record/${place}/`));
  assert.deepEqual(rows.map(({ message_id: _, ...row }) => row), [{ user_key: `late-${id}`, tenant: 'acme', dialect: 'avro', source: 'kafka', received_at: '2026-03-02 00:00:00.000' }]);
  assert.deepEqual((await lettersOf(`tenant = 'acme' AND code = 'schema_unknown' AND status = 'redriven'`)).map(row => row['key']), [`late-${id}`]);

  // Without the schema it is the same letter again, open, however often.
  const [other] = await lettersOf(`tenant = 'acme' AND key = 'late-${id === ids[0] ? String(ids[11]) : String(ids[0])}'`);
  await Promise.all([1, 2].map(() => run(['--id', String(other?.id), '--yes', '--samples', '0'])));
  await settled(2);
  const again = await eventually(() => system.query<Row>(`SELECT * FROM dead_letters WHERE id = '${String(other?.id)}'`), found => (found[0]?.['attempts'] as string[]).length === 2);
  assert.deepEqual(again.map(row => [row.status, row.code, row['payload']]), [['open', 'schema_unknown', other?.['payload']]]);
});

test('a patch mends, skips and throws; what fails again is the same letter, open', async () => {
  const at = Date.UTC(2026, 2, 3);
  const bad = (name: string): string => `{"type":"track","userId":"${name}","messageId":"${name}","event":"Mended","properties":{"total":12345678901234567890},`;
  await produce(
    ...['mend', 'skip', 'throw', 'worse'].map(name => ({ key: name, value: bad(name), timestamp: String(at), headers: { tenant: 'patch' } })),
  );
  await lettersOf(`tenant = 'patch'`, 4);
  const patch = await patchFile('mend.mjs', `export default letter => {
    if (letter.key === 'skip') return null;
    if (letter.key === 'throw') throw new Error('not this one');
    if (letter.key === 'worse') return { ...letter, payload: { type: 'nonsense', userId: 'worse' } };
    return { ...letter, text: letter.text.slice(0, -1) + '}' };
  };`);
  const dry = await run(['--tenant', 'patch', '--patch', patch, '--dry-run', '--samples', '10']);
  assert.equal(dry.code, 1);
  assert.match(dry.text, /2 dead letters would be published again: 1 would be read as events, 1 would be dead letters again/);
  assert.match(dry.text, /\+ {3}"properties": \{\n[^]*"total": 12345678901234567890/);
  assert.match(dry.text, /skipped by the patch/);

  const { code, text } = await run(['--tenant', 'patch', '--patch', patch, '--yes', '--samples', '0']);
  assert.equal(code, 1);
  assert.match(text, /2 dead letters redriven[^]*1 dead letter skipped by the patch[^]*1 dead letter left as it is:\n {2}\S+ {2}the patch: not this one/);
  await settled(2);
  const worse = await eventually(() => system.query<Row>(`SELECT * FROM dead_letters WHERE tenant = 'patch' AND key = 'worse'`), rows => rows[0]?.code === 'type_unknown');
  assert.equal(worse.length, 1);
  assert.deepEqual([worse[0]?.status, worse[0]?.['payload'], (worse[0]?.['attempts'] as string[]).length], ['open', bad('worse'), 1]);
  const attempts = await system.query(`SELECT payload, code, id, letter_id FROM dead_letter_attempts WHERE tenant = 'patch'`);
  assert.deepEqual(attempts.map(({ payload, code: why, id, letter_id: letter }) => [payload, why, [id], letter]), [['{"type":"nonsense","userId":"worse"}', 'type_unknown', worse[0]?.['attempts'], worse[0]?.id]]);
  const statuses = await system.query<Row>(`SELECT key, status FROM dead_letters WHERE tenant = 'patch' ORDER BY key`);
  assert.deepEqual(statuses.map(row => `${String(row['key'])} ${row.status}`), ['mend redriven', 'skip open', 'throw open', 'worse open']);
  assert.deepEqual(await system.query(`SELECT message_id, raw FROM events WHERE event = 'Mended'`), [{ message_id: 'mend', raw: `${bad('mend').slice(0, -1)}}` }]);

  const third = await run(['--id', String(worse[0]?.id), '--yes', '--patch', await patchFile('best.mjs', `export default l => ({ ...l, payload: '{"type":"page","userId":"worse","messageId":"worse"}' });`)]);
  assert.equal(third.code, 0);
  await settled(1);
  assert.deepEqual((await lettersOf(`tenant = 'patch' AND key = 'worse'`)).map(({ status }) => status), ['redriven']);
});

test('a run that dies between publishing and marking is simply repeated', async () => {
  const at = Date.UTC(2026, 2, 4);
  await produce(...Array.from({ length: 5 }, (_, index) => ({ key: `crash-${index}`, value: `x${index}`, timestamp: String(at + index), headers: { tenant: 'crash' } })));
  await lettersOf(`tenant = 'crash'`, 5);
  const patch = await patchFile('crash.mjs', `export default l => ({ ...l, payload: '{"type":"track","userId":"crash","event":"Crash"}' });`);
  const options = ['--tenant', 'crash', '--yes', '--patch', patch];
  // kill -9 at the mark: the records are out, the letters are open.
  const proxy = await startClickHouseProxy(system.config.clickhouse.url ?? '');
  const child = spawnRedrive(options, { CLICKHOUSE_URL: proxy.url });
  proxy.judge = statement => {
    if (!statement.startsWith('ALTER')) return 'pass';
    child.kill('SIGKILL');
    return 'refuse';
  };
  const [, signal] = (await once(child, 'close')) as [number | null, string | null];
  assert.equal(signal, 'SIGKILL');
  // The same where only ClickHouse is gone at that moment.
  proxy.judge = statement => (statement.startsWith('ALTER') ? 'refuse' : 'pass');
  const config: Config = { ...system.config, clickhouse: { ...system.config.clickhouse, url: proxy.url } };
  await assert.rejects(run(options, { config }), { code: 'clickhouse_unavailable' });
  await proxy.close();
  await settled(10);
  assert.deepEqual((await lettersOf(`tenant = 'crash'`, 5)).map(({ status }) => status), Array(5).fill('open'));
  const { code, text } = await run(options);
  assert.deepEqual([code, /5 dead letters redriven/.test(text)], [0, true]);
  await settled(5);
  assert.deepEqual(await system.query(`SELECT count() AS n, uniqExact(message_id) AS ids FROM events WHERE event = 'Crash'`), [{ n: 5, ids: 5 }]);
  assert.deepEqual((await lettersOf(`tenant = 'crash'`, 5)).map(({ status }) => status), Array(5).fill('redriven'));
});

test('a record that fails before its letter is marked leaves it open', async () => {
  await produce({ key: 'slow', value: 'slow', timestamp: String(Date.UTC(2026, 2, 10)), headers: { tenant: 'slow' } });
  await lettersOf(`tenant = 'slow'`);
  const proxy = await startClickHouseProxy(system.config.clickhouse.url ?? '');
  let held = 0;
  proxy.judge = async (statement): Promise<Verdict> => {
    if (!statement.startsWith('ALTER')) return 'pass';
    held++;
    await lettersOf(`tenant = 'slow' AND length(attempts) = 1`);
    return 'pass';
  };
  const config: Config = { ...system.config, clickhouse: { ...system.config.clickhouse, url: proxy.url } };
  assert.deepEqual([(await run(['--tenant', 'slow', '--yes'], { config })).code, held], [0, 1]);
  await proxy.close();
  await settled(1);
  assert.deepEqual((await lettersOf(`tenant = 'slow'`)).map(({ status }) => status), ['open']);
});

test('the bytes of the largest record come back as they were, and one that has no room for its headers says so', async () => {
  const at = Date.UTC(2026, 2, 5);
  const bytes = (size: number): Buffer => Buffer.alloc(size, Buffer.from([0, 0xff, 0x80, 7]));
  // The broker counts 61 bytes of batch and some of the record.
  const fits = bytes(1_048_576 - 1_000);
  const brim = bytes(1_048_576 - 61 - 60);
  await produce({ key: 'large', value: fits, timestamp: String(at), headers: { tenant: 'large' } });
  await produce({ key: 'brim', value: brim, timestamp: String(at + 1), headers: { tenant: 'large' } });
  const kept = await lettersOf(`tenant = 'large'`, 2);
  assert.deepEqual(kept.map(row => Buffer.from(String(row['payload']), 'base64').equals(row['key'] === 'large' ? fits : brim)), [true, true]);
  const { code, text } = await run(['--tenant', 'large', '--yes', '--samples', '1']);
  assert.equal(code, 1);
  assert.match(text, /1 dead letter redriven[^]*1 dead letter left as it is/);
  await settled(1);
  const attempts = await eventually(() => system.query<Row>(`SELECT payload, key, headers FROM dead_letter_attempts WHERE tenant = 'large'`), rows => rows.length === 1);
  assert.ok(Buffer.from(String(attempts[0]?.['payload']), 'base64').equals(fits));
  assert.deepEqual([attempts[0]?.['key'], (attempts[0]?.['headers'] as { name: string }[]).map(({ name }) => name)], ['large', ['tenant', 'message-id', 'redriven-from', 'origin-timestamp']]);
  await lettersOf(`tenant = 'large' AND status = 'open' AND length(attempts) = (key = 'large')`, 2);
});

test('asks first; a condition in SQL; dismissed letters stay dismissed', async () => {
  const at = Date.UTC(2026, 2, 6);
  await produce({ key: 'd1', value: 'not wanted', timestamp: String(at), headers: { tenant: 'dismiss' } }, { key: 'd2', value: 'wanted', timestamp: String(at), headers: { tenant: 'dismiss' } });
  await lettersOf(`tenant = 'dismiss'`, 2);
  const where = ['--tenant', 'dismiss', '--where', "payload LIKE 'not%' -- a comment"];
  const silent = await run([...where, '--dismiss']);
  assert.deepEqual([silent.code, /Add --yes/.test(silent.text)], [2, true]);
  const no = await run([...where, '--dismiss'], { answer: false });
  assert.deepEqual([no.code, /Dismiss 1 letter\? \[y\/N\] Nothing done/.test(no.text)], [1, true]);
  assert.equal((await run([...where, '--dismiss'], { answer: true })).code, 0);
  assert.deepEqual((await lettersOf(`tenant = 'dismiss'`, 2)).map(row => `${String(row['key'])} ${row.status}`).sort(), ['d1 dismissed', 'd2 open']);
  assert.match((await run([...where, '--yes'])).text, /No open dead letter matches/);

  for (const wrong of ['1)) OR ((1', 'cod = 1', 'payload LIKE', '1; DROP TABLE dead_letters', '0 UNION ALL SELECT id FROM dead_letters']) {
    await assert.rejects(run(['--tenant', 'dismiss', '--where', wrong, '--yes']), error => {
      assert.ok(error instanceof Error && /^--where is no condition that ClickHouse takes: [^\n]+$/.test(error.message), String(error));
      return true;
    });
  }
  const stopped = new AbortController();
  stopped.abort();
  const early = await run(['--tenant', 'dismiss', '--yes'], { signal: stopped.signal });
  assert.deepEqual([early.code, /0 dead letters redriven[^]*Stopped before the end/.test(early.text)], [1, true]);
});

test('thousands that fail again are as many letters, open', async () => {
  const count = 2_100;
  const at = Date.UTC(2026, 2, 9);
  await produce(...Array.from({ length: count }, (_, index) => ({ key: `many-${index}`, value: `'many' \\ ${index}`, timestamp: String(at), headers: { tenant: 'many' } })));
  await eventually(() => system.query<{ n: number }>(`SELECT count() AS n FROM dead_letters WHERE tenant = 'many'`), ([row]) => Number(row?.n) === count);
  const started = Date.now();
  // Each fails with a reason that has its own payload in it.
  const patch = await patchFile('many.mjs', `export default letter => ({ ...letter, payload: '{' + letter.text });`);
  const { code, text } = await run(['--tenant', 'many', '--yes', '--samples', '0', '--patch', patch]);
  assert.deepEqual([code, /2100 dead letters redriven/.test(text)], [0, true]);
  const redrivenMs = Date.now() - started;
  await settled(count);
  await eventually(() => system.query<{ n: number; ids: number }>(`SELECT count() AS n, uniqExact(id) AS ids FROM dead_letters WHERE tenant = 'many' AND status = 'open' AND length(attempts) = 1 AND position(detail, 'position 1') > 0`), ([row]) => Number(row?.n) === count && Number(row?.ids) === count);
  if (process.env['MILLRACE_TEST_LOG'] !== undefined) console.log(`${count} letters redriven in ${redrivenMs} ms, open again after ${Date.now() - started} ms`);
  const [after] = await system.query<{ n: number }>(`SELECT count() AS n FROM dead_letters WHERE tenant = 'many'`);
  assert.equal(Number(after?.n), count);
});

test('a letter from before key and headers were kept is published with what is known', async () => {
  const clickhouse = queryClient(system.config);
  const payload = '{"type":"track","userId":"old","event":"Old Letter"}';
  await clickhouse.insert({
    table: 'dead_letters', format: 'JSONEachRow',
    values: [{ id: '00000000-0000-4000-8000-000000000001', tenant: 'old', at: '2026-03-07 00:00:00.123', code: 'schema_mismatch', detail: '', payload, payload_encoding: 'utf8', source: 'kafka', topic: system.config.topic.events, partition: 2, offset: 77 }],
  });
  await clickhouse.close();
  assert.equal((await run(['--tenant', 'old', '--yes'])).code, 0);
  await settled(1);
  const at = Date.UTC(2026, 2, 7, 0, 0, 0, 123);
  const [row] = await system.query(`SELECT tenant, user_key, received_at, message_id FROM events WHERE event = 'Old Letter'`);
  assert.deepEqual([row?.['tenant'], row?.['user_key'], row?.['received_at']], ['old', 'old', '2026-03-07 00:00:00.123']);
  assert.match(String(row?.['message_id']), new RegExp(`^record/${system.config.topic.events}/2/77/${at}/`));
});

test('the command itself: what it does not understand, and a run beside the stack', async () => {
  const cli = (args: string[], environment: Record<string, string> = {}): ReturnType<typeof outputOf> => outputOf(spawnRedrive(args, environment));
  const [unknown, away] = await Promise.all([
    cli(['--codes', 'x']),
    cli(['--dry-run'], { KAFKA_BROKERS: '', CLICKHOUSE_URL: '', SCHEMA_REGISTRY_URL: '', MILLRACE_KAFKA_PORT: '1', MILLRACE_CLICKHOUSE_PORT: '1', MILLRACE_REGISTRY_PORT: '1' }),
  ]);
  assert.deepEqual([unknown.status, unknown.stderr], [2, "millrace redrive: Unknown option '--codes'\nTry: npx millrace redrive --help\n"]);
  assert.equal(away.status, 1);
  assert.match(away.stderr, /no Kafka listens at 127\.0\.0\.1:1 [^]*no ClickHouse listens at 127\.0\.0\.1:1[^]*Is `npm start` running here/);

  const at = Date.UTC(2026, 2, 8);
  await produce({ key: 'cli', value: 'cli', timestamp: String(at), headers: { tenant: 'cli' } });
  await lettersOf(`tenant = 'cli'`);
  await patchFile('cli.mjs', `export default l => ({ ...l, payload: { type: 'page', userId: 'cli', name: 'Cli' } });`);
  const done = await cli(['--tenant', 'cli', '--patch', './cli.mjs', '--yes']);
  assert.equal(done.status, 0);
  assert.match(done.stderr, /^(?:\d+ of 1 letters, \d+\/s\n)*$/);
  assert.match(done.stdout, /^1 dead letter:\n +1 {2}unreadable +events-[^]*- cli\n {2}\+ \{\n[^]*1 dead letter redriven in/);
  await settled(1);
  assert.deepEqual(await system.query(`SELECT name FROM events WHERE user_key = 'cli'`), [{ name: 'Cli' }]);
  assert.deepEqual((await lettersOf(`tenant = 'cli'`)).map(({ status }) => status), ['redriven']);
});
