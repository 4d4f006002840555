import { readFileSync } from 'node:fs';

/** Of a list in any order; NaN where it is empty. `share` 0.5 is the median. */
export function at(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? NaN;
}

export const median = (values: readonly number[]): number => at(values, 0.5);

/** A median, and the least and the largest beside it. */
export interface Figure {
  median: number;
  least: number;
  most: number;
}

export function figureOf(values: readonly number[]): Figure {
  return { median: median(values), least: Math.min(...values), most: Math.max(...values) };
}

/** Three digits that count, thousands apart. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.max(Math.abs(value), 1e-9))));
  return Number(value.toPrecision(3)).toLocaleString('en-US', { maximumFractionDigits: Math.min(digits, 3) });
}

export function spread({ median: middle, least, most }: Figure): string {
  return `${short(middle)} (${short(least)}–${short(most)})`;
}

/** What a process has used so far (Linux's /proc). */
export interface Usage {
  cpuSeconds: number;
  /** Now, and at its largest, in MB (10^6 bytes). */
  rssMb: number;
  peakMb: number;
}

const clockTicks = 100;

export function usage(pid: number): Usage {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kilobytes = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]);
  return { cpuSeconds: (Number(stat[11]) + Number(stat[12])) / clockTicks, rssMb: kilobytes('VmRSS') * 1.024e-3, peakMb: kilobytes('VmHWM') * 1.024e-3 };
}

/** Of several processes together. */
export function usageOf(pids: readonly number[]): Usage {
  return pids.map(usage).reduce((sum, one) => ({ cpuSeconds: sum.cpuSeconds + one.cpuSeconds, rssMb: sum.rssMb + one.rssMb, peakMb: sum.peakMb + one.peakMb }));
}
