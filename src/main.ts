import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { fileURLToPath } from 'node:url';
import { askConnections, endpointsOf, parseRedriveOptions, parseReplayOptions, provision, redrive, redriveHelp, replay, replayHelp, requireDoorPort, startDoor, startEmbedded, startSink, startSinkHealth, startWorkers } from './compose.ts';
import type { Deps, Endpoints, ReplayTerminal, Role, Terminal } from './compose.ts';
import { isWorker, runWorker } from './compose-worker.ts';
import { readConfig, variables } from './config.ts';
import type { Config } from './config.ts';
import { digestOf } from './config-file.ts';
import { MillraceError, asError } from './errors.ts';
import { keyCommand } from './key-command.ts';
import { measureNotices } from './measure.ts';
import { createMetrics } from './metrics.ts';
import { requireReachable } from './reach.ts';
import type { LocalStack } from './local/stack.ts';
import { createLog } from './telemetry.ts';
import { note } from './telemetry.ts';
import type { Log } from './telemetry.ts';

const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '..');
const version = (JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }).version;

const commands = {
  up: 'everything in one process tree: door, sink, and the parts that have no URL in the environment',
  door: 'the HTTP front door alone',
  sink: 'the consumer group that fills ClickHouse alone (answers /livez, /readyz and /metrics on PORT)',
  redrive: 'publishes dead letters again (`millrace redrive --help`)',
  replay: 'runs what the topics still have through contract and tables again (`millrace replay --help`)',
  key: '`millrace key new` makes a write key and prints it once',
  check: 'names every fault of the environment, the configuration file and the parts that have a URL; exit code 1 if there is one',
} as const;
type Command = keyof typeof commands;
/** A command that ends by itself, with its exit code. */
type Tool = (config: Config, endpoints: Endpoints, deps: Deps, terminal: Terminal & ReplayTerminal, signal: AbortSignal) => Promise<number>;

const help = `millrace ${version}: HTTP and Kafka in, ClickHouse out, exactly once

  millrace <command> [--workers N]

${Object.entries(commands).map(([name, what]) => `  ${name.padEnd(7)} ${what}`).join('\n')}

  --workers N  of up and door: so many door processes share the port (docs/scaling.md)
  --help, --version

Environment (defaults in parentheses)
${Object.entries(variables).map(([name, what]) => `  ${name.padEnd(31)} ${what}`).join('\n')}
`;

if (isWorker()) runWorker();
else await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<void> {
  const [command, ...rest] = args;
  if (command === 'redrive') {
    await startTool(command, parseRedriveOptions(rest), redriveHelp, options => (...parts) => redrive(options, ...parts));
    return;
  }
  if (command === 'replay') {
    await startTool(command, parseReplayOptions(rest), replayHelp, options => (...parts) => replay(options, ...parts));
    return;
  }
  if (command === 'key') {
    const { ok, text } = keyCommand(rest);
    process[ok ? 'stdout' : 'stderr'].write(text);
    process.exitCode = ok ? 0 : 2;
    return;
  }
  if (args.includes('--help') || args.includes('-h') || command === undefined || command === 'help') {
    process.stdout.write(help);
    return;
  }
  if (command === '--version') {
    process.stdout.write(`${version}\n`);
    return;
  }
  const { workers, left } = workersOf(command, rest);
  if (!isCommand(command) || left.length > 0) {
    process.stderr.write(`millrace: ${isCommand(command) ? `"${command}" does not take "${left.join(' ')}"` : `there is no command "${command}"`}\nTry: npx millrace --help\n`);
    process.exitCode = 2;
    return;
  }
  if (workers !== null) process.env['MILLRACE_WORKERS'] = workers;
  await (command === 'check' ? check() : run(command));
}

/** `--workers N` or `--workers=N` of the commands that have it, and what is left of the arguments. */
function workersOf(command: string, args: readonly string[]): { workers: string | null; left: readonly string[] } {
  const [, joined] = /^--workers(?:=(.*))?$/.exec(args[0] ?? '--') ?? ['', null];
  if (joined === null || (command !== 'up' && command !== 'door')) return { workers: null, left: args };
  return joined === undefined ? { workers: args[1] || '?', left: args.slice(2) } : { workers: joined || '?', left: args.slice(1) };
}

