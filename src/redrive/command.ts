import { checkWhere, conditionOf } from './filter.ts';
import { createLetters } from './letters.ts';
import type { AskRows, Command } from './letters.ts';
import type { RedriveOptions } from './options.ts';
import { loadPatch } from './patch.ts';
import { groupsText, sampleText, tallyText } from './report.ts';
import { prepare, runRedrive } from './run.ts';
import type { JudgeRecords, PublishRecords, Tally } from './run.ts';

/** Where a command speaks. */
export interface Terminal {
  write: (text: string) => void;
  /** A line that the next one writes over. */
  progress: (line: string) => void;
  /** Asks a yes-or-no question; null where nobody is there to answer. */
  ask: ((question: string) => Promise<boolean>) | null;
}

export interface RedriveDeps {
  rows: AskRows;
  command: Command;
  publish: PublishRecords;
  judge: JudgeRecords;
  eventsTopic: string;
  /** Relative paths of patches are relative to it. */
  workingFolder: string;
  terminal: Terminal;
  nowMs: () => number;
  signal: AbortSignal;
}

const progressEveryMs = 500;

/** `millrace redrive`: shows what would happen, asks, does it. Resolves with the exit code; throws where nothing was begun. */
export async function redriveCommand(options: RedriveOptions, deps: RedriveDeps): Promise<0 | 1 | 2> {
  const { terminal, signal, nowMs } = deps;
  const { filter, dryRun, dismiss } = options;
  const what = dryRun ? 'dry-run' : dismiss ? 'dismiss' : 'redrive';
  if (filter.where !== null) await checkWhere(filter.where, deps.rows);
  const patch = options.patch === null ? null : await loadPatch(options.patch, deps.workingFolder);
  const letters = createLetters(deps.rows, deps.command, nowMs);
  const condition = conditionOf(filter);

  const groups = await letters.groups(condition);
  const matching = groups.reduce((sum, group) => sum + group.letters, 0);
  const total = Math.min(matching, options.limit);
  if (total === 0) {
    terminal.write(`No ${filter.status} dead letter matches.\n`);
    return 0;
  }
  terminal.write(groupsText(groups, total));

  if (!dismiss && options.samples > 0) {
    // One after the other: a letter may have a megabyte, and who asks for a thousand samples shall not pay in memory.
    for (const head of await letters.page(condition, null, Math.min(options.samples, total))) {
      for (const letter of await letters.load([head])) terminal.write(`\n${sampleText(letter, await prepare(letter, patch, deps.eventsTopic))}`);
    }
    terminal.write('\n');
  }

  if (dryRun && dismiss) {
    terminal.write(`${total} would be dismissed.\n`);
    return 0;
  }
  if (!dryRun && !options.yes) {
    if (terminal.ask === null) {
      terminal.write('Nothing done: there is no terminal to ask. Add --yes to go on, or --dry-run to see what would happen.\n');
      return 2;
    }
    if (!(await terminal.ask(`${dismiss ? 'Dismiss' : 'Publish'} ${total} ${total === 1 ? 'letter' : 'letters'}${dismiss ? '' : ' again'}? [y/N] `))) {
      terminal.write('Nothing done.\n');
      return 1;
    }
  }

  const startedMs = nowMs();
  let shownMs = startedMs;
  const onProgress = (tally: Tally): void => {
    const now = nowMs();
    if (now - shownMs < progressEveryMs) return;
    shownMs = now;
    terminal.progress(`${tally.seen} of ${total} letters, ${Math.round((tally.seen * 1000) / (now - startedMs))}/s`);
  };
  const tally = await runRedrive({
    letters,
    condition,
    mode: dryRun ? { kind: 'dry-run', judge: deps.judge } : dismiss ? { kind: 'dismiss' } : { kind: 'redrive', publish: deps.publish },
    patch,
    eventsTopic: deps.eventsTopic,
    limit: total,
    onProgress,
    signal,
  });
  terminal.write(tallyText(tally, what, (nowMs() - startedMs) / 1000));
  if (tally.fault !== null) throw tally.fault;
  return tally.failed > 0 || tally.interrupted ? 1 : 0;
}
