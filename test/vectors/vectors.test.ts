import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../helpers/local.ts';
import { runVector } from './run-vector.ts';
import type { VectorResult } from './run-vector.ts';

/* What one body becomes, byte for byte, on the topic and in ClickHouse: a change here is a change for everyone who reads those. */

const folder = join(packageRoot, 'test', 'vectors');
for (const file of readdirSync(folder).filter(name => name.endsWith('.json'))) {
  const { vectors } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as { vectors: ({ name: string; body: string } & VectorResult)[] };
  assert.ok(vectors.length > 0);
  for (const { name, body, ...expected } of vectors) {
    test(`${file}: ${name}`, async () => {
      assert.deepEqual(await runVector(body), expected);
    });
  }
}