/** Reads the configuration as `up` does and asks the parts that it names. */
async function check(): Promise<void> {
  try {
    const config = readConfig(process.env, packageRoot, process.cwd(), 'up');
    const { faults, notes } = await askConnections(config, createLog('silent'));
    for (const note of notes) process.stderr.write(`millrace: ${note}\n`);
    if (faults.length > 0) throw new MillraceError('config_invalid', faults.join('\n'));
    process.stdout.write(`millrace ${version}: the configuration is sound${config.topics.length === 0 ? '' : `, topics: ${config.topics.map(({ name }) => name).join(', ')}`}\n`);
  } catch (thrown) {
    complain(asError(thrown), createLog('warn'));
    process.exitCode = 1;
  }
}

/** What can be told without a stack: help, and what was not understood. */
async function startTool<Options>(name: 'redrive' | 'replay', parsed: { ok: true; options: Options } | { ok: false; reason: string } | { ok: 'help' }, toolHelp: string, toolOf: (options: Options) => Tool): Promise<void> {
  if (parsed.ok === true) {
    await run(name, toolOf(parsed.options));
    return;
  }
  if (parsed.ok === 'help') process.stdout.write(toolHelp);
  else {
    process.stderr.write(`millrace ${name}: ${parsed.reason}\nTry: npx millrace ${name} --help\n`);
    process.exitCode = 2;
  }
}

