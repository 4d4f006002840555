/**
 * The embedded ClickHouse: chdb's engine behind ClickHouse's HTTP interface, in a process of its own.
 *
 *   node dist/local/clickhouse/main.js --data DIR [--host 127.0.0.1] [--port 8123]
 *
 * Prints one line on stdout once it answers. Exits by itself when its parent goes, if the parent gave it an IPC channel
 * or a pipe as stdin. A query occupies a thread of libuv's pool, which has to be large from the process's first moment
 * on, so without UV_THREADPOOL_SIZE in its environment it starts itself once more with it.
 */
import { spawn } from 'node:child_process';
import { fstatSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { MillraceError } from '../../errors.ts';
import { startInProcess } from './start.ts';

const threads = '64';

// The one environment variable that Node itself reads; it can't come as an option.
if (process.env['UV_THREADPOOL_SIZE'] === undefined) relaunch();
else await serve().catch(fail);

/** One line that says what is wrong, code first, and nothing left running. */
function fail(error: unknown): void {
  console.error(error instanceof MillraceError ? `${error.code}: ${error.message}` : error);
  process.exit(1);
}

function relaunch(): void {
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    env: { ...process.env, UV_THREADPOOL_SIZE: threads },
    // The child sees the end of its stdin when this process goes, however it goes.
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  const stop = (): void => void child.kill('SIGTERM');
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  onParentGone(stop);
  child.on('error', (error) => {
    console.error(`child_failed: ${error.message}`);
    process.exitCode = 1;
  });
  child.on('exit', (code) => process.exit(code ?? 1));
}

async function serve(): Promise<void> {
  const { values } = parseArgs({
    options: {
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '8123' },
      data: { type: 'string' },
    },
  });
  if (values.data === undefined) throw new MillraceError('config_invalid', '--data DIR is missing');
  if (!/^\d{1,5}$/.test(values.port)) throw new MillraceError('config_invalid', `--port ${values.port} is no port`);
  const running = await startInProcess({ host: values.host, port: Number(values.port), dataDir: values.data });
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    running.close().then(() => process.exit(0), fail);
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  onParentGone(stop);
  console.log(`clickhouse ${running.version} listens on ${running.url}`);
}

function onParentGone(stop: () => void): void {
  if (process.connected) process.once('disconnect', stop);
  else if (stdinIsPipe()) {
    process.stdin.once('end', stop);
    process.stdin.once('error', stop);
    process.stdin.resume();
  }
}

/** A terminal, a file and /dev/null say nothing of the parent. */
function stdinIsPipe(): boolean {
  try {
    const stat = fstatSync(0);
    return stat.isFIFO() || stat.isSocket();
  } catch (error) {
    console.error('no stdin:', error);
    return false;
  }
}
