import { parseArgs } from 'node:util';
import { parseTime } from '../event/time.ts';

export interface ReplayOptions {
  /** Records from this time on; null: from the beginning of the topic. Milliseconds since the epoch. */
  fromMs: number | null;
  /** Records before this time; null: up to what sinks have settled. */
  toMs: number | null;
  /** Empty: all topics of the configuration. */
  topics: string[];
  /** Into a table that then takes the place of `events`. */
  fresh: boolean;
  keep: boolean;
  /** Read no topic: make profiles from `events`. */
  profiles: boolean;
  /** Do not ask. */
  yes: boolean;
}

export type ParsedReplay = { ok: true; options: ReplayOptions } | { ok: false; reason: string } | { ok: 'help' };

/** Every option, as node:util's parseArgs takes it, with what it does. */
export const replayOptions = {
  from: { type: 'string', multiple: false, value: 'TIME', what: 'records from this time on, like 2026-11-01T00:00:00Z (the topic\'s beginning)' },
  to: { type: 'string', multiple: false, value: 'TIME', what: 'records before this time (now)' },
  topic: { type: 'string', multiple: true, value: 'TOPIC', what: 'only this topic; may be repeated' },
  fresh: { type: 'boolean', multiple: false, value: '', what: 'make the rows of these records anew, in a table that then takes the place of `events`' },
  keep: { type: 'boolean', multiple: false, value: '', what: 'with --fresh: keep the old table, as events_replay' },
  profiles: { type: 'boolean', multiple: false, value: '', what: 'read no topic: add to profiles what they lack of `events`; with --fresh, make them from nothing' },
  yes: { type: 'boolean', multiple: false, value: '', what: 'do not ask first; needed where there is no terminal' },
  help: { type: 'boolean', multiple: false, value: '', what: 'this page' },
} as const;

export const replayHelp = `millrace replay: runs what the topics still have through contract and tables again

  millrace replay [--from TIME] [--to TIME] [--topic TOPIC]            adds to \`events\` what is missing
  millrace replay --fresh [--keep] [--from TIME] [--to TIME] [...]     makes the rows of \`events\` anew
  millrace replay --profiles [--fresh]                                 makes profiles from \`events\`

${Object.entries(replayOptions).map(([name, { value, what }]) => `  ${`--${name} ${value}`.padEnd(14)} ${what}`).join('\n')}

Sinks may go on meanwhile, and it may be stopped and started again at any time. Kafka, registry and ClickHouse are those of the
environment, else those that \`npm start\` runs here. Exit code: 0 all done, 1 stopped or failed, 2 not understood.
`;

/** The arguments after `millrace replay`. */
export function parseReplayOptions(args: readonly string[]): ParsedReplay {
  let values;
  try {
    ({ values } = parseArgs({ args: [...args], options: replayOptions, strict: true, allowPositionals: false }));
  } catch (thrown) {
    return { ok: false, reason: (thrown instanceof Error ? thrown.message : String(thrown)).split(/\. |\n/)[0] ?? '' };
  }
  if (values.help === true) return { ok: 'help' };

  const faults: string[] = [];
  const time = (name: 'from' | 'to'): number | null => {
    const text = values[name];
    if (text === undefined) return null;
    const ms = parseTime(text);
    if (ms === null) faults.push(`--${name} ${text} is no time with a zone, like 2026-11-01T00:00:00Z`);
    return ms;
  };
  const options: ReplayOptions = {
    fromMs: time('from'),
    toMs: time('to'),
    topics: [...new Set(values.topic ?? [])],
    fresh: values.fresh === true,
    keep: values.keep === true,
    profiles: values.profiles === true,
    yes: values.yes === true,
  };
  if (options.fromMs !== null && options.toMs !== null && options.fromMs >= options.toMs) faults.push('--from is not before --to');
  if (options.profiles) {
    for (const name of ['from', 'to', 'topic', 'keep'] as const) if (values[name] !== undefined) faults.push(`--profiles reads no topic, so --${name} has nothing to do`);
  } else if (options.keep && !options.fresh) faults.push('--keep keeps what --fresh replaces, so it needs that');
  return faults.length > 0 ? { ok: false, reason: faults.join('\n') } : { ok: true, options };
}
