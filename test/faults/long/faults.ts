import { setTimeout as sleep } from 'node:timers/promises';
import type { Verdict } from '../../helpers/http-proxy.ts';
import type { Slot } from './fleet.ts';
import { count, insist, restartPart } from './scene.ts';
import type { Scene } from './scene.ts';

/** One thing that goes wrong. It needs a sink, a part of the stack, or everything for itself while it lasts. */
export type Fault =
  | { needs: 'sink'; inject: (scene: Scene, slot: Slot) => Promise<void> }
  | { needs: 'stack' | 'all'; inject: (scene: Scene) => Promise<void> };

const insertEvents = /^INSERT INTO events\b/;
const insertOutcomes = /^INSERT INTO outcomes\b/;
const insertLetters = /^INSERT INTO dead_letters\b/;
const lookUp = /^SELECT[^]*\bFROM event_ids\b/;

type When = 'before' | 'cut' | 'lost' | 'after';

/**
 * The steps of a sink that can be told apart on its way to ClickHouse. A plan's commit comes right before a look-up, and
 * right after the outcomes (or, without any, the insert): kills some milliseconds after those fall around it.
 */
const steps: { name: string; statement: RegExp; when: When; maxDelayMs: number }[] = [
  { name: 'after the plan, before the look-up', statement: lookUp, when: 'before', maxDelayMs: 0 },
  { name: 'after the look-up', statement: lookUp, when: 'after', maxDelayMs: 4 },
  { name: 'before the insert', statement: insertEvents, when: 'before', maxDelayMs: 0 },
  { name: 'in the middle of the insert’s body', statement: insertEvents, when: 'cut', maxDelayMs: 0 },
  { name: 'while ClickHouse inserts', statement: insertEvents, when: 'before', maxDelayMs: 25 },
  { name: 'after the insert, its answer lost', statement: insertEvents, when: 'lost', maxDelayMs: 0 },
  { name: 'after the insert’s answer', statement: insertEvents, when: 'after', maxDelayMs: 15 },
  { name: 'before the outcomes', statement: insertOutcomes, when: 'before', maxDelayMs: 0 },
  { name: 'after the outcomes, their answer lost', statement: insertOutcomes, when: 'lost', maxDelayMs: 0 },
  { name: 'after the outcomes, around the next commit', statement: insertOutcomes, when: 'after', maxDelayMs: 12 },
  { name: 'around the insert of dead letters', statement: insertLetters, when: 'lost', maxDelayMs: 0 },
];

/** How long a step is waited for, in a sink that runs. */
const patienceMs = 8_000;

async function untilRunning(slot: Slot): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (slot.state() !== 'up' && Date.now() < deadline) await sleep(20);
}

/** Kills when the step comes; where it does not come in time, at once. */
function killAtStep(step: (typeof steps)[number]): Fault {
  return {
    needs: 'sink',
    async inject(scene, slot) {
      const delayMs = scene.random.int(0, step.maxDelayMs);
      await untilRunning(slot);
      let strike = (): void => undefined;
      const struck = new Promise<true>(resolve => (strike = () => resolve(true)));
      const kill = async (): Promise<void> => {
        if (delayMs > 0) await sleep(delayMs);
        await slot.kill();
        strike();
      };
      const verdicts: Record<When, Verdict> = { before: step.maxDelayMs > 0 ? 'pass' : 'refuse', cut: 'cut', lost: 'lose', after: 'pass' };
      const early = step.when === 'before' || step.when === 'cut';
      slot.ambush({
        statement: step.statement,
        judge() {
          if (early) void kill();
          return verdicts[step.when];
        },
        answered() {
          if (early) return undefined;
          const done = kill();
          return step.when === 'lost' ? done : undefined;
        },
      });
      const came = await Promise.race([struck, sleep(patienceMs, false)]);
      slot.ambush(null);
      if (came) count(scene, `kill -9 of a sink ${step.name}`);
      else if (await slot.kill()) count(scene, 'kill -9 of a sink at any moment');
    },
  };
}

const killAnyTime: Fault = {
  needs: 'sink',
  async inject(scene, slot) {
    await sleep(scene.random.int(0, 3_000));
    if (await slot.kill()) count(scene, 'kill -9 of a sink at any moment');
  },
};

const zombie: Fault = {
  needs: 'sink',
  async inject(scene, slot) {
    if (!slot.signal('SIGSTOP')) return;
    count(scene, 'a sink stopped past its session, then continued');
    await sleep(scene.config.sessionTimeoutMs + scene.random.int(500, 3_000));
    slot.signal('SIGCONT');
  },
};

/** The sink stands still, its insert is on the way, and lands when another has taken over. */
const zombieInsert: Fault = {
  needs: 'sink',
  async inject(scene, slot) {
    let strike = (): void => undefined;
    const struck = new Promise<true>(resolve => (strike = () => resolve(true)));
    const stillMs = scene.config.sessionTimeoutMs + scene.random.int(2_000, 4_000);
    await untilRunning(slot);
    slot.ambush({
      statement: insertEvents,
      async judge(): Promise<Verdict> {
        slot.signal('SIGSTOP');
        strike();
        await sleep(stillMs);
        return 'pass';
      },
      answered: () => void slot.signal('SIGCONT'),
    });
    if (await Promise.race([struck, sleep(patienceMs, false)])) {
      count(scene, 'a sink stopped past its session, its insert landing after that');
      await sleep(stillMs + 1_000);
    }
    slot.ambush(null);
    slot.signal('SIGCONT');
  },
};

