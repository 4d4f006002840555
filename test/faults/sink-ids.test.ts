import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../helpers/eventually.ts';
import { pageRecord, withSinkScene } from './sink-harness.ts';
import type { SinkScene } from './sink-harness.ts';

/* faults.md 17, 19 and 20. (The same id stored by two sinks at once: sink-races.test.ts.) */

async function setBack(scene: SinkScene, offset: string): Promise<void> {
  const { admin, config } = scene;
  // Kafka lets nobody set a group back that still has a member.
  await eventually(() => admin.describeGroups([config.consumerGroup]), ({ groups }) => groups[0]?.members.length === 0);
  await admin.setOffsets({ groupId: config.consumerGroup, topic: config.topic.events, partitions: [{ partition: 0, offset }] });
}

/** Sets the group back and lets a sink read all of it again; a last record says that it is through. */
async function replay(scene: SinkScene, offset: string, records: number): Promise<void> {
  await setBack(scene, offset);
  await scene.send([pageRecord(`through-${records}`, { partition: 0 })]);
  const sink = await scene.startSink();
  await eventually(() => scene.ids(), ids => ids.includes(`through-${records}`));
  assert.equal(await eventually(() => scene.lag(), lag => lag === 0), 0);
  await sink.close();
}

async function withStored(work: (scene: SinkScene, ids: string[]) => Promise<void>): Promise<void> {
  await withSinkScene({ partitions: 1 }, async scene => {
    const ids = Array.from({ length: 60 }, (_, n) => `m-${n}`);
    await scene.send([...ids.map(id => pageRecord(id)), ...ids.slice(0, 20).map(id => pageRecord(id))]);
    const sink = await scene.startSink();
    await scene.settled(80);
    assert.equal(await eventually(() => scene.lag(), lag => lag === 0), 0);
    await sink.close();
    await work(scene, ids);
  });
}

test('events without their ids in event_ids: reading them again adds the ids, and no row', async () => {
  await withStored(async (scene, ids) => {
    await scene.command('DELETE FROM event_ids WHERE cityHash64(event_id) % 2 = 0');
    assert.ok((await scene.query('SELECT event_id FROM event_ids')).length < 60);
    await replay(scene, '0', 80);
    assert.deepEqual(await scene.ids(), [...ids, 'through-80'].sort());
    await scene.assertWhole(81);
  });
});

test('ids in event_ids without their events: reading the records again brings the rows back', async () => {
  await withStored(async (scene, ids) => {
    await scene.command(`DELETE FROM events WHERE message_id IN ('m-7', 'm-33')`);
    await replay(scene, '0', 80);
    assert.deepEqual(await scene.ids(), [...ids, 'through-80'].sort());
  });
});

test('rows deleted with their ids, and the group set back to have them again: they come, as often as that is done', async () => {
  await withStored(async (scene, ids) => {
    for (const [round, where] of [`message_id = 'm-7'`, '1'].entries()) {
      await scene.command(`DELETE FROM event_ids WHERE event_id IN (SELECT event_id FROM events WHERE ${where})`);
      await scene.command(`DELETE FROM events WHERE ${where}`);
      await replay(scene, '0', 80 + round);
      assert.deepEqual(await eventually(() => scene.ids(), found => found.length === ids.length + round + 1), [...ids, ...Array.from({ length: round + 1 }, (_, n) => `through-${80 + n}`)].sort());
    }
  });
});

test('records without a time, of which the ids were lost: reading them again adds no row', async () => {
  await withSinkScene({ partitions: 1, createTime: true }, async scene => {
    await scene.send(Array.from({ length: 5 }, (_, n) => ({ ...pageRecord(`m-${n}`), timestamp: '-1' })));
    const sink = await scene.startSink();
    await scene.settled(5);
    await sink.close();
    await scene.command('DELETE FROM event_ids WHERE 1');
    await replay(scene, '0', 5);
    await scene.assertWhole(6);
  });
});

test('a group set back, to the middle and to the start: no new row, no new outcome', async () => {
  await withStored(async (scene, ids) => {
    await replay(scene, '35', 80);
    await replay(scene, '0', 81);
    assert.deepEqual(await scene.ids(), [...ids, 'through-80', 'through-81'].sort());
    await scene.assertWhole(82);
  });
});

test('the same id at once, elsewhere, in another dialect, days later, with other content, and from two tenants', async () => {
  await withSinkScene({ partitions: 2, createTime: true }, async scene => {
    const dayMs = 86_400_000;
    const dated = (messageId: string, ms: number): ReturnType<typeof pageRecord> => ({ ...pageRecord(messageId, { partition: 0 }), timestamp: String(ms) });
    await scene.send([pageRecord('once', { partition: 0 }), pageRecord('once', { partition: 0 }), pageRecord('elsewhere', { partition: 0 }), dated('days', Date.now() - 3 * dayMs), pageRecord('content', { partition: 0, properties: { v: 1 } }), pageRecord('tenants', { partition: 0 })]);
    await scene.startSink();
    await scene.settled(6);
    await scene.send([
      pageRecord('elsewhere', { partition: 1 }),
      { ...pageRecord('once', { partition: 1 }), value: JSON.stringify({ type: 'track', event: 'Once', anonymousId: 'a', messageId: 'once' }) },
      dated('days', Date.now()),
      pageRecord('content', { partition: 0, properties: { v: 2 } }),
      pageRecord('tenants', { partition: 0, tenant: 'acme' }),
    ]);
    await scene.settled(11);
    await scene.assertWhole(11);
    assert.deepEqual(await scene.query('SELECT message_id AS id, tenant, toString(partition) AS p FROM events ORDER BY id, tenant'), [
      { id: 'content', tenant: 'dev', p: '0' },
      { id: 'days', tenant: 'dev', p: '0' },
      { id: 'elsewhere', tenant: 'dev', p: '0' },
      { id: 'once', tenant: 'dev', p: '0' },
      { id: 'tenants', tenant: 'acme', p: '0' },
      { id: 'tenants', tenant: 'dev', p: '0' },
    ]);
    assert.deepEqual(await scene.query('SELECT message_id AS id, toString(partition) AS p FROM conflicts ORDER BY id'), [{ id: 'content', p: '0' }, { id: 'once', p: '1' }]);
    assert.deepEqual(await scene.query(`SELECT properties.v AS v FROM events WHERE message_id = 'content'`), [{ v: 1 }], 'the first one stored wins');
  });
});

test('the same id in two partitions at the same moment, in one sink: one row', async () => {
  await withSinkScene({ partitions: 2 }, async scene => {
    const ids = Array.from({ length: 100 }, (_, n) => `m-${n}`);
    await scene.send([0, 1].flatMap(partition => ids.map(id => pageRecord(id, { partition }))));
    await scene.startSink();
    await scene.settled(200);
    await scene.assertWhole(200);
    assert.deepEqual(await scene.ids(), [...ids].sort());
  });
});
