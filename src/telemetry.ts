import { pino } from 'pino';

/** What every part of millrace logs to; pino's shape, so that fastify can use it too. */
export type Log = pino.Logger;

/**
 * One logger for the process: JSON lines on standard error, so that standard output stays for what a command prints.
 * `level` is pino's (trace, debug, info, warn, error, fatal, silent).
 */
export function createLog(level: string): Log {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ dest: 2, sync: true }));
}
