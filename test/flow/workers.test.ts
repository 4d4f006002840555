import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { endpointsOf, provision } from '../../src/compose.ts';
import type { Config } from '../../src/config.ts';
import { readConfig } from '../../src/config.ts';
import { eventId } from '../../src/event/identity.ts';
import { eventually } from '../helpers/eventually.ts';
import { packageRoot } from '../helpers/local.ts';
import { parseScrape } from '../helpers/prometheus.ts';
import { freshConfig, testLog } from '../helpers/shared-stack.ts';
import { bundleDoor, connectDoor, connectWorkers, spawnDoor } from '../helpers/spawn-door.ts';
import type { DoorConnection, DoorProcess } from '../helpers/spawn-door.ts';

/* Two doors of one machine are one door. Without ClickHouse: all that they know is their own. */

const folder = mkdtempSync(join(tmpdir(), 'millrace-workers-'));
const configPath = join(folder, 'millrace.yaml');
const file = (keys: string): void => writeFileSync(configPath, `writeKeys:\n${keys}`);
const devKey = '  - { id: dev, tenant: dev, key: dev }\n';
let bundle: Awaited<ReturnType<typeof bundleDoor>>;
let config: Config;
let door: DoorProcess;
let one: DoorConnection;
let two: DoorConnection;

before(async () => {
  bundle = await bundleDoor();
  file(`${devKey}  - { id: slow, tenant: dev, key: slow, rateLimit: { eventsPerSecond: 1, burst: 20 } }\n`);
  const { writeKeys } = readConfig({ MILLRACE_CONFIG: configPath }, packageRoot, folder, 'up');
  const fresh = freshConfig();
  config = { ...fresh, clickhouse: { ...fresh.clickhouse, url: null }, workers: 2, configPath, writeKeys, logLevel: 'info' };
  await provision(config, endpointsOf(config, null), testLog());
  door = await spawnDoor(bundle.file, config);
  const [first, second] = await connectWorkers(door.url, 2);
  assert.ok(first && second);
  [one, two] = [first, second];
}, { timeout: 60_000 });
after(async () => {
  one.close();
  two.close();
  // A worker that is just being started ends too, and in no more time.
  const before = door.workerPids();
  process.kill(before[0] ?? 0, 'SIGKILL');
  await eventually(() => door.workerPids(), pids => pids.some(pid => !before.includes(pid)), 15_000);
  const startedMs = performance.now();
  door.signal('SIGTERM');
  assert.deepEqual(await door.exited, { code: 0, signal: null });
  assert.ok(performance.now() - startedMs < 30_000, 'it was told to end, not killed');
  await bundle.remove();
  rmSync(folder, { recursive: true });
});

const intake = (key: string, n = 1): object => ({ event_type: 'order.paid', occurred_at: '2025-12-22T10:30:00Z', idempotency_key: key, data: { user_id: 'u', n } });

test('an idempotency key that one worker has published is known to the other, at once and at the same moment', { timeout: 30_000 }, async () => {
  const first = await one.send('POST', '/v1/events', intake('a'));
  const again = await two.send('POST', '/v1/events', intake('a'));
  assert.deepEqual([first.status, first.body['deduplicated'], again.status, again.body['deduplicated'], again.body['event_id']], [200, undefined, 200, true, first.body['event_id']]);
  const other = await two.send('POST', '/v1/events', intake('a', 2));
  assert.deepEqual([other.status, other.body['code']], [409, 'idempotency_conflict']);
  for (let round = 0; round < 30; round++) {
    const answers = await Promise.all([one, two].map(each => each.send('POST', '/v1/events', intake(`at-once-${round}`))));
    assert.deepEqual(answers.map(({ body }) => body['deduplicated'] ?? false).sort(), [false, true]);
  }
});

test('each worker says where an event of any dialect is, whichever of them published it', { timeout: 30_000 }, async () => {
  const receipt = async (by: DoorConnection, messageId: string): Promise<unknown[]> => {
    const { status, body } = await by.send('GET', `/v1/events/${eventId('dev', messageId)}`);
    return [status, body['status'], body['topic'], typeof body['offset']];
  };
  const accepted = [200, 'accepted', config.topic.events, 'string'];
  await one.send('POST', '/api/v1/events/batch', { batch: [{ type: 'page', userId: 'u', messageId: 'in-batch' }] });
  await two.send('POST', '/v1/events/track', { external_user_id: 'u', event_type: 'paid', context: { $message_id: 'of-whisperr' } });
  for (const by of [one, two]) for (const id of ['in-batch', 'of-whisperr', 'a']) assert.deepEqual(await receipt(by, id), accepted);
  assert.equal((await receipt(one, 'nobody'))[0], 404);
});

