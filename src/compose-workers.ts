import cluster from 'node:cluster';
import type { Worker } from 'node:cluster';
import { registerSchema } from './compose-parts.ts';
import type { Deps, Role } from './compose-parts.ts';
import type { PlacedAt, PrimaryQuestions, WorkerFault, WorkerQuestions } from './compose-worker.ts';
import type { Config } from './config.ts';
import { watchConfig } from './config-watch.ts';
import { createRateLimiter } from './door/rate-limit.ts';
import { createRecentIds } from './door/recent-ids.ts';
import type { Endpoints } from './endpoints.ts';
import { MillraceError } from './errors.ts';
import { createMetricSum, createMetrics } from './metrics.ts';
import type { Snapshot } from './metrics.ts';
import { keepWorker } from './workers/keep-worker.ts';
import type { Forked } from './workers/keep-worker.ts';
import { createLink } from './workers/link.ts';
import type { Link } from './workers/link.ts';

/*
 * Several doors on one machine: this process takes the connections and hands them round, keeps the workers running, and owns what they
 * share. It serves no request itself.
 */

/** A worker that runs, as the primary knows it. */
interface Member {
  link: Link<WorkerQuestions>;
  /** Resolves when it hears questions. */
  hello: Promise<void>;
  hears: boolean;
  kill: () => void;
  /** Its last numbers. */
  snapshot: Snapshot;
}

/** How long a worker may take to serve, and to answer the primary, in ms. */
const startMs = 60_000;
const answerMs = 500;
const snapshotMs = 2_000;

/** Resolves when all serve. Throws what keeps the first one that fails from serving. */
export async function startWorkers(config: Config, endpoints: Endpoints, deps: Deps, readiness: () => Promise<Record<string, string>> = () => Promise.resolve({})): Promise<Role & { url: string }> {
  const { log, metrics = createMetrics() } = deps;
  const schemaId = await registerSchema(config, endpoints);
  const recent = createRecentIds();
  const limiter = createRateLimiter(() => performance.now());
  const members = new Set<Member>();
  const sum = createMetricSum();
  let current = config;
  metrics.enable('workers');
  metrics.beforeScrape(() => metrics.set('millrace_workers', {}, kept.filter(worker => worker.serving()).length));

  const others = (asking: Member): Member[] => [...members].filter(member => member !== asking);
  const findAmong = async (asked: readonly Member[], body: [string, string]): Promise<PlacedAt | null> => {
    const answers = await Promise.all(asked.map(({ link }) => link.ask('findRecent', body, answerMs).catch(silent)));
    return answers.find(answer => answer !== null) ?? null;
  };
  const exposition = async (): ReturnType<typeof sum.of> => {
    await Promise.all([...members].map(async member => {
      member.snapshot = (await member.link.ask('snapshot', null, snapshotMs).catch(silent)) ?? member.snapshot;
    }));
    return sum.of([await metrics.snapshot(), ...[...members].map(({ snapshot }) => snapshot)]);
  };

  /** Answers a worker until it ends; then its claims are the next one's. */
  const serve = (worker: Worker): Member => {
    const claims = new Map<number, (hash: string | null) => void>();
    let claimed = 0;
    let gone = false;
    let hear: () => void = () => undefined;
    const hello = new Promise<void>(resolve => (hear = resolve));
    const link: Link<WorkerQuestions> = createLink<WorkerQuestions, PrimaryQuestions>({ send: (message, done) => void worker.send(message as object, done), on: (event, listener) => void worker.on(event, listener) }, {
      hello() {
        member.hears = true;
        hear();
        return null;
      },
      async claim(id) {
        const claim = await recent.claim(id);
        if (claim.kind === 'known') return { hash: claim.hash };
        if (gone) claim.settle(null);
        else claims.set(++claimed, claim.settle);
        return { claim: claimed };
      },
      settle({ claim, hash }) {
        claims.get(claim)?.(hash);
        claims.delete(claim);
        return null;
      },
      takeRate: ([keyId, limit, events]) => limiter.take(keyId, limit, events),
      findRecent: body => findAmong(others(member), body),
      readiness,
      exposition,
      fatal(fault) {
        deps.onFatal(errorOf(fault));
        return null;
      },
    });
    const member: Member = { link, hello, hears: false, kill: () => void worker.process.kill('SIGKILL'), snapshot: [] };
    members.add(member);
    worker.once('exit', () => {
      gone = true;
      members.delete(member);
      link.close();
      for (const settle of claims.values()) settle(null);
      sum.gone(member.snapshot);
    });
    return member;
  };
  const fork = (number: number, again: boolean): Forked => {
    const worker = cluster.fork();
    const member = serve(worker);
    const { link, hello, kill } = member;
    return {
      pid: worker.process.pid,
      exited: new Promise(resolve => worker.once('exit', (code, signal) => resolve(signal === null || signal === '' ? `ended with exit code ${code}` : `was ended by ${signal}`))),
      async start() {
        const late = setTimeout(kill, startMs).unref();
        await hello;
        clearTimeout(late);
        const answer = await link.ask('start', { number, workers: config.workers, config: current, endpoints, schemaId, again }, startMs);
        if ('fault' in answer) throw errorOf(answer.fault);
        return answer.url;
      },
      // One that does not hear questions yet would not hear this either, and has nothing under way.
      close: () => (member.hears ? link.tell('close', null) : kill()),
      kill,
    };
  };

  // A worker that hangs does not see that its primary is gone.
  const killAll = (): void => members.forEach(({ kill }) => kill());
  process.once('exit', killAll);

  const kept = Array.from({ length: config.workers }, (_, index) => {
    let again = false;
    return keepWorker({
      number: index + 1,
      fork: () => fork(index + 1, again),
      onRestart() {
        again = true;
        metrics.count('millrace_worker_restarts_total', {});
      },
      onFailed: deps.onFatal,
      log,
    });
  });
  const watching = deps.reload === undefined ? null : watchConfig({
    path: config.configPath,
    files: config.configFiles,
    read: deps.reload,
    log,
    onConfig(next) {
      current = { ...next, workers: config.workers };
      for (const { link } of members) link.tell('configure', current);
    },
  });
  const close = async (): Promise<void> => {
    watching?.close();
    await Promise.all(kept.map(worker => worker.close()));
    process.off('exit', killAll);
  };
  try {
    const [url = ''] = await Promise.all(kept.map(worker => worker.start()));
    return { url, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Who does not answer in time has nothing to say. */
function silent(thrown: unknown): null {
  if (thrown instanceof MillraceError) return null;
  throw thrown;
}

function errorOf({ code, message, hint }: WorkerFault): MillraceError {
  return new MillraceError(code, message, hint === null ? {} : { hint });
}
