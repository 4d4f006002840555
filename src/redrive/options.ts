import { parseArgs } from 'node:util';
import { uuidOrNull } from '../event/dead-letter.ts';
import { parseTime } from '../event/time.ts';
import type { Filter } from './filter.ts';
import type { Status } from './letters.ts';

export interface RedriveOptions {
  filter: Filter;
  /** Path of a module, as given. */
  patch: string | null;
  dryRun: boolean;
  dismiss: boolean;
  /** Do not ask. */
  yes: boolean;
  limit: number;
  samples: number;
}

export type ParsedOptions = { ok: true; options: RedriveOptions } | { ok: false; reason: string } | { ok: 'help' };

/** Every option, as node:util's parseArgs takes it, with what it does. */
export const redriveOptions = {
  code: { type: 'string', multiple: true, value: 'CODE', what: 'letters with this code' },
  tenant: { type: 'string', multiple: true, value: 'TENANT', what: 'of this tenant' },
  topic: { type: 'string', multiple: true, value: 'TOPIC', what: 'whose record stood on this topic' },
  'message-id': { type: 'string', multiple: true, value: 'ID', what: 'of the event with this message id' },
  id: { type: 'string', multiple: true, value: 'UUID', what: 'with this id' },
  since: { type: 'string', multiple: false, value: 'TIME', what: 'from this time on, like 2026-11-01T00:00:00Z' },
  until: { type: 'string', multiple: false, value: 'TIME', what: 'before this time' },
  where: { type: 'string', multiple: false, value: 'SQL', what: 'for which this condition over the columns of dead_letters holds' },
  status: { type: 'string', multiple: false, value: 'STATUS', what: 'open (default), redriven or dismissed' },
  limit: { type: 'string', multiple: false, value: 'N', what: 'the oldest N of them' },
  patch: { type: 'string', multiple: false, value: 'FILE', what: 'a module whose default function changes each letter first, or returns null to skip it' },
  samples: { type: 'string', multiple: false, value: 'N', what: 'show what becomes of the first N letters (3)' },
  'dry-run': { type: 'boolean', multiple: false, value: '', what: 'only say what would happen: to every letter, and in full to the samples' },
  dismiss: { type: 'boolean', multiple: false, value: '', what: 'publish nothing: mark them as dismissed' },
  yes: { type: 'boolean', multiple: false, value: '', what: 'do not ask first; needed where there is no terminal' },
  help: { type: 'boolean', multiple: false, value: '', what: 'this page' },
} as const;

export const redriveHelp = `millrace redrive: publishes dead letters again, each with its own message id, so that none is stored twice

  millrace redrive [which letters] [what to do]

${Object.entries(redriveOptions).map(([name, { value, what }]) => `  ${`--${name} ${value}`.padEnd(19)} ${what}`).join('\n')}

--code, --tenant, --topic, --message-id and --id may be repeated. Kafka and ClickHouse are those of the environment, else those
that \`npm start\` runs here. Exit code: 0 all done, 1 something was left or failed, 2 not understood.

  millrace redrive --code schema_unknown --since 2026-11-01T00:00:00Z --dry-run
  millrace redrive --where "detail LIKE '%timestamp%'" --patch ./mend-time.mjs
`;

const statuses: readonly Status[] = ['open', 'redriven', 'dismissed'];

/** The arguments after `millrace redrive`. */
export function parseRedriveOptions(args: readonly string[]): ParsedOptions {
  let values;
  try {
    ({ values } = parseArgs({ args: [...args], options: redriveOptions, strict: true, allowPositionals: false }));
  } catch (thrown) {
    return { ok: false, reason: (thrown instanceof Error ? thrown.message : String(thrown)).split(/\. |\n/)[0] ?? '' };
  }
  if (values.help === true) return { ok: 'help' };

  const faults: string[] = [];
  const time = (name: 'since' | 'until'): number | null => {
    const text = values[name];
    if (text === undefined) return null;
    const ms = parseTime(text);
    if (ms === null) faults.push(`--${name} ${text} is no time with a zone, like 2026-11-01T00:00:00Z`);
    return ms;
  };
  const count = (name: 'limit' | 'samples', fallback: number): number => {
    const text = values[name];
    if (text === undefined) return fallback;
    if (!/^\d{1,9}$/.test(text) || (name === 'limit' && Number(text) === 0)) faults.push(`--${name} ${text} is no whole number`);
    return Number(text);
  };
  const status = statuses.find(known => known === (values.status ?? 'open'));
  if (status === undefined) faults.push(`--status ${values.status ?? ''} is none of ${statuses.join(', ')}`);
  const ids = (values.id ?? []).map(id => id.toLowerCase());
  for (const id of ids) if (uuidOrNull(id) === null) faults.push(`--id ${id} is no UUID`);
  if (values.where !== undefined && values.where.trim() === '') faults.push('--where is empty');
  if (values.dismiss === true && values.patch !== undefined) faults.push('--dismiss publishes nothing, so --patch has nothing to do');
  const options: RedriveOptions = {
    filter: {
      status: status ?? 'open',
      id: ids,
      code: values.code ?? [],
      tenant: values.tenant ?? [],
      topic: values.topic ?? [],
      messageId: values['message-id'] ?? [],
      sinceMs: time('since'),
      untilMs: time('until'),
      where: values.where ?? null,
    },
    patch: values.patch ?? null,
    dryRun: values['dry-run'] === true,
    dismiss: values.dismiss === true,
    yes: values.yes === true,
    limit: count('limit', Infinity),
    samples: count('samples', 3),
  };
  return faults.length > 0 ? { ok: false, reason: faults.join('\n') } : { ok: true, options };
}
