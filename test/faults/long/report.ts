import { readFile, writeFile } from 'node:fs/promises';
import type { RunResult } from './drive.ts';

const begin = '<!-- runs: written by npm run test:faults -->';
const end = '<!-- end of runs -->';

/** What a run came to, as rows of a table. */
export function factsOf(result: RunResult): Map<string, string> {
  const { findings, traffic } = result;
  const kills = [...result.injected].filter(([name]) => name.startsWith('kill -9'));
  const facts = new Map<string, string>([
    ['**kill -9 of a sink, in all**', String(kills.reduce((sum, [, times]) => sum + times, 0))],
    ...kills.sort(([a], [b]) => a.localeCompare(b)).map(([name, times]): [string, string] => [name.replace('kill -9 of a sink', '– '), String(times)]),
    ...[...result.injected].filter(([name]) => !name.startsWith('kill -9')).sort(([a], [b]) => a.localeCompare(b)).map(([name, times]): [string, string] => [name, String(times)]),
    ['sinks started', String(result.sinkStarts)],
    ['**records on the topic**', String(findings.records)],
    ['of them exact copies, other content under a known id', `${traffic.exactDuplicates}, ${traffic.otherContent}`],
    ['records of aborted transactions (never to be seen)', String(traffic.abortedRecords)],
    ['events sent, by tenant and message id', String(findings.distinctEvents)],
    ['rows in `events`', String(findings.rows)],
    ['outcomes', Object.entries(findings.outcomes).sort().map(([name, times]) => `${name} ${times}`).join(', ')],
    ['rows in `dead_letters`, bytes compared', String(findings.deadLetters)],
    ['**lost**', String(findings.faults.filter(fault => /^(lost|unaccounted|poison without|acknowledged)/.test(fault)).length)],
    ['**twice**', String(findings.faults.filter(fault => !/^(lost|unaccounted|poison without|acknowledged)/.test(fault)).length)],
    ['stored by two sinks in the same moment: when all was read, and after the reconciliation', `${result.doublesAtFirst}, ${findings.doubles.length}`],
    ['largest lag, records', String(result.maxLag)],
    ['longest standstill, seconds', result.longestStandstillSeconds.toFixed(1)],
    ['caught up after the last fault, seconds', result.catchUpSeconds.toFixed(1)],
    ['duration, seconds', result.seconds.toFixed(0)],
  ]);
  return facts;
}

export function tableOf(columns: ReadonlyMap<string, ReadonlyMap<string, string>>): string {
  const names = [...new Set([...columns.values()].flatMap(facts => [...facts.keys()]))];
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [
    line(['seed', ...columns.keys()]),
    line(['---', ...[...columns.keys()].map(() => '---')]),
    ...names.map(name => line([name, ...[...columns.values()].map(facts => facts.get(name) ?? '0')])),
  ].join('\n');
}

/** Puts a run into a page, between two marks, as a column beside those of other seeds. */
export async function writeReport(file: string, result: RunResult): Promise<void> {
  const page = await readFile(file, 'utf8');
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from) throw new Error(`${file} lacks the lines "${begin}" and "${end}"`);
  const columns = readTable(page.slice(from + begin.length, to));
  columns.set(String(result.seed), factsOf(result));
  await writeFile(file, `${page.slice(0, from + begin.length)}\n\n${tableOf(columns)}\n\n${page.slice(to)}`);
}

function readTable(text: string): Map<string, Map<string, string>> {
  const [head = [], , ...rows] = text.split('\n').filter(line => line.startsWith('|')).map(line => line.split('|').slice(1, -1).map(cell => cell.trim()));
  const columns = new Map<string, Map<string, string>>(head.slice(1).map(seed => [seed, new Map<string, string>()]));
  for (const [name = '', ...cells] of rows) [...columns.values()].forEach((facts, index) => facts.set(name, cells[index] ?? ''));
  return columns;
}
