import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';
import { endpointsOf, provision, startSink } from '../../src/compose.ts';
import { eventually } from '../helpers/eventually.ts';
import { freshConfig } from '../helpers/shared-stack.ts';
import { startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';
import { testLog } from '../helpers/shared-stack.ts';

/* A topic deleted and made again, under load, with a running and with a stopped sink: what is on the new one is stored, once. */

async function remake(system: System): Promise<void> {
  const { config } = system;
  const admin = new Kafka({ brokers: config.kafka.brokers ?? [], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    await admin.deleteTopics({ topics: [config.topic.events] });
    await eventually(() => admin.listTopics(), all => !all.includes(config.topic.events));
    await provision(config, endpointsOf(config, null), testLog());
  } finally {
    await admin.disconnect();
  }
}

/** Posts batches of ten until stopped; ids by the time when their request began. */
function startLoad(system: System): { accepted: { id: string; beganMs: number }[]; stop: () => Promise<void> } {
  const accepted: { id: string; beganMs: number }[] = [];
  let running = true;
  const run = (async () => {
    while (running) {
      const ids = Array.from({ length: 10 }, () => randomUUID());
      const beganMs = Date.now();
      const { status, body } = await system.post('/api/v1/events/batch', { batch: ids.map((messageId, index) => ({ type: 'track', userId: `u${index}`, event: 'Remade', messageId })) });
      if (status === 200 && body['accepted'] === ids.length) accepted.push(...ids.map(id => ({ id, beganMs })));
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  })();
  return {
    accepted,
    async stop() {
      running = false;
      await run;
    },
  };
}

async function storedIds(system: System): Promise<string[]> {
  return (await system.query<{ message_id: string }>('SELECT message_id FROM events')).map(row => row.message_id);
}

test('under a running sink and load', { timeout: 90_000 }, async () => {
  const system = await startSystem(freshConfig());
  try {
    const load = startLoad(system);
    await eventually(() => storedIds(system), ids => ids.length > 150, 30_000);
    await remake(system);
    const remadeMs = Date.now();
    await eventually(() => load.accepted.filter(({ beganMs }) => beganMs > remadeMs).length, count => count > 150, 30_000);
    await load.stop();
    const expected = load.accepted.filter(({ beganMs }) => beganMs > remadeMs).map(({ id }) => id);
    const stored = await eventually(() => storedIds(system), ids => expected.every(id => ids.includes(id)), 40_000);
    assert.equal(new Set(stored).size, stored.length, 'each once');
  } finally {
    await system.close();
  }
});

for (const [count, how] of [[30, 'fewer'], [400, 'more']] as const) {
  test(`while the sink is stopped, with ${how} records than before`, { timeout: 90_000 }, async () => {
    const system = await startSystem(freshConfig());
    try {
      const send = async (prefix: string, total: number): Promise<string[]> => {
        const ids = Array.from({ length: total }, (_, index) => `${prefix}-${index}`);
        const { body } = await system.post('/api/v1/events/batch', { batch: ids.map((messageId, index) => ({ type: 'track', userId: `u${index % 20}`, event: 'Remade', messageId })) });
        assert.equal(body['accepted'], total);
        return ids;
      };
      const old = await send('old', 200);
      await eventually(() => storedIds(system), ids => ids.length === old.length, 30_000);
      await system.sink?.close();
      await remake(system);
      const now = await send('new', count);
      const sink = await startSink(system.config, endpointsOf(system.config, null), { log: testLog(), onFatal: error => { throw error; } });
      try {
        await eventually(() => storedIds(system), ids => ids.length >= old.length + now.length, 30_000);
        assert.deepEqual((await storedIds(system)).sort(), [...old, ...now].sort());
      } finally {
        await sink.close();
      }
    } finally {
      await system.close();
    }
  });
}
