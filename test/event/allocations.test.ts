import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { bundleProgram } from '../helpers/bundle.ts';
import { packageRoot } from '../helpers/local.ts';

/** Some 1.3 times what each step allocates, in bytes an event of 395 bytes. Who makes one dearer says why in the commit. */
const most: Record<string, number> = { read: 1_900, judge: 510, encode: 1_100, decode: 9_800, contentHash: 9_600, row: 7_200 };

test('what one event allocates at each step', async t => {
  const bundle = await bundleProgram(join(packageRoot, 'test', 'helpers', 'allocations.ts'));
  try {
    const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', '--min-semi-space-size=128', '--max-semi-space-size=128', bundle.file], { timeout: 60_000 });
    const bytes = JSON.parse(stdout) as Record<string, number>;
    t.diagnostic(Object.entries(bytes).map(([step, count]) => `${step} ${count}`).join(', '));
    assert.deepEqual(Object.keys(bytes), Object.keys(most));
    for (const [step, count] of Object.entries(bytes)) {
      assert.ok(count > 0, `${step} allocates nothing: was it measured?`);
      assert.ok(count <= (most[step] ?? 0), `${step} allocates ${count} bytes an event, over ${most[step]}`);
    }
  } finally {
    await bundle.remove();
  }
});
