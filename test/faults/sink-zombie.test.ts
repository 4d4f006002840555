import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../helpers/eventually.ts';
import type { Verdict } from '../helpers/http-proxy.ts';
import { pageRecord, withSinkScene } from './sink-harness.ts';

/* faults.md 14, 16 and 23, each at the one moment that matters. (In the crowd: sink-faults.test.ts.) */

const insert = /^INSERT INTO events\b/;

test('a sink stopped past its session with its insert on the way: another takes over, the late insert adds nothing, nor does its waking', async () => {
  await withSinkScene({ partitions: 1, sessionTimeoutMs: 2_500 }, async scene => {
    await scene.send(Array.from({ length: 50 }, (_, n) => pageRecord(`m-${n % 40}`)));
    let reached = (): void => undefined;
    let release = (): void => undefined;
    let landed = (): void => undefined;
    const hit = new Promise<void>(resolve => (reached = resolve));
    const gate = new Promise<void>(resolve => (release = resolve));
    const late = new Promise<void>(resolve => (landed = resolve));
    let inserts = 0;
    scene.proxy.judge = async (statement): Promise<Verdict> => {
      if (!insert.test(statement) || inserts++ > 0) return 'pass';
      reached();
      await gate;
      return 'pass';
    };
    const zombie = await scene.spawnSink();
    await hit;
    zombie.signal('SIGSTOP');
    const heir = await scene.spawnSink();
    await scene.settled(50);
    await scene.send([pageRecord('next')]);
    await scene.settled(51);
    const committed = await eventually(() => scene.lag(), lag => lag === 0);
    assert.equal(committed, 0);
    // Its insert lands, then it wakes: it may neither add a row nor move the group.
    scene.proxy.answered = statement => { if (insert.test(statement)) landed(); };
    release();
    await late;
    zombie.signal('SIGCONT');
    await scene.send([pageRecord('after')]);
    await scene.settled(52);
    // With the heir gone the zombie is the group's only member, so its commits count from here on.
    assert.equal(await heir.stop(), 0);
    await scene.send([pageRecord('last')]);
    await scene.settled(53);
    assert.deepEqual(await scene.ids(), [...Array.from({ length: 40 }, (_, n) => `m-${n}`), 'next', 'after', 'last'].sort());
    await scene.assertWhole(53);
    assert.equal(await eventually(() => scene.lag(), lag => lag === 0), 0);
  });
});

test('an answer lost after ClickHouse stored: the retry inserts nothing new', async () => {
  await withSinkScene({ partitions: 1 }, async scene => {
    await scene.send([...Array.from({ length: 30 }, (_, n) => pageRecord(`m-${n % 20}`)), { key: 'k', value: 'poison' }]);
    const lost: string[] = [];
    scene.proxy.judge = statement => {
      const table = /^INSERT INTO (\w+)/.exec(statement)?.[1];
      if (table === undefined || lost.includes(table)) return 'pass';
      lost.push(table);
      return 'lose';
    };
    const sink = await scene.startSink();
    await scene.settled(31);
    assert.equal(await eventually(() => scene.lag(), lag => lag === 0), 0);
    await eventually(() => scene.query('SELECT id FROM dead_letters'), rows => rows.length === 1);
    assert.deepEqual((await eventually(() => lost, tables => tables.length === 4)).sort(), ['dead_letters', 'events', 'outcomes', 'profile_feed']);
    assert.deepEqual(await scene.ids(), Array.from({ length: 20 }, (_, n) => `m-${n}`).sort());
    await scene.assertWhole(31);
    assert.ok(sink.joined());
  });
});

test('a connection cut in the middle of an insert’s body leaves no row, not even the first ones', async () => {
  await withSinkScene({ partitions: 1 }, async scene => {
    await scene.send(Array.from({ length: 2_000 }, (_, n) => pageRecord(`m-${n}`, { properties: { text: 'x'.repeat(200) } })));
    let cuts = 0;
    const seen: unknown[] = [];
    scene.proxy.judge = async statement => {
      if (!insert.test(statement)) return 'pass';
      // The cut ones before it are over: the sink waits half a second and more between its tries.
      if (cuts > 0) seen.push(...(await scene.query('SELECT message_id FROM events LIMIT 3')), ...(await scene.query('SELECT event_id FROM event_ids LIMIT 3')));
      return cuts++ < 3 ? 'cut' : 'pass';
    };
    await scene.startSink();
    await scene.settled(2_000);
    assert.ok(cuts > 3);
    assert.deepEqual(seen, []);
    assert.equal((await scene.ids()).length, 2_000);
    await scene.assertWhole(2_000);
  });
});
