import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CompressionTypes } from 'kafkajs';
import { headerText, fetchLimits } from '../../src/topic/subscribe.ts';
import { eventually } from '../helpers/eventually.ts';
import { valuesOf as values, withTopic } from '../helpers/topic-scene.ts';

/* The session rules of src/topic/subscribe.ts, on a real broker. */

test('records arrive with headers; a commit keeps offset and metadata, and the next session reads both', async () => {
  await withTopic(1, async ({ send, join, committed }) => {
    await send(['a', 'b', 'c']);
    const seen: string[] = [];
    const first = await join(async batch => {
      assert.deepEqual(await batch.committed(), { offset: null, metadata: '' });
      assert.equal(headerText(batch.records[0]?.headers ?? {}, 'tenant'), 'acme');
      assert.equal(headerText(batch.records[0]?.headers ?? {}, 'none'), null);
      seen.push(...values(batch));
      await batch.commit(2n, '{"plan":1}');
      return batch.endOffset;
    });
    await eventually(() => seen, all => all.length === 3);
    await first.close();
    assert.deepEqual((await committed()).map(({ partition, offset, metadata }) => ({ partition, offset, metadata })), [{ partition: 0, offset: '2', metadata: '{"plan":1}' }]);
    const again: unknown[] = [];
    await join(async batch => {
      again.push(await batch.committed(), ...values(batch));
      return batch.endOffset;
    });
    await eventually(() => again, all => all.length === 2);
    assert.deepEqual(again, [{ offset: 2n, metadata: '{"plan":1}' }, 'c']);
  });
});

test('what a handler did not finish comes again, after its error as after a smaller answer', async () => {
  await withTopic(1, async ({ send, join }) => {
    const seen: string[][] = [];
    await send(['a', 'b', 'c']);
    await join(async batch => {
      seen.push(values(batch));
      if (seen.length === 1) throw new Error('a bug in the handler');
      if (seen.length === 2) return (batch.records[0]?.offset ?? 0n) + 1n;
      return batch.endOffset;
    });
    await eventually(() => seen, all => all.length === 3);
    assert.deepEqual(seen, [['a', 'b', 'c'], ['a', 'b', 'c'], ['b', 'c']]);
  });
});

test('a handler that lasts longer than the session timeout keeps its partition', async () => {
  await withTopic(1, async ({ send, join, committed }) => {
    await send(['a']);
    let runs = 0;
    await join(async batch => {
      runs++;
      await new Promise(resolve => setTimeout(resolve, 8_000));
      await batch.commit(batch.endOffset, 'slow');
      return batch.endOffset;
    });
    await eventually(committed, ([partition]) => partition?.metadata === 'slow', 20_000);
    assert.equal(runs, 1);
  });
});

test('a second member takes over partitions; a batch of the session before cannot commit', async () => {
  await withTopic(2, async ({ send, join, committed }) => {
    let refused: unknown = null;
    let release: () => void = () => undefined;
    const held = new Promise<void>(resolve => (release = resolve));
    let entered = false;
    let aborted = false;
    await join(async batch => {
      if (!entered) {
        entered = true;
        batch.session.signal.addEventListener('abort', () => (aborted = true));
        await held;
        await batch.commit(batch.endOffset, 'zombie').catch((error: unknown) => {
          refused = error;
          throw error;
        });
      } else await batch.commit(batch.endOffset, 'first member');
      return batch.endOffset;
    });
    await send(['a'], 0);
    await eventually(() => entered, yes => yes);
    // Joining asks the first member to give up its session, which its heartbeat learns while the handler is held.
    const second = await join(async batch => {
      await batch.commit(batch.endOffset, 'second member');
      return batch.endOffset;
    });
    await eventually(() => aborted, yes => yes);
    assert.deepEqual(await committed().then(all => all.map(({ metadata }) => metadata)), ['', '']);
    release();
    await eventually(() => refused, error => error !== null);
    assert.equal((refused as { code: string }).code, 'ownership_lost');
    await send(['b'], 1);
    await eventually(committed, all => all.every(({ offset }) => offset === '1'), 30_000);
    assert.ok(second.joined());
    assert.ok((await committed()).every(({ metadata }) => metadata !== 'zombie'));
  });
});

