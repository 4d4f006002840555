import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPositions, startOf } from '../../src/topic/positions.ts';
import type { LiveSession } from '../../src/topic/session.ts';
import type { TopicState } from '../../src/topic/topic-state.ts';
import { startWatchdog } from '../../src/topic/watchdog.ts';
import { eventually } from '../helpers/eventually.ts';
import { keepingLog } from '../helpers/topic-scene.ts';

/* What the watchdog makes of what it sees: no Kafka, since kafkajs hangs too seldom to wait for it. */

function scene(): { session: LiveSession; state: { now: TopicState | null | Error }; told: string[]; events: (name: string) => unknown[]; watchdog: ReturnType<typeof startWatchdog>; setSession: (session: LiveSession | null) => void } {
  const { log, events } = keepingLog();
  const state: { now: TopicState | null | Error } = { now: { id: 'a', partitionCount: 1, brokerCount: 1, earliest: new Map([[0, 0n]]), latest: new Map([[0, 5n]]) } };
  const told: string[] = [];
  const look = (): Promise<TopicState | null> => (state.now instanceof Error ? Promise.reject(state.now) : Promise.resolve(state.now));
  const positions = createPositions({ topic: 't', seek: () => undefined, look: () => look() as Promise<TopicState>, onGap: () => undefined });
  positions.begin(0, startOf({ offset: 5n, topicId: 'a', metadata: '' }, 'a', 0n));
  const session: LiveSession = { signal: new AbortController().signal, cause: null, partitions: [0], running: new Set(), begun: Promise.resolve(new Map()), positions, topicId: () => 'a', abort: () => undefined };
  let current: LiveSession | null = session;
  const watchdog = startWatchdog({
    watch: { look, groupRefused: () => Promise.resolve(false), close: () => undefined },
    groupId: 'g', topic: 't', sessionTimeoutMs: 100, rebalanceTimeoutMs: 100, topicPollMs: 20, stuckAfterMs: 200, giveUpAfterMs: 400, log,
    session: () => current,
    restart: (_session, cause) => void told.push(cause.message),
    onStuck: why => void told.push(`fatal: ${why.message}`),
    onRemade: (_partitions, from, to) => void told.push(`${from} to ${to}`),
  });
  return { session, state, told, events, watchdog, setSession: next => (current = next) };
}

test('no sign of life while brokers answer: started again; with signs, or without brokers, left alone', async () => {
  const { told, state, watchdog, events } = scene();
  const alive = setInterval(() => watchdog.sign(), 20);
  await new Promise(resolve => setTimeout(resolve, 400));
  assert.deepEqual(told, []);
  clearInterval(alive);
  state.now = new Error('no broker');
  await new Promise(resolve => setTimeout(resolve, 400));
  state.now = null;
  await new Promise(resolve => setTimeout(resolve, 400));
  assert.deepEqual(told, []);
  state.now = { id: 'a', partitionCount: 1, brokerCount: 1, earliest: new Map([[0, 0n]]), latest: new Map([[0, 5n]]) };
  await eventually(() => told, all => all.length > 0, 2_000);
  assert.equal(told[0], 'kafkajs shows no sign of life');
  assert.ok(events('consumer_stuck').length > 0);
  watchdog.close();
});

test('a partition that is behind and gets nothing: started again, once for a position, and not while a handler runs', async () => {
  const { told, state, session, watchdog } = scene();
  const alive = setInterval(() => watchdog.sign(), 20);
  const work = Promise.resolve();
  session.running.add(work);
  state.now = { id: 'a', partitionCount: 1, brokerCount: 1, earliest: new Map([[0, 0n]]), latest: new Map([[0, 9n]]) };
  await new Promise(resolve => setTimeout(resolve, 400));
  assert.deepEqual(told, []);
  session.running.delete(work);
  await eventually(() => told, all => all.length > 0, 2_000);
  await new Promise(resolve => setTimeout(resolve, 500));
  assert.deepEqual(told, ['partition 0 is stuck']);
  clearInterval(alive);
  watchdog.close();
});

test('no session for long, or crash upon crash without a fetch: the process is told to end', async () => {
  const without = scene();
  without.setSession(null);
  await eventually(() => without.told, all => all.length > 0, 3_000);
  assert.match(without.told[0] ?? '', /^fatal: brokers answer, but the group was not joined/);
  without.watchdog.close();
  const crashing = scene();
  const alive = setInterval(() => crashing.watchdog.sign(), 20);
  crashing.watchdog.crashed(new Error('cannot be decoded'));
  crashing.watchdog.fetched();
  crashing.watchdog.crashed(new Error('cannot be decoded'));
  await eventually(() => crashing.told, all => all.length > 0, 3_000);
  assert.equal(crashing.told[0], 'fatal: cannot be decoded');
  clearInterval(alive);
  crashing.watchdog.close();
});

test('another id of the topic: announced, and started again', async () => {
  const { told, state, watchdog } = scene();
  state.now = { id: 'b', partitionCount: 1, brokerCount: 1, earliest: new Map([[0, 0n]]), latest: new Map([[0, 5n]]) };
  await eventually(() => told, all => all.length >= 2, 2_000);
  assert.deepEqual(told.slice(0, 2), ['a to b', 'the topic was made again']);
  watchdog.close();
});