/** A fault of the network on the way to ClickHouse, for one statement; the sink lives. */
function network(name: string, verdict: Verdict, holdMs: (scene: Scene) => number): Fault {
  return {
    needs: 'sink',
    async inject(scene, slot) {
      const statement = scene.random.pick([insertEvents, insertEvents, insertOutcomes, lookUp]);
      let strike = (): void => undefined;
      const struck = new Promise<true>(resolve => (strike = () => resolve(true)));
      const ms = holdMs(scene);
      await untilRunning(slot);
      slot.ambush({
        statement,
        async judge(): Promise<Verdict> {
          strike();
          if (ms > 0) await sleep(ms);
          return verdict;
        },
      });
      if (await Promise.race([struck, sleep(patienceMs, false)])) count(scene, name);
      else slot.ambush(null);
    },
  };
}

const killAll: Fault = {
  needs: 'all',
  async inject(scene) {
    for (const killed of await Promise.all(scene.fleet.slots.map(slot => slot.kill()))) if (killed) count(scene, 'kill -9 of all sinks at once');
  },
};

const rolling: Fault = {
  needs: 'all',
  async inject(scene) {
    for (const slot of scene.fleet.slots) {
      await slot.restart();
      const deadline = Date.now() + 20_000;
      while (slot.state() !== 'up' && Date.now() < deadline) await sleep(50);
    }
    count(scene, 'all sinks restarted in turn, in order');
  },
};

const setBack: Fault = {
  needs: 'all',
  async inject(scene) {
    const { config, random } = scene;
    await Promise.all(scene.fleet.slots.map(slot => slot.hold()));
    try {
      const toStart = random.chance(0.3);
      await insist(config, async admin => {
        const [group] = await admin.fetchOffsets({ groupId: config.consumerGroup, topics: [config.topic.events] });
        const partitions = (group?.partitions ?? []).filter(({ offset }) => Number(offset) > 0).map(({ partition, offset }) => ({ partition, offset: String(toStart ? 0 : random.int(0, Number(offset))) }));
        if (partitions.length > 0) await admin.setOffsets({ groupId: config.consumerGroup, topic: config.topic.events, partitions });
      });
      count(scene, 'the group set back');
    } finally {
      for (const slot of scene.fleet.slots) slot.release();
    }
  },
};

const morePartitions: Fault = {
  needs: 'stack',
  async inject(scene) {
    const next = scene.partitions + 1;
    await insist(scene.config, async admin => {
      const { topics } = await admin.fetchTopicMetadata({ topics: [scene.config.topic.events] });
      if ((topics[0]?.partitions.length ?? 0) >= next) return;
      await admin.createPartitions({ topicPartitions: [{ topic: scene.config.topic.events, count: next }] });
    });
    scene.partitions = next;
    scene.traffic.partitionsAre(next);
    count(scene, 'a partition added');
  },
};

function part(name: string, which: 'kafka' | 'registry' | 'clickhouse', signal: 'SIGKILL' | 'SIGTERM'): Fault {
  return {
    needs: 'stack',
    async inject(scene) {
      count(scene, name);
      await restartPart(scene, which, signal);
    },
  };
}

const hang: Fault = {
  needs: 'stack',
  async inject(scene) {
    const pid = scene.stack.parts().find(({ name }) => name === 'clickhouse')?.pid;
    if (pid === undefined) return;
    process.kill(pid, 'SIGSTOP');
    count(scene, 'ClickHouse standing still for seconds');
    await sleep(scene.random.int(2_000, 6_000));
    process.kill(pid, 'SIGCONT');
  },
};

const others: { fault: Fault; short: number; long: number }[] = [
  { fault: zombie, short: 1, long: 8 },
  { fault: zombieInsert, short: 1, long: 8 },
  { fault: network('ClickHouse’s answer lost', 'lose', () => 0), short: 1, long: 12 },
  { fault: network('the connection to ClickHouse cut in mid-body', 'cut', () => 0), short: 1, long: 12 },
  { fault: network('the connection to ClickHouse refused', 'refuse', () => 0), short: 1, long: 8 },
  { fault: network('ClickHouse’s answer slow', 'pass', scene => scene.random.int(200, 2_500)), short: 1, long: 12 },
  { fault: network('a request held, and delivered late', 'pass', scene => scene.lateMs + scene.random.int(0, 3_000)), short: 1, long: 6 },
  { fault: killAll, short: 0, long: 3 },
  { fault: rolling, short: 1, long: 2 },
  { fault: setBack, short: 1, long: 3 },
  { fault: morePartitions, short: 1, long: 2 },
  { fault: part('Kafka killed', 'kafka', 'SIGKILL'), short: 1, long: 2 },
  { fault: part('Kafka stopped and started', 'kafka', 'SIGTERM'), short: 0, long: 2 },
  { fault: part('ClickHouse killed', 'clickhouse', 'SIGKILL'), short: 1, long: 3 },
  { fault: part('ClickHouse stopped and started', 'clickhouse', 'SIGTERM'), short: 0, long: 2 },
  { fault: part('the registry killed', 'registry', 'SIGKILL'), short: 0, long: 1 },
  { fault: hang, short: 1, long: 4 },
];

/** The faults of a run, in a shuffled order. Three of four kills wait for a step, each step in turn. */
export function planFaults(scene: Pick<Scene, 'random'>, form: 'short' | 'long', kills: number): Fault[] {
  const turn = scene.random.shuffled(steps);
  const plan: Fault[] = [];
  for (let n = 0; n < kills; n++) {
    const step = turn[n % turn.length];
    plan.push(n % 4 === 3 || step === undefined ? killAnyTime : killAtStep(step));
  }
  for (const other of others) for (let n = 0; n < other[form]; n++) plan.push(other.fault);
  return scene.random.shuffled(plan);
}
