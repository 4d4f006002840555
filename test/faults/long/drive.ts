import { mkdtemp, mkdir, rm, writeFile, cp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { endpointsOf, provision } from '../../../src/compose.ts';
import type { Config } from '../../../src/config.ts';
import { createEventAvro } from '../../../src/contract/event-avro.ts';
import { createRegistry } from '../../../src/contract/registry.ts';
import { createLog } from '../../../src/telemetry.ts';
import { packageRoot, startTestStack } from '../../helpers/local.ts';
import { freshConfigOn } from '../../helpers/shared-stack.ts';
import { bundleSink } from '../../helpers/spawn-sink.ts';
import { queryClient } from '../../helpers/system.ts';
import { planFaults } from './faults.ts';
import type { Fault } from './faults.ts';
import { startFleet } from './fleet.ts';
import type { Slot } from './fleet.ts';
import { createRandom } from './random.ts';
import { insist, kafkaOf, lagOf } from './scene.ts';
import type { Scene } from './scene.ts';
import { startTraffic } from './traffic.ts';
import type { TrafficCounts } from './traffic.ts';
import { doubleText, readTopic, verify } from './verify.ts';
import type { Findings } from './verify.ts';

export interface DriveOptions {
  seed: number;
  form: 'short' | 'long';
  /** kill -9 of a sink, at least so many. */
  kills: number;
  /** The faults are spread over so long, and at most half as long again; what comes after (settling, comparing) is not in it. */
  faultsMs: number;
  sinks: number;
  partitions: number;
  /** Records a second. */
  rate: number;
  /** How long ids stored by two sinks at the same moment may take to be repaired; 0: they are counted as they are. */
  reconcileMs: number;
  /** How often the sinks look for them; default the product's. */
  reconcileEveryMs?: number;
  /** Ids stored twice by two sinks at the same moment are a fault too. */
  strict: boolean;
  lateMs: number;
  say: (line: string) => void;
  /** Ends the run: everything is stopped, and it rejects. */
  signal?: AbortSignal;
}

export interface RunResult {
  seed: number;
  injected: Map<string, number>;
  findings: Findings;
  /** Ids that stood in `events` from two places when nothing was left to do, before the wait for the reconciliation. */
  doublesAtFirst: number;
  traffic: TrafficCounts;
  sinkStarts: number;
  gaveUp: number;
  seconds: number;
  /** Records. */
  maxLag: number;
  /** The longest time in which nothing was committed though there was something to do. */
  longestStandstillSeconds: number;
  /** From the last fault until nothing was left to do. */
  catchUpSeconds: number;
  /** What was wrong; empty when all is well. */
  wrong: string[];
  /** Logs of every process and the list of what was injected; removed when all is well. */
  folder: string;
}

/** Records that the sinks may have before them until the traffic waits: on a busy machine a backlog would else outgrow what the time allows to store. */
const maxBacklog = 15_000;

/** The whole run: a stack of its own, sinks, traffic, faults; then quiet, and the comparison. */
export async function drive(options: DriveOptions): Promise<RunResult> {
  const { seed, form, say } = options;
  const began = performance.now();
  const folder = await mkdtemp(join(tmpdir(), `millrace-faults-${seed}-`));
  const diary: string[] = [];
  const note = (line: string): void => {
    const text = `${((performance.now() - began) / 1_000).toFixed(2)} ${line}`;
    diary.push(text);
    say(text);
  };
  const random = createRandom(seed);
  const stackDir = join(folder, 'stack');
  await mkdir(stackDir);
  const fatal: string[] = [];
  const sink = await bundleSink();
  const stack = await startTestStack(['kafka', 'registry', 'clickhouse'], { dataDir: stackDir, log: createLog('silent'), ...(options.signal && { signal: options.signal }), onFatal: error => void fatal.push(error.message) });
  note('the stack is up');
  const base = freshConfigOn({ kafkaBrokers: stack.kafkaBrokers ?? '', registryUrl: stack.registryUrl ?? '', clickhouseUrl: stack.clickhouseUrl ?? '' }, { sessionTimeoutMs: 4_000 });
  const config = { ...base, topic: { ...base.topic, partitions: options.partitions } };
  const ends: (() => Promise<void>)[] = [sink.remove, () => stack.close()];
  try {
    const endpoints = endpointsOf(config, null);
    await provision(config, endpoints, createLog('silent'));
    const avro = createEventAvro(join(packageRoot, 'schemas', 'events', 'event.v1.avsc'));
    const schemaId = await createRegistry({ url: endpoints.registry.url, timeoutMs: 10_000 }).register(`${config.topic.events}-value`, avro.schemaText);
    const watch = watchLag(config);
    ends.push(watch.close);
    const traffic = await startTraffic({ brokers: config.kafka.brokers ?? [], topic: config.topic.events, partitions: options.partitions, avro, schemaId, random: random.fork(), rate: options.rate, enough: () => watch.lag() > maxBacklog });
    let finished = false;
    const finishTraffic = async (): Promise<void> => {
      if (!finished) await traffic.finish();
      finished = true;
    };
    ends.push(finishTraffic);
    const fleet = await startFleet(config, options.sinks, folder, sink.file);
    ends.push(() => fleet.close());
    const scene: Scene = { stack, config, fleet, traffic, random: random.fork(), partitions: options.partitions, lateMs: options.lateMs, injected: new Map(), say: note };
    await untilUp(scene);
    const leftOut = await inject(scene, planFaults({ random: random.fork() }, form, options.kills), options);
    note('the last fault');
    await finishTraffic();
    await untilUp(scene);
    const quietAt = performance.now();
    const clickhouse = queryClient(config);
    ends.push(() => clickhouse.close());
    const wrong = [...fatal];
    const kills = killsOf(scene);
    if (form === 'long' && kills < options.kills) wrong.push(`only ${kills} of ${options.kills} kills came about: this machine is too slow or too busy for them in the time given`);
    if (leftOut > 0) note(`${leftOut} faults were left out for lack of time`);
    await untilSettled(scene, 180_000).catch((error: unknown) => wrong.push(String(error)));
    const catchUpSeconds = (performance.now() - quietAt) / 1_000;
    note('nothing is left to do');
    // Requests that were held may still be on their way.
    if (scene.injected.has('a request held, and delivered late')) await sleep(form === 'long' ? options.lateMs : 1_000);
    const truth = await readTopic(config);
    let findings = await verify(config, clickhouse, truth, traffic.acknowledged);
    const repairedBy = performance.now() + options.reconcileMs;
    const first = findings.doubles.length;
    // A late insert leaves a row beside an outcome for a while, too.
    while (findings.doubles.length + findings.faults.length > 0 && performance.now() < repairedBy) {
      await sleep(2_000);
      findings = await verify(config, clickhouse, truth, traffic.acknowledged);
    }
    note(`compared: ${findings.faults.length} faults, ${findings.doubles.length} doubles of ${first}`);
    wrong.push(...findings.faults);
    if (options.strict) wrong.push(...findings.doubles.map(double => `twice, from two partitions: ${doubleText(double)}`));
    await writeFile(join(folder, 'findings.json'), JSON.stringify(findings, null, 1));
    const { maxLag, longestStandstillSeconds } = watch.found();
    return {
      seed, injected: scene.injected, findings, doublesAtFirst: first, traffic: traffic.counts, sinkStarts: fleet.counts.starts, gaveUp: fleet.counts.gaveUp,
      seconds: (performance.now() - began) / 1_000, maxLag, longestStandstillSeconds, catchUpSeconds, wrong, folder,
    };
  } finally {
    // In the reverse order; one that fails keeps none of the others from ending.
    const failed: unknown[] = [];
    for (const end of ends.reverse()) await end().catch((error: unknown) => failed.push(error));
    for (const error of failed) note(`while closing: ${String(error)}`);
    await cp(join(stackDir, 'logs'), join(folder, 'stack-logs'), { recursive: true, force: true }).catch(() => undefined);
    await rm(stackDir, { recursive: true, force: true });
    await writeFile(join(folder, 'diary.txt'), `seed ${seed}\n${diary.join('\n')}\n`);
  }
}

function killsOf({ injected }: Scene): number {
  return [...injected].reduce((sum, [name, times]) => (name.startsWith('kill -9') ? sum + times : sum), 0);
}

/** Lets the faults come, evenly spread; each when what it needs is free. Answers how many were left out when time was up. */
async function inject(scene: Scene, plan: Fault[], options: DriveOptions): Promise<number> {
  const beganMs = performance.now();
  const late = (): boolean => performance.now() - beganMs > 1.5 * options.faultsMs;
  let leftOut = 0;
  const busy = new Set<Slot>();
  let stackBusy = false;
  const running = new Set<Promise<void>>();
  const errors: unknown[] = [];
  const run = (work: Promise<void>, free: () => void): void => {
    const done: Promise<void> = work.catch((error: unknown) => void errors.push(error)).finally(() => {
      free();
      running.delete(done);
    });
    running.add(done);
  };
  const one = async (fault: Fault): Promise<void> => {
    if (fault.needs === 'sink') {
      const free = (): Slot | undefined => {
        const idle = scene.random.shuffled(scene.fleet.slots).filter(slot => !busy.has(slot) && slot.state() !== 'held');
        return idle.find(slot => slot.state() === 'up') ?? idle[0];
      };
      let slot = free();
      for (; slot === undefined; slot = free()) await sleep(20);
      const taken = slot;
      busy.add(taken);
      run(fault.inject(scene, taken), () => busy.delete(taken));
      return;
    }
    while (stackBusy) await sleep(20);
    if (fault.needs === 'all') await Promise.all(running);
    stackBusy = true;
    run(fault.inject(scene), () => (stackBusy = false));
    if (fault.needs === 'all') await Promise.all(running);
  };
  for (const [index, fault] of plan.entries()) {
    options.signal?.throwIfAborted();
    if (late()) {
      leftOut = plan.length - index;
      break;
    }
    const dueMs = beganMs + (index / plan.length) * options.faultsMs;
    await sleep(Math.max(50, dueMs - performance.now()));
    await one(fault);
  }
  // Some found nobody to kill.
  const any = planFaults(scene, 'short', 4).filter(({ needs }) => needs === 'sink')[0];
  while (any !== undefined && !late() && killsOf(scene) + busy.size < options.kills) await one(any);
  await Promise.all(running);
  if (errors.length > 0) throw new AggregateError(errors, `the harness failed: ${errors.map(String).join('; ')}`);
  return leftOut;
}

async function untilUp({ fleet, stack, say }: Scene): Promise<void> {
  for (const slot of fleet.slots) {
    slot.ambush(null);
    slot.signal('SIGCONT');
    slot.release();
  }
  const deadline = Date.now() + 90_000;
  while (fleet.slots.some(slot => slot.state() !== 'up') || stack.parts().some(({ state }) => state !== 'ready')) {
    if (Date.now() > deadline) throw new Error(`not up: ${fleet.slots.map(slot => slot.state()).join()}, ${stack.parts().map(({ name, state }) => `${name} ${state}`).join()}`);
    await sleep(50);
  }
  say('all is up');
}

async function untilSettled(scene: Scene, timeoutMs: number): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const { records } = await insist(scene.config, admin => lagOf(scene.config, admin));
    if (records === 0) return;
    if (Date.now() > deadline) throw new Error(`${records} records were not settled within ${timeoutMs / 1_000} s`);
    await sleep(300);
  }
}

/** Asks every second how far the sinks are behind, where Kafka answers. */
function watchLag(config: Config): { lag: () => number; found: () => { maxLag: number; longestStandstillSeconds: number }; close: () => Promise<void> } {
  let lag = 0;
  let maxLag = 0;
  let longestMs = 0;
  let committedBefore = -1;
  let movedAt = performance.now();
  let closing = false;
  const admin = kafkaOf(config).admin();
  const loop = (async () => {
    let connected = false;
    while (!closing) {
      try {
        if (!connected) await admin.connect();
        connected = true;
        const { records, committed } = await lagOf(config, admin);
        lag = records;
        maxLag = Math.max(maxLag, records);
        // A group that was set back has moved too.
        if (committed !== committedBefore || records === 0) movedAt = performance.now();
        committedBefore = committed;
      } catch {
        connected = false;
      }
      longestMs = Math.max(longestMs, performance.now() - movedAt);
      await sleep(1_000);
    }
    await admin.disconnect().catch(() => undefined);
  })();
  return {
    lag: () => lag,
    found: () => ({ maxLag, longestStandstillSeconds: longestMs / 1_000 }),
    async close() {
      closing = true;
      await loop;
    },
  };
}
