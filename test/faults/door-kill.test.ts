import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import type { Config } from '../../src/config.ts';
import { eventually } from '../helpers/eventually.ts';
import { freshConfig } from '../helpers/shared-stack.ts';
import { bundleDoor, connectDoor, spawnDoor } from '../helpers/spawn-door.ts';
import type { DoorConnection, DoorProcess } from '../helpers/spawn-door.ts';
import { startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';

/*
 * faults.md 26: the door dies under load of all dialects, alone and in batches. Whatever was answered with a 2xx is in ClickHouse, once;
 * what was not may be there, once.
 */

const batchSize = 20;
const at = '2025-12-22T10:30:00Z';

/** A way to send events with these message ids, and which of them an answer says are durable. */
interface Shape {
  path: string;
  body: (ids: readonly string[]) => object;
  batch: boolean;
}
const track = (messageId: string): object => ({ type: 'track', event: 'E', userId: `u${messageId.at(-1) ?? ''}`, messageId });
const whisperr = (id: string): object => ({ external_user_id: 'u', event_type: 'paid', context: { $message_id: id } });
const mailerpath = (id: string): object => ({ type: 'signup', uid: 'u', idempotency_key: id });
const shapes: Shape[] = [
  { path: '/api/v1/events', body: ([id = '']) => track(id), batch: false },
  { path: '/api/v1/events/batch', body: ids => ({ batch: ids.map(track) }), batch: true },
  { path: '/v1/track', body: ([id = '']) => track(id), batch: false },
  { path: '/v1/batch', body: ids => ({ batch: ids.map(track) }), batch: true },
  { path: '/v1/events/track', body: ([id = '']) => whisperr(id), batch: false },
  { path: '/v1/events/batch', body: ids => ({ events: ids.map(whisperr) }), batch: true },
  { path: '/v1/events', body: ([id = '']) => ({ event_type: 'order.paid', occurred_at: at, idempotency_key: id, data: { user_id: 'u' } }), batch: false },
  { path: '/api/v1/client/events', body: ([id = '']) => mailerpath(id), batch: false },
  { path: '/api/v1/client/events/bulk', body: ids => ({ events: ids.map(mailerpath) }), batch: true },
];

interface Load {
  sent: Set<string>;
  acknowledged: Set<string>;
  /** Answers so far that were a 2xx. */
  good: () => number;
  end: () => Promise<void>;
}

/** A client for each shape; one that loses its connection, or is turned away, comes again. */
function startLoad(url: string): Load {
  const run = randomUUID().slice(0, 8);
  const sent = new Set<string>();
  const acknowledged = new Set<string>();
  let number = 0;
  let good = 0;
  let ending = false;
  const client = async ({ path, body, batch }: Shape): Promise<void> => {
    let connection: DoorConnection | null = null;
    while (!ending) {
      const ids = Array.from({ length: batch ? batchSize : 1 }, () => `${run}-${number++}`);
      try {
        connection ??= await connectDoor(url);
        for (const id of ids) sent.add(id);
        const answer = await connection.send('POST', path, body(ids));
        if (answer.status >= 300) {
          await new Promise(resolve => setTimeout(resolve, 20));
          continue;
        }
        const refused = new Set(((answer.body['errors'] ?? []) as { index: number }[]).map(({ index }) => index));
        ids.forEach((id, index) => refused.has(index) || acknowledged.add(id));
        good++;
      } catch {
        // The connection was cut: nobody knows what became of these.
        connection?.close();
        connection = null;
        await new Promise(resolve => setTimeout(resolve, 20));
      }
    }
    connection?.close();
  };
  const clients = Promise.all(shapes.map(client));
  return {
    sent,
    acknowledged,
    good: () => good,
    async end() {
      ending = true;
      await clients;
    },
  };
}

let bundle: Awaited<ReturnType<typeof bundleDoor>>;
let config: Config;
let system: System;
before(async () => {
  bundle = await bundleDoor();
  config = freshConfig({ logLevel: 'info' });
  system = await startSystem(config);
});
after(async () => {
  await system.close();
  await bundle.remove();
});

/** Every acknowledged id is a row, and no id is two. */
async function assertStoredOnce({ sent, acknowledged }: Load): Promise<void> {
  const run = [...sent][0]?.split('-')[0] ?? '';
  const stored = async (): Promise<string[]> => (await system.query<{ message_id: string }>(`SELECT message_id FROM events WHERE startsWith(message_id, '${run}-')`)).map(row => row.message_id);
  const missing = (ids: readonly string[]): string[] => {
    const found = new Set(ids);
    return [...acknowledged].filter(id => !found.has(id));
  };
  const deadline = Date.now() + 15_000;
  let ids = await stored();
  while (missing(ids).length > 0 && Date.now() < deadline) {
    await new Promise(resolve => setTimeout(resolve, 200));
    ids = await stored();
  }
  assert.deepEqual(missing(ids), [], 'acknowledged, and not stored');
  assert.equal(ids.length, new Set(ids).size, 'an id stands twice');
  assert.deepEqual(ids.filter(id => !sent.has(id)), []);
}

const until = (condition: () => boolean): Promise<boolean> => eventually(condition, Boolean, 15_000, 10);

test('SIGTERM under load: the door drains and ends with 0; every 2xx is stored once', { timeout: 60_000 }, async () => {
  const door: DoorProcess = await spawnDoor(bundle.file, config);
  const load = startLoad(door.url);
  await until(() => load.good() > 200);
  door.signal('SIGTERM');
  assert.deepEqual(await door.exited, { code: 0, signal: null });
  await load.end();
  await assertStoredOnce(load);
});

test('SIGKILL of a worker under load: the other serves on, it comes back, and every 2xx is stored once; then SIGKILL of all, the same', { timeout: 60_000 }, async () => {
  const door: DoorProcess = await spawnDoor(bundle.file, { ...config, workers: 2 });
  const load = startLoad(door.url);
  await until(() => load.good() > 200);
  const [victim = 0, survivor = 0] = door.workerPids();
  const before = load.good();
  process.kill(victim, 'SIGKILL');
  await until(() => load.good() > before + 100);
  assert.ok(door.workerPids().includes(survivor));
  await until(() => door.log().some(({ event }) => event === 'worker_ended'));
  await until(() => door.log().filter(({ event }) => event === 'worker_serves').length === 3);
  const back = load.good();
  await until(() => load.good() > back + 100);
  const workers = door.workerPids();
  assert.equal(workers.length, 2);

  door.signal('SIGKILL');
  await door.exited;
  await until(() => !workers.some(isAlive));
  await load.end();
  await assertStoredOnce(load);
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
