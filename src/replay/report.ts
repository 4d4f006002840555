import type { ReplayCounts, ReplayRange } from './command.ts';
import type { ReplayOptions } from './options.ts';

const barWidth = 24;

/** What would be read, and what would happen. */
export function planText(found: readonly { topic: string; ranges: readonly ReplayRange[] | null }[], { fromMs, toMs, fresh, keep }: ReplayOptions): string {
  const time = (ms: number | null, otherwise: string): string => (ms === null ? otherwise : new Date(ms).toISOString());
  const rows = found.map(({ topic, ranges }) => {
    if (ranges === null) return `  ${'-'.padStart(12)}  ${topic} (there is no such topic)`;
    const offsets = ranges.reduce((sum, { from, to }) => sum + to - from, 0n);
    return `  ${String(offsets).padStart(12)}  ${topic}, ${ranges.filter(({ from, to }) => from < to).length} of ${ranges.length} partitions`;
  });
  const what = fresh
    ? `The rows of these records are made anew in a fresh table, all others copied; it then takes the place of events, and profiles are made anew. The old table is ${keep ? 'kept as events_replay' : 'dropped'}.`
    : 'Those that are neither in events nor in outcomes are added; nothing else changes.';
  return `Offsets from ${time(fromMs, 'the beginning')} to ${time(toMs, 'now')}, as far as sinks have settled them:\n${rows.join('\n')}\n${what}\n`;
}

/** `[####    ] 25% 5000 of 20000 offsets, 1234 records/s`. */
export function progressText(done: bigint, total: bigint, records: number, elapsedMs: number): string {
  const part = total === 0n ? 1 : Number(done) / Number(total);
  const filled = Math.min(barWidth, Math.floor(part * barWidth));
  return `[${'#'.repeat(filled)}${' '.repeat(barWidth - filled)}] ${Math.floor(part * 100)}% ${done} of ${total} offsets, ${Math.round((records * 1_000) / Math.max(1, elapsedMs))} records/s`;
}

/** What a run came to. */
export function countsText(counts: ReplayCounts, { fresh, copied, seconds }: { fresh: boolean; copied: number | null; seconds: number }): string {
  const { read, added, present, duplicate, conflict, deadLettered, suppressed } = counts;
  const rows: [number, string][] = fresh
    ? [[read, `records read in ${seconds.toFixed(1)} s`], [added, 'rows made anew'], ...(copied === null ? [] : [[copied, 'rows copied'] as [number, string]])]
    : [
        [read, `records read in ${seconds.toFixed(1)} s`],
        [added, 'rows added'],
        [present, 'rows were there'],
        [Math.max(0, read - added - present - duplicate - conflict - deadLettered - suppressed), 'had their outcome'],
        [duplicate, 'duplicates that were not known'],
        [conflict, 'conflicts that were not known'],
        [deadLettered, 'dead letters that were not known'],
        [suppressed, 'of erased users'],
      ];
  return rows.filter(([count], index) => index < 3 || count > 0).map(([count, what]) => `${String(count).padStart(12)}  ${what}\n`).join('');
}
