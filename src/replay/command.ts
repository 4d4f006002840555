import { asError } from '../errors.ts';
import type { ReplayOptions } from './options.ts';
import { countsText, planText, progressText } from './report.ts';

/** Where the command speaks. */
export interface ReplayTerminal {
  write: (text: string) => void;
  /** A line that the next one writes over. */
  progress: (line: string) => void;
  /** Between two such lines. Default 3,000. */
  progressEveryMs?: number;
  /** Asks a yes-or-no question; null where nobody is there to answer. */
  ask: ((question: string) => Promise<boolean>) | null;
}

/** Records of one partition, `to` not among them. */
export interface ReplayRange {
  topic: string;
  partition: number;
  from: bigint;
  to: bigint;
}

/** What records came to. */
export interface ReplayCounts {
  read: number;
  /** Rows that were missing, or made anew. */
  added: number;
  /** Rows that were in place. */
  present: number;
  duplicate: number;
  conflict: number;
  deadLettered: number;
  suppressed: number;
}

/** One replay, into the same table or a fresh one. */
export interface ReplayPass<R extends ReplayRange> {
  /** Ranges of one topic. Rejects where a part can't be had for long, and when the signal aborts: after what is under way. */
  replay(ranges: readonly R[], onProgress: (done: bigint) => void, signal: AbortSignal): Promise<void>;
  counts(): ReplayCounts;
  /** Of a fresh table: copies the rest and puts it in place; resolves with the number of rows copied. */
  finish: ((ranges: readonly R[], onProgress: (line: string) => void, signal: AbortSignal) => Promise<number>) | null;
  /** After a run that did not come to its end. */
  discard(): Promise<void>;
}

export interface ReplayDeps<R extends ReplayRange> {
  /** The topics of events that the configuration names. */
  topics: readonly string[];
  /** Null where there is no such topic. Never beyond what sinks have settled. */
  findRanges: (topic: string, fromMs: number | null, toMs: number | null) => Promise<R[] | null>;
  startPass: (fresh: boolean, keep: boolean) => Promise<ReplayPass<R>>;
  rebuildProfiles: (fromScratch: boolean, signal: AbortSignal) => Promise<{ events: number }>;
  terminal: ReplayTerminal;
  /** Milliseconds of a clock that only runs forward. */
  now: () => number;
  signal: AbortSignal;
}

/** `millrace replay`: says what would happen, asks, does it. Resolves with the exit code; throws faults after it has said how far it came. */
export async function replayCommand<R extends ReplayRange>(options: ReplayOptions, deps: ReplayDeps<R>): Promise<0 | 1 | 2> {
  const { terminal, signal } = deps;
  if (options.profiles) return rebuild(options, deps);
  const unknown = options.topics.filter(topic => !deps.topics.includes(topic));
  if (unknown.length > 0) {
    terminal.write(`${unknown.join(', ')}: no topic of events by the configuration, which has ${deps.topics.join(', ')}\n`);
    return 2;
  }
  const found: { topic: string; ranges: R[] | null }[] = [];
  for (const topic of options.topics.length > 0 ? options.topics : deps.topics) found.push({ topic, ranges: await deps.findRanges(topic, options.fromMs, options.toMs) });
  const perTopic = found.flatMap(({ topic, ranges }) => (ranges === null ? [] : [{ topic, ranges }]));
  const total = perTopic.flatMap(({ ranges }) => ranges).reduce((sum, { from, to }) => sum + to - from, 0n);
  terminal.write(planText(found, options));
  if (total === 0n) {
    terminal.write('Nothing to replay.\n');
    return 0;
  }
  const refused = await confirm(options, `Replay ${total} offsets${options.fresh ? ' into a fresh table' : ''}? [y/N] `, terminal);
  if (refused !== null) return refused;

  const began = deps.now();
  const pass = await deps.startPass(options.fresh, options.keep);
  const show = throttled(terminal, deps.now);
  let behind = 0n;
  let stage = 'reading';
  let copied: number | null = null;
  try {
    for (const { ranges } of perTopic) {
      await pass.replay(ranges, done => show(() => progressText(behind + done, total, pass.counts().read, deps.now() - began)), signal);
      behind += ranges.reduce((sum, { from, to }) => sum + to - from, 0n);
    }
    if (pass.finish !== null) {
      stage = 'finishing';
      copied = await pass.finish(perTopic.flatMap(({ ranges }) => ranges), line => terminal.progress(line), signal);
      stage = 'profiles';
      terminal.progress('making profiles from the fresh table');
      await deps.rebuildProfiles(true, signal);
    }
  } catch (thrown) {
    terminal.write(countsText(pass.counts(), { fresh: options.fresh, copied, seconds: (deps.now() - began) / 1000 }));
    terminal.write(stage === 'profiles' ? 'Stopped while profiles were made. Run: millrace replay --profiles --fresh\n' : `Stopped before the end${options.fresh ? '' : '; what was added stays'}. It may be run again.\n`);
    // The fault that ended it is the one to hear of.
    await pass.discard().catch((fault: unknown) => terminal.write(`The table of this run was not dropped (the next run does it): ${asError(fault).message}\n`));
    if (signal.aborted) return 1;
    throw thrown;
  }
  terminal.write(countsText(pass.counts(), { fresh: options.fresh, copied, seconds: (deps.now() - began) / 1000 }));
  return 0;
}

async function rebuild<R extends ReplayRange>(options: ReplayOptions, { terminal, signal, rebuildProfiles, now }: ReplayDeps<R>): Promise<0 | 1 | 2> {
  terminal.write(options.fresh ? 'Profiles are emptied and made from all rows of events; until the end readers see parts of them.\n' : 'Profiles get what they lack of all rows of events.\n');
  const refused = await confirm(options, 'Go on? [y/N] ', terminal);
  if (refused !== null) return refused;
  const began = now();
  try {
    const { events } = await rebuildProfiles(options.fresh, signal);
    terminal.write(`Profiles made from ${events} events in ${((now() - began) / 1000).toFixed(1)} s\n`);
    return 0;
  } catch (thrown) {
    if (!signal.aborted) throw thrown;
    terminal.write('Stopped before the end. Run it again.\n');
    return 1;
  }
}

/** Null where it may go on, else the exit code. */
async function confirm({ yes }: ReplayOptions, question: string, { ask, write }: ReplayTerminal): Promise<1 | 2 | null> {
  if (yes) return null;
  if (ask === null) {
    write('Nothing done: there is no terminal to ask. Add --yes to go on.\n');
    return 2;
  }
  if (await ask(question)) return null;
  write('Nothing done.\n');
  return 1;
}

function throttled(terminal: ReplayTerminal, now: () => number): (line: () => string) => void {
  let shown = -Infinity;
  return line => {
    if (now() - shown < (terminal.progressEveryMs ?? 3_000)) return;
    shown = now();
    terminal.progress(line());
  };
}
