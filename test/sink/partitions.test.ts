import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPartitions } from '../../src/sink/partitions.ts';
import type { IncomingBatch, StoreRequest } from '../../src/sink/partitions.ts';
import { encodePlan, planOf, settledMetadata } from '../../src/sink/plan.ts';
import { testLog } from '../helpers/shared-stack.ts';

/* The state table of src/sink/partitions.ts, row by row, on plain records; real Kafka and ClickHouse are in test/flow and test/faults. */

interface Plain {
  offset: bigint;
  value: Buffer;
}
const records = (from: number, to: number): Plain[] => Array.from({ length: to - from + 1 }, (_, index) => ({ offset: BigInt(from + index), value: Buffer.from(`v${from + index}`) }));

interface Scene {
  journal: string[];
  committed: { offset: bigint | null; metadata: string };
  highest: bigint | null;
  fail: (request: StoreRequest<Plain>) => void;
}

function scene(committed: Scene['committed'] = { offset: null, metadata: '' }, highest: bigint | null = null, newEpoch = () => ''): Scene & { handle: (batch: Plain[], session?: AbortController, endOffset?: bigint) => Promise<bigint> } {
  const state: Scene = { journal: [], committed, highest, fail: () => undefined };
  const partitions = createPartitions<Plain>({
    maxRows: 3,
    maxBytes: 1_000,
    retryDelaysMs: [1],
    newEpoch,
    log: testLog(),
    highestStored: async () => {
      state.journal.push('ask for the highest stored');
      return state.highest;
    },
    store: async request => {
      state.journal.push(`store ${request.records[0]?.offset}-${request.records.at(-1)?.offset}${request.replay ? ' replay' : ''} under ${request.token}`);
      state.fail(request);
    },
  });
  const firstSession = new AbortController();
  return Object.assign(state, {
    handle: (batch: Plain[], session = firstSession, endOffset?: bigint) => {
      const incoming: IncomingBatch<Plain> = {
        topic: 't', partition: 0, records: batch, endOffset: endOffset ?? (batch.at(-1)?.offset ?? 0n) + 1n, session: session,
        committed: async () => state.committed,
        commit: async (offset, metadata) => {
          session.signal.throwIfAborted();
          state.journal.push((JSON.parse(metadata) as { settled?: number }).settled === 1 ? `commit ${offset}` : `commit ${offset} with plan`);
          state.committed = { offset, metadata };
        },
      };
      return partitions(incoming);
    },
  });
}

const token = (batch: Plain[]): string => {
  const plan = planOf(batch);
  return `t/0/${plan.first}-${plan.last}/${plan.hash}`;
};

test('Idle: the plan is committed before the insert, done and the next plan in one commit', async () => {
  const run = scene();
  assert.equal(await run.handle(records(0, 4)), 5n);
  assert.deepEqual(run.journal, [
    'ask for the highest stored',
    'commit 0 with plan', `store 0-2 under ${token(records(0, 2))}`,
    'commit 3 with plan', `store 3-4 under ${token(records(3, 4))}`,
    'commit 5',
  ]);
});

test('tokens are new ones where somebody else has set the offset, and stay through sinks’ own commits', async () => {
  let epochs = 0;
  const run = scene({ offset: 0n, metadata: '' }, null, () => `e${++epochs}`);
  await run.handle(records(0, 1));
  await run.handle(records(2, 3), new AbortController());
  // Died with a plan committed: the replay has the plan's token.
  run.committed = { offset: 4n, metadata: encodePlan(planOf(records(4, 5), 'e1')) };
  await run.handle(records(4, 5), new AbortController());
  // Set back by hand, then by a tool that keeps the metadata.
  run.committed = { offset: 0n, metadata: '' };
  await run.handle(records(0, 1), new AbortController());
  run.committed = { ...run.committed, offset: 0n };
  await run.handle(records(0, 1), new AbortController());
  assert.deepEqual(run.journal.filter(line => line.startsWith('store')), [
    `store 0-1 under ${token(records(0, 1))}/e1`,
    `store 2-3 under ${token(records(2, 3))}/e1`,
    `store 4-5 replay under ${token(records(4, 5))}/e1`,
    `store 0-1 under ${token(records(0, 1))}/e2`,
    `store 0-1 under ${token(records(0, 1))}/e3`,
  ]);
});

test('control records at the end of a batch are passed with it', async () => {
  const run = scene();
  assert.equal(await run.handle(records(0, 1), undefined, 9n), 9n);
  assert.equal(run.journal.at(-1), 'commit 9');
});

test('Replay: same boundaries and token, then on with what is new', async () => {
  const run = scene({ offset: 10n, metadata: encodePlan(planOf(records(10, 11))) }, 9n);
  await run.handle(records(10, 14));
  assert.deepEqual(run.journal, [
    `store 10-11 replay under ${token(records(10, 11))}`,
    'commit 12 with plan', `store 12-14 under ${token(records(12, 14))}`,
    'commit 15',
  ]);
});

test('Replay of a plan that is the whole batch: only done is left to say', async () => {
  const run = scene({ offset: 10n, metadata: encodePlan(planOf(records(10, 12))) }, 9n);
  await run.handle(records(10, 12));
  assert.deepEqual(run.journal, [`store 10-12 replay under ${token(records(10, 12))}`, 'commit 13']);
});

