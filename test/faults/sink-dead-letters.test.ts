import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../helpers/eventually.ts';
import { pageRecord, stays, withSinkScene } from './sink-harness.ts';

/* faults.md 21 and 22. */

test('one poison record among 10,000 is one dead letter, byte for byte; the others are stored', async () => {
  await withSinkScene({ partitions: 1 }, async scene => {
    const poison = Buffer.from([0x7b, 0xff, 0x00, 0xfe, 0x0a, 0x7d]);
    const messages = Array.from({ length: 10_000 }, (_, n) => (n === 6_543 ? { key: 'k', value: poison } : pageRecord(`m-${n}`)));
    for (let at = 0; at < messages.length; at += 2_500) await scene.send(messages.slice(at, at + 2_500));
    await scene.startSink();
    await scene.settled(10_000, 60_000);
    await scene.assertWhole(10_000);
    const ids = await scene.ids();
    assert.equal(ids.length, 9_999);
    assert.ok(!ids.includes('m-6543'));
    const letters = await eventually(() => scene.query<Record<string, string>>('SELECT code, payload, payload_encoding, toString(offset) AS offset FROM dead_letters'), rows => rows.length > 0);
    assert.deepEqual(letters, [{ code: 'unreadable', payload: poison.toString('base64'), payload_encoding: 'base64', offset: '6543' }]);
    assert.deepEqual(await scene.query('SELECT toString(offset) AS offset FROM outcomes'), [{ offset: '6543' }]);
  });
});

test('a dead-letter topic that takes nothing: the offset stays, nothing is passed; then one letter', async () => {
  await withSinkScene({ partitions: 1 }, async scene => {
    const limit = (value: string): Promise<unknown> =>
      scene.admin.alterConfigs({ validateOnly: false, resources: [{ type: 2, name: scene.config.topic.deadLetters, configEntries: [{ name: 'max.message.bytes', value }] }] });
    const sink = await scene.startSink();
    await scene.send([pageRecord('before')]);
    await scene.settled(1);
    assert.equal(await eventually(() => scene.lag(), lag => lag === 0), 0);
    // Smaller than any record: the topic refuses what it is given.
    await limit('10');
    await scene.send([pageRecord('good'), { key: 'k', value: 'poison' }, pageRecord('behind')]);
    await eventually(() => scene.ids(), ids => ids.includes('good'));
    await stays(async () => sink.joined() && (await scene.lag()) === 3, 4_000, 'the offset stays where it is');
    assert.deepEqual(await scene.query('SELECT outcome FROM outcomes'), []);
    await limit('1000000');
    await scene.settled(4);
    assert.equal(await eventually(() => scene.lag(), lag => lag === 0), 0);
    await eventually(() => scene.query('SELECT id FROM dead_letters'), rows => rows.length === 1);
    assert.deepEqual(await scene.ids(), ['before', 'behind', 'good']);
    await scene.assertWhole(4);
  });
});