test('one failing partition ends the session of all, and no handler outlives it', async () => {
  await withTopic(2, async ({ send, join, committed }) => {
    let running = 0;
    let overlap = 0;
    let failed = false;
    const journal: string[] = [];
    await join(async batch => {
      running++;
      overlap = Math.max(overlap, running);
      try {
        if (batch.partition === 0 && !failed) {
          await eventually(() => running, count => count === 2);
          failed = true;
          throw new Error('partition 0 fails');
        }
        if (!failed) {
          await new Promise<void>(resolve => batch.session.signal.addEventListener('abort', () => resolve()));
          // Long enough for a rejoin, were it not held back until this handler has ended.
          await new Promise(resolve => setTimeout(resolve, 1_500));
          journal.push('the handler of partition 1 ended');
          await batch.commit(batch.endOffset, 'too late');
        }
        journal.push(`partition ${batch.partition} again`);
        await batch.commit(batch.endOffset, 'done');
        return batch.endOffset;
      } finally {
        running--;
      }
    });
    await Promise.all([send(['a'], 0), send(['b'], 1)]);
    await eventually(committed, all => all.length === 2 && all.every(({ metadata }) => metadata === 'done'), 30_000);
    assert.equal(journal[0], 'the handler of partition 1 ended');
    assert.deepEqual(journal.slice(1).sort(), ['partition 0 again', 'partition 1 again']);
  });
});

test('compressed records are inflated piece by piece: what is handed over stays near the partition’s share, in order and once', async () => {
  await withTopic(1, async ({ topic, kafka, join }) => {
    const producer = kafka.producer();
    await producer.connect();
    const share = 256 * 1024;
    let sent = 0;
    // 16 batches of half a MB, which gzip makes very small: one fetch brings them all.
    for (let batch = 0; batch < 16; batch++) {
      await producer.send({ topic, compression: CompressionTypes.GZIP, messages: Array.from({ length: 500 }, () => ({ value: `${sent++} ${'x'.repeat(1_000)}` })) });
    }
    await producer.disconnect();
    const batches: number[] = [];
    const seen: number[] = [];
    await join(async batch => {
      batches.push(batch.records.reduce((sum, { value }) => sum + (value?.length ?? 0), 0));
      seen.push(...values(batch).map(value => Number.parseInt(value, 10)));
      return batch.endOffset;
    }, { maxBytesPerPartition: share });
    await eventually(() => seen.length, count => count >= sent, 20_000);
    assert.deepEqual(seen, Array.from({ length: sent }, (_, index) => index));
    assert.ok(Math.max(...batches) < 1.5 * share + 600_000, `${Math.max(...batches)} bytes at once`);
  });
});

test('what a fetch may bring: the shares of three partitions at most, in all and of each broker', () => {
  const mebibyte = 1024 * 1024;
  const shares = (partitionCount: number, brokerCount = 1): number[] => {
    const { maxBytesPerPartition, maxBytes } = fetchLimits(16 * mebibyte, 24 * mebibyte, { partitionCount, brokerCount });
    return [maxBytesPerPartition / mebibyte, maxBytes / mebibyte];
  };
  assert.deepEqual([1, 2, 3, 12, 1_000].map(count => shares(count)), [[16, 16], [12, 24], [8, 24], [8, 24], [8, 24]]);
  assert.deepEqual([2, 3, 6, 1_000].map(brokers => shares(12, brokers)), [[8, 16], [8, 8], [4, 4], [2, 2]]);
  // No more brokers are asked than there are partitions.
  assert.deepEqual([1, 2, 12].map(count => shares(count, 1_000)), [[16, 16], [12, 12], [2, 2]]);
  assert.deepEqual(fetchLimits(7, undefined, { partitionCount: 12, brokerCount: 1 }), { maxBytesPerPartition: 7, maxBytes: 448 });
  assert.deepEqual(fetchLimits(16, 20, null), { maxBytesPerPartition: 16, maxBytes: 16 });
});
