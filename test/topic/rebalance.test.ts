import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MillraceError } from '../../src/errors.ts';
import type { BatchHandler, Subscription } from '../../src/topic/subscribe.ts';
import { eventually } from '../helpers/eventually.ts';
import { valuesOf, withTopic } from '../helpers/topic-scene.ts';

/* faults.md 7, 8 and 11 at the level of a group's members. */

test('a handler longer than the rebalance timeout is abandoned and taken over; it cannot commit', { timeout: 60_000 }, async () => {
  await withTopic(1, async ({ send, join, committed }) => {
    const timeouts = { sessionTimeoutMs: 3_000, rebalanceTimeoutMs: 4_000 };
    const journal: string[] = [];
    let release: () => void = () => undefined;
    const held = new Promise<void>(resolve => (release = resolve));
    let refused: MillraceError | null = null;
    await send(['a']);
    const slow = await join(async batch => {
      if (batch.records[0]?.offset !== 0n) {
        await batch.commit(batch.endOffset, 'slow one');
        return batch.endOffset;
      }
      journal.push('slow began');
      // An insert that does not heed its signal.
      await held;
      await batch.commit(batch.endOffset, 'zombie').catch((error: unknown) => {
        refused = error as MillraceError;
        throw error;
      });
      return batch.endOffset;
    }, timeouts);
    await eventually(() => journal, all => all.includes('slow began'));
    try {
      const began = Date.now();
      await join(async batch => {
        journal.push(...valuesOf(batch));
        await batch.commit(batch.endOffset, 'heir');
        return batch.endOffset;
      }, timeouts);
      await eventually(committed, ([partition]) => partition?.metadata === 'heir', 20_000);
      assert.ok(Date.now() - began >= 3_000, 'Kafka waited for the slow one first');
      assert.deepEqual(journal, ['slow began', 'a']);
    } finally {
      release();
    }
    await eventually(() => refused?.code, code => code === 'ownership_lost');
    await eventually(() => slow.joined(), yes => yes);
    await send(['b']);
    await eventually(committed, ([partition]) => partition?.offset === '2' && partition.metadata !== 'zombie');
  });
});

test('a member that is closed while its join takes long does not come to life afterwards', { timeout: 60_000 }, async () => {
  await withTopic(2, async ({ send, join, kafka, groupId }) => {
    const admin = kafka.admin();
    await admin.connect();
    let release: () => void = () => undefined;
    try {
      const members = (): Promise<string> => admin.describeGroups([groupId]).then(({ groups }) => `${groups[0]?.members.length ?? 0} ${groups[0]?.state ?? ''}`);
      const held = new Promise<void>(resolve => (release = resolve));
      let began = false;
      await send(['a']);
      // Its handler keeps the group from rebalancing.
      await join(async batch => {
        began = true;
        await held;
        return batch.endOffset;
      }, { rebalanceTimeoutMs: 30_000 });
      await eventually(() => began, yes => yes);
      const late = await join(async batch => batch.endOffset, { rebalanceTimeoutMs: 30_000, closeGraceMs: 500 });
      await eventually(members, text => text === '2 PreparingRebalance');
      const closing = Date.now();
      await late.close();
      assert.ok(Date.now() - closing < 5_000, 'closing does not wait for the join');
      release();
      await eventually(members, text => text === '1 Stable', 20_000);
    } finally {
      release();
      await admin.disconnect();
    }
  });
});

test('a rolling restart of three members: nothing lost, nothing committed twice', { timeout: 90_000 }, async () => {
  await withTopic(6, async ({ send, join }) => {
    const done = new Map<string, number>();
    const handler: BatchHandler = async batch => {
      // Long enough that restarts meet batches that are under way.
      await sleep(20, undefined, { signal: batch.session.signal });
      await batch.commit(batch.endOffset, '');
      for (const value of valuesOf(batch)) done.set(value, (done.get(value) ?? 0) + 1);
      return batch.endOffset;
    };
    let sent = 0;
    let sending = true;
    const load = (async () => {
      while (sending) {
        await send(Array.from({ length: 5 }, () => `r${sent++}`), sent % 6);
        await sleep(10);
      }
    })();
    const start = (): Promise<Subscription> => join(handler, { maxWaitMs: 20 });
    const members = [await start(), await start(), await start()];
    await eventually(() => done.size, size => size > 50, 30_000);
    for (let index = 0; index < members.length; index++) {
      await members[index]?.close();
      members[index] = await start();
      const before = done.size;
      await eventually(() => members.every(member => member.joined()) && done.size > before + 20, yes => yes, 30_000);
    }
    sending = false;
    await load;
    await eventually(() => done.size, size => size === sent, 30_000);
    assert.deepEqual([...done].filter(([, times]) => times !== 1), []);
  });
});

test('a member that cannot rejoin, since a handler hangs, is reported: no zombie', { timeout: 60_000 }, async () => {
  await withTopic(1, async ({ send, join }) => {
    let fatal: MillraceError | null = null;
    let began = false;
    let release: () => void = () => undefined;
    const held = new Promise<void>(resolve => (release = resolve));
    await send(['a']);
    await join(async batch => {
      began = true;
      await held;
      return batch.endOffset;
    }, { sessionTimeoutMs: 3_000, rebalanceTimeoutMs: 3_000, topicPollMs: 300, giveUpAfterMs: 4_000, onFatal: error => (fatal = error) });
    await eventually(() => began, yes => yes);
    try {
      await join(batch => Promise.resolve(batch.endOffset), { sessionTimeoutMs: 3_000, rebalanceTimeoutMs: 3_000 });
      await eventually(() => fatal?.message, message => /is stuck: brokers answer, but the group was not joined/.test(message ?? ''));
    } finally {
      release();
    }
  });
});
