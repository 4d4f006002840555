/**
 * A door in a process of its own, to be killed: `node --import tsx test/helpers/door-process.ts <config as JSON>`. With `workers` in it,
 * the primary of so many. Prints where it listens, ends on SIGTERM with exit code 0, and on a fault or a
 * second SIGTERM with 1.
 */
import { endpointsOf, startDoor, startWorkers } from '../../src/compose.ts';
import { isWorker, runWorker } from '../../src/compose-worker.ts';
import type { Config } from '../../src/config.ts';
import { readConfig } from '../../src/config.ts';
import { createMetrics } from '../../src/metrics.ts';
import { createLog } from '../../src/telemetry.ts';

if (isWorker()) runWorker();
else await main();

async function main(): Promise<void> {
  const config = JSON.parse(process.argv[2] ?? '') as Config;
  const onFatal = (error: Error): void => {
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  };
  const deps = {
    log: createLog(config.logLevel),
    metrics: createMetrics(),
    // The file alone: the rest is as the test has it.
    reload: () => ({ ...config, writeKeys: readConfig({ MILLRACE_CONFIG: config.configPath }, config.packageRoot, config.packageRoot, 'up').writeKeys }),
    onFatal,
  };
  const start = config.workers > 1 ? startWorkers : startDoor;
  const door = await start(config, endpointsOf(config, null), deps);
  process.once('SIGTERM', () => {
    process.on('SIGTERM', () => process.exit(1));
    void door.close().then(() => process.exit(0));
  });
  // Nobody is left to end it when the test itself was killed.
  process.stdin.on('end', () => process.exit(1)).resume();
  console.log(door.url);
}
