import type { RecordHeader } from '../event/dead-letter.ts';
import { diffLines, diffPayloads, printable } from './diff.ts';
import type { LetterGroup, StoredLetter } from './letters.ts';
import type { Prepared, Tally } from './run.ts';

/** How many letters of which code and topic. */
export function groupsText(groups: readonly LetterGroup[], total: number): string {
  const rows = groups.slice(0, 30).map(({ code, topic, letters }) => `  ${String(letters).padStart(9)}  ${printable(code).padEnd(20)} ${topic === '' ? '(never on a topic)' : printable(topic)}`);
  if (groups.length > rows.length) rows.push(`  … and ${groups.length - rows.length} more codes and topics`);
  const matching = groups.reduce((sum, { letters }) => sum + letters, 0);
  return `${letterCount(matching)}${total < matching ? `, the oldest ${total} of which are taken` : ''}:\n${rows.join('\n')}\n`;
}

/** What becomes of one letter. */
export function sampleText(letter: StoredLetter, prepared: Prepared): string {
  const place = letter.place === null ? 'never on a topic' : `${letter.place.topic}/${letter.place.partition}/${letter.place.offset}`;
  const head = `letter ${letter.id}  tenant ${printable(letter.tenant) || '(none)'}  ${printable(place)}\n  ${letter.code}: ${clip(printable(letter.detail))}\n`;
  if (prepared.kind === 'skip') return `${head}  skipped by the patch\n`;
  if (prepared.kind === 'failed') return `${head}  stays as it is: ${printable(prepared.reason)}\n`;
  const { record, before } = prepared;
  const payload = diffPayloads(letter.payload, record.value);
  const headers = diffLines(headerLines(before.key, before.headers), headerLines(record.key, Object.entries(record.headers).flatMap(([name, values]) => values.map((value): RecordHeader => [name, value]))));
  const lines = [`to ${printable(record.topic)}, ${payload.length === 0 ? `its ${letter.payload.length} bytes as they are` : 'its payload changed'}`, ...payload, ...headers];
  return `${head}${lines.map(line => `  ${line}\n`).join('')}`;
}

/** How a run ended. */
export function tallyText(tally: Tally, what: 'redrive' | 'dismiss' | 'dry-run', seconds: number): string {
  const lines: string[] = [];
  if (what === 'dry-run') {
    const again = [...tally.again.values()].reduce((sum, count) => sum + count, 0);
    lines.push(`${letterCount(tally.done)} would be published again: ${tally.done - again} would be read as events, ${again} would be dead letters again`);
    for (const [code, count] of [...tally.again].sort((a, b) => b[1] - a[1])) lines.push(`  ${String(count).padStart(9)}  ${code}`);
  } else {
    lines.push(`${letterCount(tally.done)} ${what === 'dismiss' ? 'dismissed' : 'redriven'} in ${seconds.toFixed(1)} s`);
  }
  if (tally.skipped > 0) lines.push(`${letterCount(tally.skipped)} skipped by the patch`);
  if (tally.failed > 0) lines.push(`${letterCount(tally.failed)} left as ${tally.failed === 1 ? 'it is' : 'they are'}:`);
  for (const { id, reason } of tally.failures) lines.push(`  ${id}  ${clip(printable(reason))}`);
  if (tally.failed > tally.failures.length) lines.push(`  … and ${tally.failed - tally.failures.length} more`);
  if (what === 'redrive' && tally.done > 0) lines.push('One that fails again is open again, with the new reason.');
  if (tally.interrupted) lines.push('Stopped before the end; the rest is as it was.');
  return `${lines.join('\n')}\n`;
}

function letterCount(count: number): string {
  return `${count} dead ${count === 1 ? 'letter' : 'letters'}`;
}

function headerLines(key: Buffer | null, headers: readonly RecordHeader[]): string[] {
  return [`key: ${shown(key)}`, ...headers.map(([name, value]) => `header ${name}: ${shown(value)}`)];
}

function shown(bytes: Buffer | null): string {
  if (bytes === null) return '(none)';
  const text = bytes.toString('utf8');
  return Buffer.from(text).equals(bytes) ? text : `0x${bytes.toString('hex')}`;
}

function clip(text: string): string {
  return text.length <= 300 ? text : `${text.slice(0, 300)} …`;
}
