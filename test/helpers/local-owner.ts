/** A process that owns an embedded stack, for tests that kill it. Options as JSON in its first argument; prints one line when it is up. */
import { createLog } from '../../src/telemetry.ts';
import { startLocalStack, type LocalStackOptions } from '../../src/local/stack.ts';

const options = JSON.parse(process.argv[2] ?? '{}') as Omit<LocalStackOptions, 'log' | 'onProgress' | 'onFatal'>;
const stack = await startLocalStack({ ...options, log: createLog('error'), onProgress: () => undefined, onFatal: (error) => { console.error(error); } });
console.log(JSON.stringify(stack.parts()));
setInterval(() => undefined, 1000);
