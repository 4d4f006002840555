import cluster from 'node:cluster';
import { startDoor } from './compose.ts';
import type { Config } from './config.ts';
import type { Machine } from './door/machine.ts';
import { createRateLimiter } from './door/rate-limit.ts';
import type { RateLimit, RateState } from './door/rate-limit.ts';
import { createRecentPlaces } from './door/recent-places.ts';
import type { Published } from './door/recent-places.ts';
import type { Endpoints } from './endpoints.ts';
import { MillraceError, asError } from './errors.ts';
import type { ErrorCode } from './errors.ts';
import { createMetrics } from './metrics.ts';
import type { Exposition, Snapshot } from './metrics.ts';
import { createLog } from './telemetry.ts';
import { createLink } from './workers/link.ts';

/* One of several doors of a machine (compose-workers.ts has the primary's side, docs/adr/0007-workers.md says why it is so). */

export type PlacedAt = Omit<Published, 'place'> & { place: { topic: string; partition: number; offset: string } };
export interface WorkerFault {
  code: ErrorCode;
  message: string;
  hint: string | null;
}
/** A claim that is the worker's has a number, by which it is settled. */
export type ClaimAnswer = { hash: string } | { claim: number };

/** What a worker asks the primary. */
export type PrimaryQuestions = {
  /** It hears questions: what is sent to a worker before that is lost. */
  hello: { body: null; answer: null };
  claim: { body: string; answer: ClaimAnswer };
  settle: { body: { claim: number; hash: string | null }; answer: null };
  takeRate: { body: [keyId: string, limit: RateLimit, events: number]; answer: RateState };
  /** Of the other workers. */
  findRecent: { body: [tenant: string, eventId: string]; answer: PlacedAt | null };
  readiness: { body: null; answer: Record<string, string> };
  /** Of all processes together. */
  exposition: { body: null; answer: Exposition };
  fatal: { body: WorkerFault; answer: null };
};

/** What the primary asks a worker. */
export type WorkerQuestions = {
  start: { body: WorkerStart; answer: { url: string } | { fault: WorkerFault } };
  /** The changed configuration. */
  configure: { body: Config; answer: null };
  findRecent: { body: [tenant: string, eventId: string]; answer: PlacedAt | null };
  snapshot: { body: null; answer: Snapshot };
  close: { body: null; answer: null };
};

export interface WorkerStart {
  /** From 1, of so many. */
  number: number;
  workers: number;
  config: Config;
  endpoints: Endpoints;
  schemaId: number;
  /** One like it has served before: it need not wait for Kafka. */
  again: boolean;
}

/** How long a worker waits for the primary, in ms; after that it does what a door that is the only one would do. */
const claimMs = 2_000;
const answerMs = 1_000;
const scrapeMs = 5_000;

/** Whether this process is a worker that a primary has forked. */
export const isWorker = (): boolean => cluster.isWorker;

/** The life of a worker; it ends when the primary says so, or is gone. */
export function runWorker(): void {
  let closeDoor: (() => Promise<void>) | null = null;
  let closing = false;
  let onConfig: (next: Config) => void = () => undefined;
  const places: { current: ReturnType<typeof createRecentPlaces> | null } = { current: null };
  const metrics = createMetrics();
  // A Ctrl-C reaches the whole group of processes: the primary says when it is time.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

  const findOwn = async (tenant: string, eventId: string): Promise<PlacedAt | null> => {
    const found = (await places.current?.find(tenant, eventId)) ?? null;
    return found && { ...found, place: { ...found.place, offset: String(found.place.offset) } };
  };
  const link = createLink<PrimaryQuestions, WorkerQuestions>(
    { send: (message, done) => void process.send?.(message, undefined, undefined, done), on: (event, listener) => void process.on(event, listener) },
    {
      start: body => start(body).catch((thrown: unknown) => ({ fault: faultOf(asError(thrown)) })),
      configure: next => {
        onConfig(next);
        return null;
      },
      findRecent: ([tenant, eventId]) => findOwn(tenant, eventId),
      snapshot: () => metrics.snapshot(),
      close: async () => {
        closing = true;
        await closeDoor?.();
        process.exit(0);
      },
    },
  );

  link.tell('hello', null);

  const machineOf = (workers: number): Machine => {
    const now = (): number => performance.now();
    const own = createRateLimiter(now, workers);
    const recent = createRecentPlaces(Math.ceil(65_536 / workers));
    places.current = recent;
    return {
      workers,
      notePlaces: recent.note,
      recent: {
        async claim(id) {
          try {
            // One that comes too late is given back, or others would wait for it.
            const answer = await link.ask('claim', id, claimMs, late => {
              if ('claim' in late) link.tell('settle', { claim: late.claim, hash: null });
            });
            if ('hash' in answer) return { kind: 'known', hash: answer.hash };
            return { kind: 'yours', settle: hash => link.tell('settle', { claim: answer.claim, hash }) };
          } catch (thrown) {
            if (!(thrown instanceof MillraceError)) throw thrown;
            return { kind: 'yours', settle: () => undefined };
          }
        },
      },
      async takeRate(...asked) {
        try {
          return await link.ask('takeRate', asked, answerMs);
        } catch (thrown) {
          if (!(thrown instanceof MillraceError)) throw thrown;
          return own.take(...asked);
        }
      },
      async findRecent(tenant, eventId) {
        const found = (await findOwn(tenant, eventId)) ?? (await link.ask('findRecent', [tenant, eventId], answerMs));
        return found && { ...found, place: { ...found.place, offset: BigInt(found.place.offset) } };
      },
    };
  };
  const start = async ({ number, workers, config, endpoints, schemaId, again }: WorkerStart): Promise<{ url: string }> => {
    const log = createLog(config.logLevel).child({ worker: number });
    const deps = { log, metrics, onFatal: (error: MillraceError) => link.tell('fatal', faultOf(error)) };
    const readiness = async (): Promise<Record<string, string>> => {
      const ofPrimary = await link.ask('readiness', null, answerMs).catch((thrown: unknown) => ({ primary: asError(thrown).message }));
      return { worker: `${number} of ${workers}`, ...ofPrimary };
    };
    const door = await startDoor(config, endpoints, deps, {
      machine: machineOf(workers),
      schemaId,
      readiness,
      waitForKafka: !again,
      exposition: () => link.ask('exposition', null, scrapeMs),
      follow: listener => void (onConfig = listener),
    });
    closeDoor = () => door.close();
    // It was told to end before it served.
    if (closing) {
      await door.close();
      process.exit(0);
    }
    return { url: door.url };
  };
}

function faultOf(error: Error): WorkerFault {
  return error instanceof MillraceError ? { code: error.code, message: error.message, hint: error.hint ?? null } : { code: 'internal', message: error.message, hint: null };
}
