import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { createEventAvro } from '../../src/contract/event-avro.ts';
import { createRegistry } from '../../src/contract/registry.ts';
import { startClickHouse } from '../helpers/clickhouse.ts';
import type { RunningClickHouse } from '../helpers/clickhouse.ts';
import { packageRoot } from '../helpers/local.ts';
import { sharedStack } from '../helpers/shared-stack.ts';
import { pageRecord, stays, withSinkScene } from './sink-harness.ts';
import type { SinkScene } from './sink-harness.ts';

/* faults.md 15 (on a ClickHouse of the test's own, which it kills) and 18. */

async function withOwnClickHouse(work: (scene: SinkScene, engine: { current: RunningClickHouse; restart: () => Promise<void> }) => Promise<void>): Promise<void> {
  const first = await startClickHouse();
  const { dataDir } = first;
  const port = Number(new URL(first.url).port);
  const engine = {
    current: first,
    // On the same folder and port.
    restart: async () => { engine.current = await startClickHouse({ dataDir, port }); },
  };
  try {
    await withSinkScene({ partitions: 1, clickhouseUrl: first.url }, scene => work(scene, engine));
  } finally {
    await engine.current.close();
    // A restarted one leaves the folder, since it was given.
    await first.close();
  }
}

test('ClickHouse that is gone, has too many parts, no space, or is read-only: the sink waits, buries nothing, and catches up', async () => {
  await withOwnClickHouse(async (scene, engine) => {
    let sent = 0;
    const send = async (): Promise<void> => {
      const ids = Array.from({ length: 20 }, () => `m-${sent++}`);
      await scene.send([...ids.map(id => pageRecord(id)), { key: 'k', value: 'poison' }]);
    };
    const records = (): number => sent + sent / 20;
    const sink = await scene.startSink();
    await send();
    await scene.settled(records());

    const errorsOf = async (name: string): Promise<number> => Number((await scene.query<{ n: number }>(`SELECT sum(value) AS n FROM system.errors WHERE name = '${name}'`))[0]?.n);
    const waits = async (): Promise<void> => {
      const before = records() - 21;
      await stays(async () => (await scene.lag()) === 21, 3_000, 'the offset stays, and the lag shows');
      const counts = sink.counts();
      assert.ok(counts.stored + counts.duplicate <= before, 'nothing is passed');
    };
    const states: { name: string; error: string | null; begin: () => Promise<void>; end: () => Promise<void> }[] = [
      { name: 'gone', error: null, begin: () => engine.current.kill(), end: () => engine.restart() },
      {
        name: 'too many parts', error: 'TOO_MANY_PARTS',
        begin: async () => {
          await scene.command('SYSTEM STOP MERGES events');
          await scene.command('ALTER TABLE events MODIFY SETTING parts_to_delay_insert = 1, parts_to_throw_insert = 1');
        },
        end: async () => {
          await scene.command('ALTER TABLE events RESET SETTING parts_to_delay_insert, parts_to_throw_insert');
          await scene.command('SYSTEM START MERGES events');
        },
      },
      {
        name: 'disk full', error: 'NOT_ENOUGH_SPACE',
        begin: () => scene.command('ALTER TABLE events MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1000000000000000'),
        end: () => scene.command('ALTER TABLE events RESET SETTING min_free_disk_bytes_to_perform_insert'),
      },
      {
        name: 'read-only', error: 'TABLE_IS_PERMANENTLY_READ_ONLY',
        begin: () => scene.command('ALTER TABLE events MODIFY SETTING table_readonly = 1'),
        end: () => scene.command('ALTER TABLE events MODIFY SETTING table_readonly = 0'),
      },
      {
        name: 'outcomes read-only', error: 'TABLE_IS_PERMANENTLY_READ_ONLY',
        begin: () => scene.command('ALTER TABLE outcomes MODIFY SETTING table_readonly = 1'),
        end: () => scene.command('ALTER TABLE outcomes MODIFY SETTING table_readonly = 0'),
      },
    ];
    for (const { name, error, begin, end } of states) {
      const errorsBefore = error === null ? 0 : await errorsOf(error);
      await begin();
      await send();
      await waits();
      if (error !== null) assert.ok((await errorsOf(error)) > errorsBefore, `ClickHouse itself said ${error} (${name})`);
      await end();
      await scene.settled(records());
      assert.deepEqual(await scene.ids(), Array.from({ length: sent }, (_, n) => `m-${n}`).sort(), name);
      await scene.assertWhole(records());
      const dead = await scene.query<{ n: number }>(`SELECT countIf(outcome = 'dead_lettered') AS n FROM outcomes`);
      assert.equal(Number(dead[0]?.n), sent / 20, `${name}: only the poison is among the dead letters`);
    }
  });
});

test('an insert over several months that fails after the first: complete, and once', async () => {
  await withSinkScene({ partitions: 1 }, async scene => {
    const avro = createEventAvro(join(packageRoot, 'schemas', 'events', 'event.v1.avsc'));
    const schemaId = await createRegistry({ url: sharedStack().registryUrl, timeoutMs: 10_000 }).register(`${scene.config.topic.events}-value`, avro.schemaText);
    // An index that can't be made for March: ClickHouse has stored other months' rows by then, and not their ids.
    await scene.command('ALTER TABLE events ADD INDEX broken throwIf(toYYYYMM(received_at) = 202503) TYPE minmax');
    let partial: number[] = [];
    let inserts = 0;
    scene.proxy.judge = statement => (statement.startsWith('INSERT INTO events') && inserts++ === 0 ? 'lose' : 'pass');
    scene.proxy.answered = async statement => {
      if (!statement.startsWith('INSERT INTO events') || partial.length > 0) return;
      const [row] = await scene.query<{ rows: number; ids: number }>('SELECT (SELECT count() FROM events) AS rows, (SELECT count() FROM event_ids) AS ids');
      partial = [Number(row?.rows), Number(row?.ids)];
      await scene.command('ALTER TABLE events DROP INDEX broken');
    };
    const months = ['2025-01', '2025-02', '2025-04', '2025-03', '2025-05'];
    const count = 200;
    await scene.send(Array.from({ length: count }, (_, n) => ({
      key: `u${n}`,
      value: avro.encode({
        tenant: '', dialect: 'avro', messageId: `m-${n}`, type: 'page', event: null, userId: `u${n}`, anonymousId: null, previousId: null, groupId: null, email: null, name: null, category: null,
        timestampMs: Date.now(), sentAtMs: null, receivedAtMs: Date.parse(`${months[Math.floor((n * months.length) / count)]}-15T00:00:00Z`),
        properties: null, traits: null, context: null, integrations: null, writeKeyId: null, violations: [], raw: null,
      }, schemaId),
    })));
    await scene.startSink();
    await scene.settled(count);
    assert.ok((partial[0] ?? 0) > 0 && (partial[0] ?? 0) < count, `a part was stored: ${partial.join()}`);
    assert.deepEqual(await scene.ids(), Array.from({ length: count }, (_, n) => `m-${n}`).sort());
    await scene.assertWhole(count);
  });
});
