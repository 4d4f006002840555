import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { numberMark, userMark, users } from './events.ts';

const run = promisify(execFile);

export interface LoadOptions {
  url: string;
  path: string;
  /** Events in a body; one is sent bare, several as `{"batch":[…]}`. */
  batch: number;
  /** One event's JSON text, with the marks of events.ts. */
  event: string;
  connections: number;
  seconds: number;
  /** Events a second, roughly: each connection pauses between its requests. Left out: as fast as answers come. */
  rate?: number;
  /** So that several loads of one bench make different ids. */
  name: string;
}

export interface Load {
  /** Answered with 2xx or 3xx. */
  requests: number;
  events: number;
  eventsPerSecond: number;
  /** Answers of another status, and connections that broke. */
  failed: number;
  /** From the request to its whole answer, in ms. */
  p50: number;
  p99: number;
  p999: number;
}

/** Throws where wrk is not installed, and says how to have it. */
export async function requireWrk(): Promise<void> {
  // It answers its version with exit code 1.
  const found = await run('wrk', ['-v']).then(() => true, (thrown: NodeJS.ErrnoException) => thrown.code !== 'ENOENT');
  if (!found) throw new Error('wrk makes the load and is not installed: apt-get install wrk, or brew install wrk');
}

/** Puts load on a server with wrk, from one thread: its script makes the bodies. */
export async function load({ url, path, batch, event, connections, seconds, rate, name }: LoadOptions): Promise<Load> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-bench-'));
  try {
    const pieces = event.split(/([#~])/).map(piece => (piece === numberMark ? `${JSON.stringify(name)} .. n` : piece === userMark ? `n % ${users}` : `[==[${piece}]==]`));
    const pauseMs = rate === undefined ? 0 : (connections * batch * 1_000) / rate;
    const script = `
local n = 0
local function one()
  n = n + 1
  return ${pieces.join(' .. ')}
end
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Basic ZGV2Og=="
${pauseMs > 0 ? `function delay() return ${Math.round(pauseMs)} end` : ''}
function request()
  ${batch === 1 ? 'return wrk.format(nil, nil, nil, one())' : `local events = {}
  for i = 1, ${batch} do events[i] = one() end
  return wrk.format(nil, nil, nil, '{"batch":[' .. table.concat(events, ",") .. "]}")`}
end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("\\nBENCH %d %d %d %d %d %d\\n", summary.requests, summary.duration, errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
`;
    const file = join(folder, 'load.lua');
    await writeFile(file, script);
    const { stdout } = await run('wrk', ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '30s', '-s', file, `${url}${path}`], { timeout: (seconds + 60) * 1_000 });
    const [requests = 0, micros = 0, failed = 0, p50 = 0, p99 = 0, p999 = 0] = /BENCH (.*)/.exec(stdout)?.[1]?.split(' ').map(Number) ?? [];
    if (requests === 0) throw new Error(`wrk sent nothing: ${stdout}`);
    const taken = requests - failed;
    return { requests: taken, events: taken * batch, eventsPerSecond: (taken * batch * 1e6) / micros, failed, p50: p50 / 1_000, p99: p99 / 1_000, p999: p999 / 1_000 };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
