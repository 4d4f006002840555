import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { build } from 'esbuild';
import { packageRoot } from './local.ts';

/** A program as one JavaScript file, for tests that start several: half of a start is else spent on reading TypeScript. */
export async function bundleProgram(source: string): Promise<{ file: string; remove: () => Promise<void> }> {
  // Within the package, since that is where its imports are found.
  const file = join(packageRoot, '.millrace', 'test', `${basename(source, '.ts')}-${process.pid}-${randomUUID().slice(0, 8)}.mjs`);
  await build({ entryPoints: [source], outfile: file, bundle: true, platform: 'node', format: 'esm', packages: 'external', logLevel: 'error' });
  return { file, remove: () => rm(file, { force: true }) };
}
