/**
 * The test suite: `npm test`, or `npm test -- PART …` for the files whose path has one of the parts in it.
 * Starts one embedded stack for the tests that share it, on ports and in a folder of its own, and stops it afterwards.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { packageRoot, startTestStack } from './helpers/local.ts';
import type { TestStack } from './helpers/local.ts';
import { sharedStackVariable } from './helpers/shared-stack.ts';
import { bundledSinkVariable, bundleSink } from './helpers/spawn-sink.ts';

const parts = process.argv.slice(2);
const all = [join(packageRoot, 'test'), join(packageRoot, 'examples')].flatMap(folder =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.test.ts')).map(file => relative(packageRoot, join(folder, file))),
).sort();
const files = parts.length === 0 ? all : all.filter(file => parts.some(part => file.includes(part)));
if (files.length === 0) {
  console.error(`no test file has ${parts.join(' or ')} in its path`);
  process.exit(1);
}

let stack: TestStack | null = null;
let sink: Awaited<ReturnType<typeof bundleSink>> | null = null;
let exitCode: number;
try {
  // Two dozen sinks are started and killed, and half of a start is reading TypeScript.
  sink = await bundleSink();
  if (files.some(file => readFileSync(join(packageRoot, file), 'utf8').includes('helpers/shared-stack.ts'))) {
    console.log('starting the embedded stack for the tests …');
    stack = await startTestStack(['kafka', 'registry', 'clickhouse'], { makeClassData: true, onProgress: line => console.log(line) });
  }
  // Three at a time: much of a flow test is waiting for a broker, even on two cores.
  // A file ends when its tests have: what a client of Kafka still has open then must not keep the suite waiting until its timeout.
  const runner = spawn(process.execPath, ['--import', 'tsx', '--test', '--test-force-exit', '--test-concurrency=3', '--test-timeout=240000', '--test-reporter=spec', ...files], {
    cwd: packageRoot,
    stdio: 'inherit',
    env: {
      ...process.env,
      [bundledSinkVariable]: sink.file,
      ...(stack && { [sharedStackVariable]: JSON.stringify({ kafkaBrokers: stack.kafkaBrokers, registryUrl: stack.registryUrl, clickhouseUrl: stack.clickhouseUrl }) }),
    },
  });
  const stop = (): void => void runner.kill('SIGTERM');
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  const [code] = (await once(runner, 'exit')) as [number | null];
  exitCode = code ?? 1;
} finally {
  await stack?.close();
  await sink?.remove();
}
process.exit(exitCode);
