import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import assert from 'node:assert/strict';
import { MillraceError } from '../../src/errors.ts';
import { findJava } from '../../src/local/java.ts';

/** A Java home whose java only tells this version. */
async function javaHome(t: TestContext, version: string): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'millrace-java-'));
  t.after(async () => { await rm(home, { recursive: true, force: true }); });
  await mkdir(join(home, 'bin'));
  await writeFile(join(home, 'bin', 'java'), `#!/bin/sh\necho 'openjdk version "${version}" 2024-01-16' >&2\n`);
  await chmod(join(home, 'bin', 'java'), 0o755);
  return home;
}

test('java on PATH is found, with its version', async () => {
  const java = await findJava();
  assert.equal(java.command, 'java');
  assert.ok(java.version >= 17);
});

for (const [text, version] of [['17.0.2', 17], ['21', 21], ['25.0.1', 25]] as const) {
  test(`a Java home of version ${text} is taken`, async (t) => {
    const home = await javaHome(t, text);
    const java = await findJava(home);
    assert.deepEqual([java.command, java.version], [join(home, 'bin', 'java'), version]);
  });
}

for (const [text, version] of [['1.8.0_402', 8], ['11.0.22', 11]] as const) {
  test(`Java ${version} is too old`, async (t) => {
    const home = await javaHome(t, text);
    await assert.rejects(findJava(home), (error: unknown) => error instanceof MillraceError && error.code === 'java_missing' && error.message.endsWith(`is Java ${version}`));
  });
}

test('no java at all is told with the command', async () => {
  await assert.rejects(findJava('/nowhere/java'), (error: unknown) => error instanceof MillraceError && error.code === 'java_missing'
    && error.message === 'Kafka and the schema registry need Java 17; /nowhere/java could not be run');
});