test('a key’s rate holds for the machine, and the answers say what is left for both', { timeout: 30_000 }, async () => {
  const send = (by: DoorConnection): ReturnType<DoorConnection['send']> => by.send('POST', '/api/v1/events', { type: 'page', userId: 'u' }, { authorization: 'Bearer slow' });
  const answers = [];
  for (let n = 0; n < 20; n++) answers.push(await send(n % 2 === 0 ? one : two));
  assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
  assert.ok(Number(answers.at(-1)?.headers['x-ratelimit-remaining']) <= 2, String(answers.at(-1)?.headers['x-ratelimit-remaining']));
  const more = await Promise.all(Array.from({ length: 20 }, (_, n) => send(n % 2 === 0 ? one : two)));
  const passed = more.filter(({ status }) => status === 200).length;
  assert.ok(passed <= 3 && more.every(({ status }) => status === 200 || status === 429), `${passed} passed`);
});

test('a scrape of either shows what both did', { timeout: 30_000 }, async () => {
  const scrape = async (by: DoorConnection): Promise<number> => parseScrape((await by.send('GET', '/metrics')).text).sum('millrace_door_events_total', { dialect: 'mailerpath', result: 'accepted' });
  for (const by of [one, two, two]) await by.send('POST', '/api/v1/client/events', { type: 'signup', uid: 'u' });
  assert.deepEqual([await scrape(one), await scrape(two)], [3, 3]);
  const values = parseScrape((await one.send('GET', '/metrics')).text);
  assert.equal(values.get('millrace_workers'), 2);
  assert.ok((values.get('process_resident_memory_bytes') ?? 0) > 100e6, 'of three processes');
});

test('while the primary does not answer, events are taken and called new; what only all together know is not answered', { timeout: 30_000 }, async () => {
  const agents = await Promise.all(Array.from({ length: 5 }, () => connectDoor(door.url)));
  const [claims, rates, receipts, scrapes, health] = agents;
  assert.ok(claims && rates && receipts && scrapes && health);
  await claims.send('POST', '/v1/events', intake('silent'));
  door.signal('SIGSTOP');
  try {
    const [again, limited, receipt, scrape, ready] = await Promise.all([
      claims.send('POST', '/v1/events', intake('silent')),
      rates.send('POST', '/api/v1/events', { type: 'page', userId: 'u' }, { authorization: 'Bearer slow' }),
      receipts.send('GET', `/v1/events/${eventId('dev', 'nobody')}`),
      scrapes.send('GET', '/metrics'),
      health.send('GET', '/readyz'),
    ]);
    assert.deepEqual([again.status, again.body['deduplicated'], limited.status, limited.headers['x-ratelimit-limit']], [200, undefined, 200, '10']);
    assert.deepEqual([receipt.status, scrape.status, ready.status], [503, 503, 200], 'the numbers of one process are not the door’s');
  } finally {
    door.signal('SIGCONT');
  }
  assert.equal((await claims.send('POST', '/v1/events', intake('silent'))).body['deduplicated'], true, 'a claim that came too late was given back');
  for (const each of agents) each.close();
});

test('a changed file counts in both; a faulty one in none, not even in a worker that is started after it', { timeout: 60_000 }, async () => {
  const withKey = (by: DoorConnection, key: string): Promise<number> => by.send('POST', '/api/v1/events', { type: 'page', userId: 'u' }, { authorization: `Bearer ${key}` }).then(({ status }) => status);
  file(`${devKey}  - { id: new, tenant: dev, key: new }\n`);
  await eventually(async () => [await withKey(one, 'new'), await withKey(two, 'new')], statuses => statuses.join() === '200,200');
  file('  - { nonsense }\n');
  await eventually(async () => door.log().filter(({ event }) => event === 'config_refused').length, refused => refused === 1);

  const [victim = 0] = door.workerPids();
  const before = parseScrape((await one.send('GET', '/metrics')).text).sum('millrace_door_requests_total');
  process.kill(victim, 'SIGKILL');
  await eventually(async () => door.log().filter(({ event }) => event === 'worker_serves').length, served => served === 3, 15_000);
  one.close();
  two.close();
  const [first, second] = await connectWorkers(door.url, 2, 'new');
  assert.ok(first && second);
  [one, two] = [first, second];
  assert.deepEqual([await withKey(one, 'new'), await withKey(two, 'new'), door.workerPids().length], [200, 200, 2]);
  const values = parseScrape((await one.send('GET', '/metrics')).text);
  assert.ok(values.sum('millrace_door_requests_total') >= before, 'what the dead one had counted stays in the sum');
  assert.equal(values.get('millrace_worker_restarts_total'), 1);
});

test('a second signal ends workers that hang, too', { timeout: 60_000 }, async () => {
  const other = await spawnDoor(bundle.file, config);
  const [hangs = 0] = other.workerPids();
  process.kill(hangs, 'SIGSTOP');
  try {
    other.signal('SIGTERM');
    await eventually(() => other.workerPids(), pids => pids.join() === String(hangs));
    other.signal('SIGTERM');
    assert.deepEqual(await other.exited, { code: 1, signal: null });
    await eventually(() => lives(hangs), isThere => !isThere, 5_000);
  } finally {
    if (lives(hangs)) process.kill(hangs, 'SIGKILL');
  }
});

/** Not gone, and not only waiting to be taken note of. */
function lives(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}
