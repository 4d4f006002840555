import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

/** A process as it can be told from a later one with the same pid. */
export interface ProcessInfo {
  /** When it was started: clock ticks since boot on Linux, a date elsewhere. Only good for comparing. */
  startedAt: string;
  /** The command line, arguments separated by spaces. */
  command: string;
}

const run = promisify(execFile);

/** The live process with this pid; undefined when there is none, or only its zombie. */
export async function processInfo(pid: number): Promise<ProcessInfo | undefined> {
  return process.platform === 'linux' ? await fromProc(pid) : await fromPs(pid);
}

async function fromProc(pid: number): Promise<ProcessInfo | undefined> {
  try {
    const [stat, cmdline] = await Promise.all([readFile(`/proc/${pid}/stat`, 'utf8'), readFile(`/proc/${pid}/cmdline`, 'utf8')]);
    // proc(5): the second field is the name in parentheses and may hold blanks; the state is the third, the start time the 22nd.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const startedAt = fields[19];
    if (startedAt === undefined || fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return { startedAt, command: cmdline.split('\0').join(' ').trim() };
  } catch (thrown) {
    if (isGone(thrown)) return undefined;
    throw thrown;
  }
}

async function fromPs(pid: number): Promise<ProcessInfo | undefined> {
  try {
    const columns = async (name: string): Promise<string> => (await run('ps', ['-ww', '-o', `${name}=`, '-p', String(pid)])).stdout.trim();
    const [state, startedAt, command] = await Promise.all([columns('stat'), columns('lstart'), columns('command')]);
    return startedAt === '' || state.startsWith('Z') ? undefined : { startedAt, command };
  } catch (thrown) {
    // ps exits with 1 when no such process exists.
    if ((thrown as { code?: unknown }).code === 1) return undefined;
    throw thrown;
  }
}

function isGone(thrown: unknown): boolean {
  const code = (thrown as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ESRCH';
}

/** Sends a signal to a process and, where it leads one, to its whole group; false when it is gone already. */
export function signalGroup(pid: number, signal: NodeJS.Signals): boolean {
  for (const target of [-pid, pid]) {
    try {
      process.kill(target, signal);
      return true;
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'ESRCH') throw thrown;
    }
  }
  return false;
}