/** From start to end of one command: exit code 0 after a signal, 1 after a fault that is named on standard error, a tool's own. */
async function run(command: Exclude<Command, 'check' | 'key'>, tool: Tool | null = null): Promise<void> {
  const running: Role[] = [];
  const stop = new AbortController();
  let fatal: Error | null = null;
  // A tool that is stopped has not done all.
  let exitCode = tool === null ? 0 : 1;
  let log: Log = createLog('warn');
  const onSignal = (signal: NodeJS.Signals): void => {
    // A second Ctrl-C means now. Children of the embedded stack are found and stopped at the next start.
    if (stop.signal.aborted) process.exit(1);
    process.stderr.write(`\n${signal}: finishing what is under way; again to stop at once\n`);
    stop.abort(new Error(`stopped by ${signal}`));
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  process.on('SIGHUP', onSignal);
  const metrics = createMetrics();
  const deps = (): Deps => ({
    log,
    reload: onFile => readConfig(process.env, packageRoot, process.cwd(), command, onFile),
    metrics,
    onFatal: error => {
      fatal ??= error;
      stop.abort(error);
    },
  });

  try {
    const config = readConfig(process.env, packageRoot, process.cwd(), command);
    log = createLog(config.logLevel);
    measureNotices(metrics, log);
    await requireReachable(config, ...(tool === null ? [] : ['Is `npm start` running here? Else set KAFKA_BROKERS, SCHEMA_REGISTRY_URL and CLICKHOUSE_URL.']));
    if (command === 'up') await up(config, deps(), running, stop.signal);
    else if (command === 'door') await door(config, deps(), running);
    else if (tool !== null) exitCode = await tool(config, endpointsOf(config, null), deps(), terminal(stop.signal), stop.signal);
    else await sink(config, deps(), running);
    if (tool === null) await aborted(stop.signal);
  } catch (thrown) {
    if (!stop.signal.aborted || fatal !== null) fatal ??= asError(thrown);
  }
  if (fatal !== null) complain(fatal, log);
  for (const role of running.reverse()) {
    try {
      await role.close();
    } catch (thrown) {
      note(log, 'close_failed', { err: asError(thrown) });
    }
  }
  process.exit(fatal === null ? exitCode : 1);
}

async function up(config: Config, deps: Deps, running: Role[], signal: AbortSignal): Promise<void> {
  const started = Date.now();
  const progress = createProgress();
  await requireDoorPort(config);
  const stack = await startEmbedded(config, deps, progress.show, signal);
  if (stack !== null) running.push(stack);
  signal.throwIfAborted();
  const endpoints = endpointsOf(config, stack);
  progress.show('making topics and tables');
  await provision(config, endpoints, deps.log);
  const runningSink = await startSink(config, endpoints, deps);
  running.push(runningSink);
  signal.throwIfAborted();
  progress.show('opening the door');
  const readiness = async (): Promise<Record<string, string>> => ({
    sink: runningSink.joined() ? 'joined' : 'joining',
    clickhouse: (await runningSink.clickhouseAnswers()) ? 'ok' : 'not answering',
  });
  const runningDoor = config.workers > 1 ? await startWorkers(config, endpoints, deps, readiness) : await startDoor(config, endpoints, deps, { readiness });
  running.push(runningDoor);
  signal.throwIfAborted();
  progress.done();
  process.stdout.write(banner(config, endpoints, stack, runningDoor.url, Date.now() - started));
}

async function door(config: Config, deps: Deps, running: Role[]): Promise<void> {
  const endpoints = endpointsOf(config, null);
  await provision(config, endpoints, deps.log);
  const runningDoor = await (config.workers > 1 ? startWorkers : startDoor)(config, endpoints, deps);
  running.push(runningDoor);
  process.stdout.write(`millrace ${version} door: ${runningDoor.url}${config.workers > 1 ? `, ${config.workers} workers` : ''}\n`);
}

async function sink(config: Config, deps: Deps, running: Role[]): Promise<void> {
  const endpoints = endpointsOf(config, null);
  await provision(config, endpoints, deps.log);
  const runningSink = await startSink(config, endpoints, deps);
  running.push(runningSink);
  const health = await startSinkHealth(config, runningSink, deps.log);
  running.push(health);
  process.stdout.write(`millrace ${version} sink: group ${config.consumerGroup}, health at ${health.url}/readyz\n`);
}

function banner(config: Config, endpoints: ReturnType<typeof endpointsOf>, stack: LocalStack | null, doorUrl: string, elapsedMs: number): string {
  const embedded = (name: string): string => {
    const part = stack?.parts().find(found => found.name === name);
    return part === undefined ? '' : `embedded, pid ${part.pid ?? '?'}`;
  };
  const devKey = config.writeKeys.some(({ keySha256 }) => keySha256 === digestOf({ key: 'dev' }));
  const rows = [
    ['door', doorUrl, config.writeKeys.length === 1 ? `write key: ${devKey ? 'dev' : config.writeKeys[0]?.id ?? ''}` : `write keys: ${config.writeKeys.map(({ id }) => id).slice(0, 5).join(', ')}${config.writeKeys.length > 5 ? ' …' : ''}`],
    ['kafka', endpoints.kafka.brokers.join(','), embedded('kafka')],
    ['registry', endpoints.registry.url, embedded('registry')],
    ['clickhouse', endpoints.clickhouse.url, embedded('clickhouse')],
    ...(stack === null ? [] : [['data', config.dataDir, '']]),
  ] as const;
  const address = doorUrl.replace(/^http:\/\//, '');
  const { database, url } = endpoints.clickhouse;
  return `
millrace ${version} is ready after ${(elapsedMs / 1000).toFixed(1)} s

${rows.map(([name, where, what]) => `  ${name.padEnd(11)} ${where.padEnd(44)} ${what}`.trimEnd()).join('\n')}

Send an event:

  curl -u ${devKey ? 'dev' : 'KEY'}: ${address}/api/v1/events -H 'content-type: application/json' \\
    -d '{"type":"track","userId":"ada","event":"Order Completed","properties":{"total":99.5,"currency":"EUR"}}'

See it a moment later:

  curl ${url.replace(/^http:\/\//, '')} -d "SELECT timestamp, user_id, event, properties.total FROM ${database}.events FORMAT PrettyCompact"

Ctrl-C stops everything; what was answered with 200 stays.
`;
}

/** One line that is written over on a terminal, and lines elsewhere. */
function createProgress(): { show: (line: string) => void; done: () => void } {
  const terminal = process.stdout.isTTY;
  let last = '';
  return {
    show(line) {
      if (line === last) return;
      last = line;
      process.stdout.write(terminal ? `\r\x1b[2K${line.slice(0, (process.stdout.columns || 80) - 1)}` : `${line}\n`);
    },
    done() {
      if (terminal) process.stdout.write('\r\x1b[2K');
    },
  };
}

/** The terminal of a tool: answers on standard output, progress on standard error. */
function terminal(signal: AbortSignal): Terminal & ReplayTerminal {
  const { stdin, stdout, stderr } = process;
  return {
    write: text => void stdout.write(text),
    progress: line => void stderr.write(stderr.isTTY ? `\r\x1b[2K${line}\r` : `${line}\n`),
    progressEveryMs: stderr.isTTY ? 200 : 3_000,
    ask: !stdin.isTTY || !stdout.isTTY
      ? null
      : async question => {
          const lines = createInterface({ input: stdin, output: stdout });
          // readline takes Ctrl-C for itself.
          lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
          try {
            return /^y(es)?$/i.test((await lines.question(question, { signal })).trim());
          } finally {
            lines.close();
          }
        },
  };
}

function complain(error: Error, log: Log): void {
  const known = error instanceof MillraceError;
  process.stderr.write(`\nmillrace: ${error.message}\n`);
  if (known && error.hint !== undefined) process.stderr.write(`${error.hint}\n`);
  if (known) log.debug({ err: error }, 'ended by a fault');
  else note(log, 'ended_by_fault', { err: error });
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

function isCommand(text: string): text is Exclude<Command, 'key'> {
  return Object.hasOwn(commands, text);
}
