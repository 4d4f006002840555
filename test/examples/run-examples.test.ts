import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';
import { createShopTraffic } from '../../examples/shop-traffic.ts';
import { freePort } from '../../src/local/ports.ts';
import { splitStatements } from '../../src/sink/migrate.ts';
import { eventually } from '../helpers/eventually.ts';
import { packageRoot } from '../helpers/local.ts';
import { freshConfig, sharedStack } from '../helpers/shared-stack.ts';
import { startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';

let system: System;
before(async () => {
  system = await startSystem(freshConfig());
});
after(() => system.close());

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program against the system to its end; `onOutput` sees all of standard output so far, each time it grows. */
async function run(command: string, args: readonly string[], more: Record<string, string> = {}, onOutput: (stdout: string, kill: (signal: NodeJS.Signals) => void) => void = () => undefined): Promise<Ended> {
  const { CLICKHOUSE_USER: _user, CLICKHOUSE_PASSWORD: _password, ...inherited } = process.env;
  const child = spawn(command, args, {
    cwd: packageRoot,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...inherited, MILLRACE_URL: system.door.url, MILLRACE_KEY: 'dev', CLICKHOUSE_URL: sharedStack().clickhouseUrl, CLICKHOUSE_DATABASE: system.config.clickhouse.database, ...more },
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    onOutput(stdout, signal => void child.kill(signal));
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}
const demo = (args: readonly string[], more?: Record<string, string>, onOutput?: Parameters<typeof run>[3]): Promise<Ended> => run(process.execPath, ['--import', 'tsx', 'examples/demo.ts', ...args], more, onOutput);

/** What the demo's summary says, and what ClickHouse says of the same run. */
async function compare({ code, stdout, stderr }: Ended): Promise<Record<string, number>> {
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  const runName = /^run (demo-[0-9a-f]+): /m.exec(stdout)?.[1] ?? assert.fail(stdout);
  const figure = (what: string): number => Number((new RegExp(`^ *([\\d,]+) {2}${what}`, 'm').exec(stdout)?.[1] ?? assert.fail(`${what} in ${stdout}`)).replaceAll(',', ''));
  const said = { sent: figure('sent in'), rejected: figure('rejected'), accepted: figure('accepted'), distinct: figure('distinct message ids'), rows: figure('rows in') };
  const [there] = await system.query<{ rows: number; ids: number }>(`SELECT count() AS rows, uniqExact(event_id) AS ids FROM events WHERE startsWith(message_id, '${runName}-')`);
  assert.deepEqual({ rows: Number(there?.rows), ids: Number(there?.ids) }, { rows: said.rows, ids: said.rows });
  assert.equal(said.distinct, said.rows);
  assert.equal(said.sent, said.accepted + said.rejected);
  // Its suggestions are queries that ClickHouse takes.
  const suggested = [...stdout.matchAll(/^ {2}curl '([^']+)' -d "(.+)"$/gm)];
  assert.equal(suggested.length, 3);
  for (const [, url, statement] of suggested) {
    const answer = await fetch(url ?? '', { method: 'POST', body: statement ?? '' });
    const text = await answer.text();
    assert.equal(answer.status, 200, text);
    assert.match(text, /─/);
  }
  return said;
}

test('curl.sh: every answer is what it says, and ClickHouse has three events', async () => {
  const { code, stdout, stderr } = await run('sh', ['examples/curl.sh']);
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  const answers = stdout.split('\n').filter(line => line.startsWith('{')).map(line => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(answers.map(answer => [answer['success'], answer['accepted'], answer['rejected']]), [[true, undefined, undefined], [undefined, 2, 1], [true, undefined, undefined]]);
  const rows = await system.query<Record<string, unknown>>(`SELECT type, properties.total AS total, message_id FROM events WHERE user_id = 'ada' OR anonymous_id = 'anon-1' ORDER BY message_id`);
  assert.deepEqual(rows.map(({ type, total }) => [type, total]), [['track', 99.5], ['identify', null], ['page', null]]);
  for (const { message_id: id } of rows) assert.ok(stdout.includes(`\t${String(id)}\n`), `${String(id)} in ${stdout}`);

  const refused = await run('sh', ['examples/curl.sh'], { MILLRACE_KEY: 'unknown' });
  assert.notEqual(refused.code, 0);
  assert.match(refused.stdout, /unauthorized/);
});

test('send.mjs: a hundred events, counted', async () => {
  const { code, stdout, stderr } = await run(process.execPath, ['examples/send.mjs']);
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  assert.equal(stdout, 'sent 100: 100 accepted, 0 rejected\nrows in ClickHouse: 100\n');
  assert.deepEqual(await system.query(`SELECT toUInt32(count()) AS n FROM events WHERE event = 'Song Played'`), [{ n: 100 }]);
  const nobody = `http://127.0.0.1:${await freePort('127.0.0.1')}`;
  const cases: [Record<string, string>, RegExp][] = [
    [{ MILLRACE_KEY: 'unknown' }, /^send\.mjs: .* answered 401: [^\n]*\n$/],
    [{ MILLRACE_URL: nobody }, /^send\.mjs: nothing answers at http:\/\/127\.0\.0\.1:\d+: start it with npm start, or set MILLRACE_URL\n$/],
    [{ CLICKHOUSE_URL: nobody }, /^send\.mjs: no ClickHouse answers at [^\n]*\n$/],
  ];
  for (const [more, message] of cases) {
    const ended = await run(process.execPath, ['examples/send.mjs'], more);
    assert.equal(ended.code, 1);
    assert.match(ended.stderr, message);
  }
});

test('demo: the numbers agree with each other and with the table', async () => {
  const ended = await demo(['--seconds', '3', '--rate', '200', '--seed', '7']);
  const said = await compare(ended);
  assert.equal(said['sent'], 600);
  assert.match(ended.stdout, /^0:0\d sent [\d,]+ accepted [\d,]+ rejected \d+ repeats \d+ rows /m);
  // The same events, made here again.
  const shop = createShopTraffic({ seed: 7, run: 'again' });
  const made = Array.from({ length: 600 }, () => shop.next(Date.now()));
  const of = (kind: string): number => made.filter(one => one.kind === kind).length;
  assert.deepEqual([said['rows'], said['rejected'], said['accepted']], [of('new'), of('bad'), of('new') + of('duplicate')]);
});

test('demo: Ctrl-C ends it early, with the summary', async () => {
  let signalled = false;
  const ended = await demo(['--seconds', '0', '--rate', '50'], {}, (stdout, kill) => {
    if (signalled || !/sent [1-9]/.test(stdout)) return;
    signalled = true;
    kill('SIGINT');
  });
  assert.ok(((await compare(ended))['sent'] ?? 0) > 0);
});

test('demo: says what is wrong in one line', async () => {
  const nobody = `http://127.0.0.1:${await freePort('127.0.0.1')}`;
  const cases: [string[], number, RegExp][] = [
    [['--url', nobody], 1, /^demo: nothing answers at http:\/\/127\.0\.0\.1:\d+: start it with npm start/],
    [['--clickhouse', nobody], 1, /^demo: no ClickHouse answers at /],
    [['--database', 'nowhere'], 1, /^demo: ClickHouse at .*nowhere/],
    [['--key', 'unknown', '--seconds', '1'], 1, /^demo: .* answered 401: .*--key/],
    [['--rate', 'fast'], 2, /^demo: --rate is a whole number/],
    [['--speed', '3'], 2, /^demo: Unknown option '--speed'/],
  ];
  for (const [args, code, message] of cases) {
    const ended = await demo(args);
    assert.equal(ended.code, code, ended.stderr);
    assert.match(ended.stderr, message);
    assert.equal(ended.stderr.trim().split('\n').length, code, ended.stderr);
  }
  const help = await demo(['--help']);
  assert.equal(help.code, 0);
  for (const option of ['--rate', '--seconds', '--seed', '--patience', '--url', '--key', '--clickhouse', '--database']) assert.ok(help.stdout.includes(`${option} `), option);
});

test('demo: an answer of 503 is waited out, and numbers that do not agree end it with 1', async () => {
  let turnedAway = 0;
  // A door that is overloaded at first, and then says 200 to everything and keeps nothing of it.
  const server = createServer((request, response) => {
    const body: Buffer[] = [];
    request.on('data', (chunk: Buffer) => body.push(chunk)).on('end', () => {
      if (request.method === 'POST' && turnedAway < 2) {
        turnedAway += 1;
        response.writeHead(503, { 'retry-after': '1' }).end('{"code":"unavailable","message":"later"}');
      } else {
        response.writeHead(200, { 'content-type': 'application/json' }).end('{"success":true,"errors":[]}');
      }
    });
  }).listen(0, '127.0.0.1');
  try {
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const { code, stdout, stderr } = await demo(['--url', `http://127.0.0.1:${port}`, '--seconds', '1', '--rate', '20', '--patience', '2']);
    assert.equal(code, 1, stdout);
    assert.match(stdout, /[1-9]\d* retried/);
    assert.match(stderr, /^demo: the numbers do not agree: \d+ distinct events were accepted, 0 rows are there, and none came for 2 s\n$/);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test('queries.sql: each statement answers, and says what was sent', async () => {
  const fresh = await startSystem(freshConfig());
  try {
    const shop = createShopTraffic({ seed: 11, run: 'queries', bad: 0 });
    const made = Array.from({ length: 500 }, () => shop.next(Date.now()));
    const { body } = await fresh.post('/api/v1/events/batch', { batch: made.map(({ event }) => event) });
    assert.equal(body['accepted'], 500);
    const kafka = new Kafka({ brokers: [sharedStack().kafkaBrokers], logLevel: logLevel.NOTHING });
    const producer = kafka.producer();
    await producer.connect();
    await producer.send({ topic: fresh.config.topic.events, messages: [{ key: 'k', value: 'no event' }, { key: 'k', value: '{"type":"track","userId":"u"}' }] });
    await producer.disconnect();
    const duplicates = made.filter(({ kind }) => kind === 'duplicate');
    const events = made.filter(({ kind }) => kind === 'new').map(({ event }) => event);
    await eventually(
      () => fresh.query<Record<string, number>>(`SELECT (SELECT count() FROM events) AS events, (SELECT count() FROM outcomes) AS outcomes, (SELECT count() FROM dead_letters) AS letters`),
      ([row]) => Number(row?.['events']) === events.length && Number(row?.['outcomes']) === duplicates.length + 2 && Number(row?.['letters']) === 2,
    );

    const statements = splitStatements(readFileSync(join(packageRoot, 'examples', 'queries.sql'), 'utf8'));
    assert.equal(statements.length, 7);
    const [active, revenue, funnel, products, letters, repeats, delay] = await Promise.all(statements.map(statement => fresh.query(statement)));
    const sum = (rows: Record<string, unknown>[] | undefined, column: string): number => (rows ?? []).reduce((total, row) => total + Number(row[column]), 0);
    const cents = (amount: number): number => Math.round(amount * 100);
    const userKey = (event: Record<string, unknown>): unknown => event['userId'] ?? event['anonymousId'];
    const orders = events.filter(event => event['event'] === 'Order Completed').map(event => event['properties'] as { total: number; shipping: number; products: { price: number; quantity: number }[] });

    assert.equal(sum(active, 'events'), events.length);
    assert.ok(orders.length > 0);
    assert.equal(sum(revenue, 'orders'), orders.length);
    assert.equal(cents(sum(revenue, 'revenue')), cents(orders.reduce((total, order) => total + order.total, 0)));
    assert.equal(cents(sum(products, 'revenue')), cents(orders.reduce((total, order) => total + order.total - order.shipping, 0)));
    assert.deepEqual(funnel?.map(({ reached }) => reached), ['1 Product Viewed', '2 Product Added', '3 Checkout Started', '4 Order Completed']);
    assert.equal(Number(funnel?.[0]?.['people']), new Set(events.filter(event => event['event'] === 'Product Viewed').map(userKey)).size);
    for (const [index, row] of (funnel ?? []).entries()) assert.ok(Number(row['people']) > 0 && (index === 0 || Number(row['people']) <= Number(funnel?.[index - 1]?.['people'])), JSON.stringify(funnel));
    assert.deepEqual(letters?.map(({ code, letters: n }) => `${String(code)} ${String(n)}`).sort(), ['field_missing 1', 'unreadable 1']);
    assert.equal(sum(repeats, 'duplicates'), duplicates.length);
    assert.equal(sum(delay, 'events'), events.length);
  } finally {
    await fresh.close();
  }
});

test('the README names every file and every variable of the examples', () => {
  const readme = readFileSync(join(packageRoot, 'examples', 'README.md'), 'utf8');
  for (const file of ['demo.ts', 'demo-client.ts', 'shop-traffic.ts', 'curl.sh', 'send.mjs', 'queries.sql']) {
    assert.ok(readme.includes(`](${file})`), file);
    const text = readFileSync(join(packageRoot, 'examples', file), 'utf8');
    for (const [variable] of text.matchAll(/\b(?:MILLRACE|CLICKHOUSE)_[A-Z]+\b/g)) assert.ok(readme.includes(`\`${variable}\``), `${variable} of ${file}`);
  }
});
