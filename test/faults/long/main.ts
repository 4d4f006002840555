/**
 * The long fault run: `npm run test:faults -- [--seed N] [--kills 100] [--minutes 5] [--sinks 3] [--rate 250] [--strict] [--report docs/reliability.md]`.
 * Exits 1 when anything was lost, or stands twice, or the harness could not do its work.
 */
import { randomInt } from 'node:crypto';
import { resolve } from 'node:path';
import { readOptions } from '../../helpers/options.ts';
import { drive } from './drive.ts';
import { doubleText } from './verify.ts';
import { factsOf, tableOf, writeReport } from './report.ts';

const usage = 'npm run test:faults -- [--seed N] [--kills 100] [--minutes 5] [--sinks 3] [--rate 250] [--reconcile-seconds 90] [--strict] [--report FILE], as docs/reliability.md describes';
const values = readOptions(usage, {
  seed: { type: 'string' },
  kills: { type: 'string', default: '100' },
  minutes: { type: 'string', default: '5' },
  sinks: { type: 'string', default: '3' },
  rate: { type: 'string', default: '250' },
  'reconcile-seconds': { type: 'string', default: '90' },
  strict: { type: 'boolean', default: false },
  report: { type: 'string' },
});
const number = (name: 'seed' | 'kills' | 'minutes' | 'sinks' | 'rate' | 'reconcile-seconds', low: number): number => {
  const value = Number(values[name]);
  if (!Number.isFinite(value) || value < low) {
    console.error(`--${name} must be a number of at least ${low}`);
    process.exit(1);
  }
  return value;
};
const seed = values.seed === undefined ? randomInt(1_000_000) : number('seed', 0);
console.log(`seed ${seed}`);
const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopping.abort(new Error(signal)));
const result = await drive({
  seed,
  form: 'long',
  kills: number('kills', 0),
  faultsMs: number('minutes', 0.1) * 60_000,
  sinks: number('sinks', 1),
  partitions: 6,
  rate: number('rate', 1),
  reconcileMs: number('reconcile-seconds', 0) * 1_000,
  strict: values.strict,
  lateMs: 31_000,
  say: line => console.log(line),
  signal: stopping.signal,
}).catch((thrown: unknown) => {
  if (!stopping.signal.aborted) throw thrown;
  console.error('stopped before its end; nothing is left running');
  process.exit(130);
});
console.log(`\n${tableOf(new Map([[String(seed), factsOf(result)]]))}\n`);
if (result.findings.doubles.length > 0) console.log(`from two partitions at the same moment, the first 20:\n${result.findings.doubles.slice(0, 20).map(doubleText).join('\n')}`);
if (result.wrong.length > 0) {
  console.error(`seed ${seed}: ${result.wrong.length} things are wrong, the first 20:\n${result.wrong.slice(0, 20).join('\n')}`);
  process.exitCode = 1;
}
console.log(`logs of every process: ${result.folder}`);
if (values.report !== undefined) await writeReport(resolve(values.report), result);
