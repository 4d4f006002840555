/**
 * A sink in a process of its own, to be killed: `node --import tsx test/helpers/sink-process.ts <config as JSON>`.
 * Prints "ready" when it runs and exits non-zero when it gives up.
 */
import { endpointsOf, startSink } from '../../src/compose.ts';
import type { Config } from '../../src/config.ts';
import { createLog } from '../../src/telemetry.ts';

const config = JSON.parse(process.argv[2] ?? '') as Config;
const log = createLog(process.env['MILLRACE_TEST_LOG'] ?? 'fatal');
const sink = await startSink(config, endpointsOf(config, null), {
  log,
  onFatal: error => {
    console.error(error);
    process.exit(1);
  },
});
process.on('SIGTERM', () => {
  void sink.close().then(() => process.exit(0));
});
// Nobody is left to kill it when the test itself was killed.
process.stdin.on('end', () => process.exit(1)).resume();
console.log('ready');
