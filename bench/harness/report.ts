import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { packageRoot } from '../../test/helpers/local.ts';
import { short } from './figures.ts';
import { svgOf } from './plot.ts';
import type { Plot } from './plot.ts';

export interface Table {
  title: string;
  /** What the figures are, beneath the title. */
  unit: string;
  columns: string[];
  rows: string[][];
}

/** A target of the project, and whether this run reached it. */
export interface Check {
  what: string;
  value: number;
  met: boolean;
}

export interface Report {
  name: string;
  tables: Table[];
  plots: Plot[];
  checks: Check[];
}

export interface BenchOptions {
  rounds: number;
  /** Of load, in a round. */
  seconds: number;
  /** Of a backlog. */
  events: number;
  /** Of a long run. */
  minutes: number;
  /** Whose profiles are read. */
  users: number;
  /** Numbers of door processes to try. */
  workers: readonly number[];
  onProgress: (line: string) => void;
}

export type Bench = (options: BenchOptions) => Promise<Report>;

export function textOf({ tables, checks }: Report): string {
  const parts = tables.map(({ title, unit, columns, rows }) => {
    const widths = columns.map((column, at) => Math.max(column.length, ...rows.map(row => (row[at] ?? '').length)));
    const line = (cells: readonly string[]): string => cells.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join('   ');
    return [title, unit, '', line(columns), ...rows.map(line)].join('\n');
  });
  return [...parts, checks.map(({ what, value, met }) => `${met ? 'met   ' : 'missed'}  ${what}: ${short(value)}`).join('\n')].join('\n\n');
}

function markdownOf({ name, tables, plots, checks }: Report, day: string): string {
  const row = (cells: readonly string[]): string => `| ${cells.map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [
    `*\`npm run bench -- ${name}\`, ${day}, ${availableParallelism()} cores of ${cpus()[0]?.model.trim() ?? 'an unknown kind'}, Node ${process.versions.node}*`,
    ...tables.map(({ title, unit, columns, rows }) => [`**${title}**  \n${unit}`, '', row(columns), row(columns.map((_column, at) => (at === 0 ? '---' : '---:'))), ...rows.map(row)].join('\n')),
    ...plots.map(({ file, title }) => `![${title}](performance/${file}.svg)`),
    ...(checks.length > 0 ? [['| target | here | |', '| --- | ---: | --- |', ...checks.map(({ what, value, met }) => row([what, short(value), met ? 'met' : '**missed**']))].join('\n')] : []),
  ].join('\n\n');
}

/** Puts the report into docs/performance.md, between its marks, and its plots beside that. */
export async function writeDocs(report: Report, day: string): Promise<void> {
  const page = join(packageRoot, 'docs', 'performance.md');
  const text = await readFile(page, 'utf8');
  const [open, close] = [`<!-- bench: ${report.name} -->`, `<!-- end: ${report.name} -->`];
  const [from, to] = [text.indexOf(open), text.indexOf(close)];
  if (from === -1 || to === -1) throw new Error(`docs/performance.md has no place for ${report.name}: ${open} … ${close}`);
  await writeFile(page, `${text.slice(0, from + open.length)}\n${markdownOf(report, day)}\n${text.slice(to)}`);
  for (const plot of report.plots) {
    const file = join(packageRoot, 'docs', 'performance', `${plot.file}.svg`);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, svgOf(plot));
  }
}
