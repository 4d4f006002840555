import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Config } from '../../src/config.ts';
import { bundleProgram } from './bundle.ts';

const source = fileURLToPath(new URL('./door-process.ts', import.meta.url));

export interface DoorProcess {
  url: string;
  pid: number;
  /** What it has logged so far. */
  log: () => Record<string, unknown>[];
  /** Processes of its workers, as Linux knows them. */
  workerPids: () => number[];
  signal: (signal: NodeJS.Signals) => void;
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

export const bundleDoor = (): ReturnType<typeof bundleProgram> => bundleProgram(source);

/** Starts a door of bundleDoor() in a process of its own; resolves when it serves. */
export async function spawnDoor(bundle: string, config: Config): Promise<DoorProcess> {
  const child = spawn(process.execPath, [bundle, JSON.stringify(config)], { stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  child.stdin.on('error', () => undefined);
  const exited = once(child, 'exit').then(([code, signal]) => ({ code: code as number | null, signal: signal as NodeJS.Signals | null }));
  const url = await Promise.race([once(createInterface(child.stdout), 'line').then(([line]) => String(line)), exited.then(() => null)]);
  const { pid } = child;
  if (url === null || pid === undefined) throw new Error(`the door did not start: ${said}`);
  return {
    url,
    pid,
    log: () => said.split('\n').filter(line => line.startsWith('{')).map(line => JSON.parse(line) as Record<string, unknown>),
    workerPids: () => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(text => text !== '').map(Number),
    signal: signal => void child.kill(signal),
    exited,
  };
}

/** One connection to a door, kept open, and so one of its workers. */
export interface DoorConnection {
  /** As /readyz says it: "1 of 2". */
  worker: string;
  send: (method: 'GET' | 'POST', path: string, body?: unknown, headers?: Record<string, string>) => Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; text: string; body: Record<string, unknown> }>;
  close: () => void;
}

export async function connectDoor(url: string, key = 'dev'): Promise<DoorConnection> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const send: DoorConnection['send'] = (method, path, body, headers = {}) =>
    new Promise((resolve, reject) => {
      const sent = request(`${url}${path}`, { method, agent, headers: { authorization: `Bearer ${key}`, ...(body !== undefined && { 'content-type': 'application/json' }), ...headers } }, response => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk)).on('error', reject).on('end', () => {
          const json = response.headers['content-type']?.includes('json') === true;
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, body: json ? (JSON.parse(text) as Record<string, unknown>) : {} });
        });
      });
      sent.on('error', reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  const { body } = await send('GET', '/readyz');
  return { worker: String((body['parts'] as Record<string, string> | undefined)?.['worker']), send, close: () => agent.destroy() };
}

/** A connection to each of so many workers. */
export async function connectWorkers(url: string, count: number, key = 'dev'): Promise<DoorConnection[]> {
  const found = new Map<string, DoorConnection>();
  for (let tries = 0; found.size < count; tries++) {
    if (tries === 50 * count) throw new Error(`only ${[...found.keys()].join()} of ${count} workers take connections`);
    const connection = await connectDoor(url, key);
    if (found.has(connection.worker)) connection.close();
    else found.set(connection.worker, connection);
  }
  return [...found.values()];
}