test('Replay, and the fetch brought less than the plan: nothing is passed, it is fetched again', async () => {
  const run = scene({ offset: 10n, metadata: encodePlan(planOf(records(10, 12))) }, 9n);
  assert.equal(await run.handle(records(10, 11)), 10n);
  assert.deepEqual(run.journal, []);
  await run.handle(records(10, 12));
  assert.deepEqual(run.journal, [`store 10-12 replay under ${token(records(10, 12))}`, 'commit 13']);
});

test('Replay, and the records have changed: a new plan, stored as a replay, as is all up to the old plan’s end', async () => {
  const run = scene({ offset: 10n, metadata: encodePlan(planOf(records(10, 14))) }, 9n);
  const compacted = records(10, 20).filter(({ offset }) => offset !== 11n);
  await run.handle(compacted);
  assert.deepEqual(run.journal.filter(line => line.startsWith('store')).map(line => line.split(' under')[0]), ['store 10-13 replay', 'store 14-16 replay', 'store 17-19', 'store 20-20']);
  assert.equal(run.journal[0], 'commit 10 with plan');
});

test('Replay that is still short after three fetches gives way to a new plan', async () => {
  const run = scene({ offset: 10n, metadata: encodePlan(planOf(records(10, 12))) }, null);
  for (let fetch = 0; fetch < 3; fetch++) assert.equal(await run.handle(records(10, 11)), 10n);
  assert.equal(await run.handle(records(10, 11)), 12n);
  assert.deepEqual(run.journal.map(line => line.split(' under')[0]), ['commit 10 with plan', 'store 10-11 replay', 'commit 12']);
});

test('a group that was set back: replays until it is past what is stored', async () => {
  const run = scene({ offset: 0n, metadata: '' }, 4n);
  await run.handle(records(0, 8));
  assert.deepEqual(run.journal.filter(line => line.startsWith('store')).map(line => line.split(' under')[0]), ['store 0-2 replay', 'store 3-5 replay', 'store 6-8']);
});

test('a group that was set back by a tool that keeps the metadata: the same', async () => {
  for (const metadata of [settledMetadata(9n), encodePlan(planOf(records(9, 11)))]) {
    const run = scene({ offset: 0n, metadata }, 4n);
    await run.handle(records(0, 8));
    assert.deepEqual(run.journal.filter(line => line.startsWith('store')).map(line => line.split(' under')[0]), ['store 0-2 replay', 'store 3-5 replay', 'store 6-8']);
  }
});

test('who takes over after a group was set back knows from the commit how far it was stored', async () => {
  const run = scene({ offset: 0n, metadata: '' }, 4n);
  const session = new AbortController();
  let stores = 0;
  run.fail = () => {
    if (++stores < 2) return;
    session.abort(new Error('killed'));
    throw new Error('killed');
  };
  await assert.rejects(run.handle(records(0, 8), session));
  run.fail = () => undefined;
  run.journal.length = 0;
  await run.handle(records(3, 8), new AbortController());
  assert.deepEqual(run.journal.map(line => line.split(' under')[0]), ['store 3-5 replay', 'commit 6 with plan', 'store 6-8', 'commit 9']);
  // Nothing planned, and still behind what was stored.
  const idle = scene({ offset: 0n, metadata: '' }, 4n);
  await idle.handle(records(0, 1));
  idle.journal.length = 0;
  await idle.handle(records(2, 8), new AbortController());
  assert.deepEqual(idle.journal.map(line => line.split(' under')[0]), ['commit 2 with plan', 'store 2-4 replay', 'commit 5 with plan', 'store 5-7', 'commit 8 with plan', 'store 8-8', 'commit 9']);
});

test('after a commit of its own a sink does not ask what is stored', async () => {
  const run = scene({ offset: 3n, metadata: settledMetadata(3n) }, 99n);
  await run.handle(records(3, 4));
  assert.deepEqual(run.journal.map(line => line.split(' under')[0]), ['commit 3 with plan', 'store 3-4', 'commit 5']);
});

test('a store that fails is tried again as a replay, under the same token', async () => {
  const run = scene();
  let failures = 2;
  run.fail = () => {
    if (failures-- > 0) throw new Error('down');
  };
  await run.handle(records(0, 1));
  const mine = token(records(0, 1));
  assert.deepEqual(run.journal.slice(1), ['commit 0 with plan', `store 0-1 under ${mine}`, `store 0-1 replay under ${mine}`, `store 0-1 replay under ${mine}`, 'commit 2']);
});

test('a session that ends stops everything: no store, no commit; the next session replays the plan', async () => {
  const run = scene();
  const session = new AbortController();
  run.fail = () => {
    session.abort(new Error('lost'));
    throw new Error('down');
  };
  await assert.rejects(run.handle(records(0, 1), session), /down/);
  assert.deepEqual(run.journal.slice(1).map(line => line.split(' under')[0]), ['commit 0 with plan', 'store 0-1']);
  run.fail = () => undefined;
  await run.handle(records(0, 2), new AbortController());
  assert.deepEqual(run.journal.slice(3).map(line => line.split(' under')[0]), ['store 0-1 replay', 'commit 2 with plan', 'store 2-2', 'commit 3']);
});
