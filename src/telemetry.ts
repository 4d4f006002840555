import { pino } from 'pino';
import { limitedNotices, notices } from './notices.ts';
import type { NoticeFields, NoticeName } from './notices.ts';

/** What every part of millrace logs to; pino's shape, so that fastify can use it too. */
export type Log = pino.Logger;

/**
 * One logger for the process: JSON lines on standard error, so that standard output stays for what a command prints.
 * `level` is pino's (trace, debug, info, warn, error, fatal, silent).
 */
export function createLog(level: string): Log {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ dest: 2, sync: true }));
}

type Listener = (name: NoticeName, times: number) => void;

/** Of a log: who counts, and the limited notices of the last ten seconds with what was held back of each. */
interface Noted {
  listeners: Set<Listener>;
  held: Map<string, { times: number; fields: object }>;
}

const holdMs = 10_000;
const noted = new WeakMap<Log, Noted>();

function notedOf(log: Log): Noted {
  const found = noted.get(log) ?? { listeners: new Set(), held: new Map() };
  noted.set(log, found);
  return found;
}

/** Whoever counts is told of every notice of a log, also of those whose line is below its level or held back. */
export function onNotice(log: Log, listener: Listener): void {
  notedOf(log).listeners.add(listener);
}

/** Writes and counts what has happened, `times` times. See notices.ts for what is limited. */
export function note<N extends NoticeName>(log: Log, name: N, fields: NoticeFields<N>, times = 1): void {
  const { listeners, held } = notedOf(log);
  for (const listener of listeners) listener(name, times);
  const limitBy = limitedNotices.get(name);
  if (limitBy === undefined) {
    write(log, name, fields);
    return;
  }
  const group = [name, ...limitBy.map(field => (fields as Record<string, unknown>)[field])].join('\n');
  const waiting = held.get(group);
  if (waiting !== undefined) {
    waiting.times += times;
    waiting.fields = fields;
    return;
  }
  held.set(group, { times: 0, fields });
  write(log, name, { ...fields, times });
  const release = (): void => {
    const last = held.get(group);
    if (last === undefined || last.times === 0) {
      held.delete(group);
      return;
    }
    held.set(group, { times: 0, fields: last.fields });
    write(log, name, { ...last.fields, times: last.times });
    setTimeout(release, holdMs).unref();
  };
  setTimeout(release, holdMs).unref();
}

function write(log: Log, name: NoticeName, fields: object): void {
  const { level, is } = notices[name];
  log[level]({ event: name, ...fields }, is);
}
