import { chmod, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../../src/errors.ts';
import { fetchJars, type JarsOptions } from '../../src/local/jars.ts';
import { createMavenReader } from '../../src/local/maven.ts';

/** Maven's place is taken by a shell script here; the real one, on the real pom, runs for the stack's tests. */
const good = `
mkdir -p "$out/kafka" "$out/app"
echo one > "$out/kafka/kafka_2.13-4.jar"; echo two > "$out/kafka/a.jar"; echo three > "$out/app/registry-runner.jar"
tar -czf "$out/registry.tar.gz" -C "$out/app" . && rm -r "$out/app"
`;

async function setUp(t: TestContext, script: string): Promise<{ options: JarsOptions; progress: string[]; runs: () => Promise<number>; become: (script: string) => Promise<void> }> {
  const dir = await mkdtemp(join(tmpdir(), 'millrace-jars-'));
  t.after(async () => { await rm(dir, { recursive: true, force: true }); });
  const maven = join(dir, 'mvn');
  const progress: string[] = [];
  const become = async (text: string): Promise<void> => {
    await writeFile(maven, `#!/bin/sh\nfor a; do case "$a" in -Dmillrace.out=*) out="\${a#*=}";; esac; done\necho run >> ${dir}/runs\n${text}`);
    await chmod(maven, 0o755);
  };
  await become(script);
  await writeFile(join(dir, 'pom.xml'), '<project/>');
  await mkdir(join(dir, 'cache'));
  return {
    options: { cacheDir: join(dir, 'cache'), pom: join(dir, 'pom.xml'), maven, onProgress: (line) => { progress.push(line); } },
    progress, become,
    runs: async () => (await readFile(join(dir, 'runs'), 'utf8')).split('\n').length - 1,
  };
}

function hasCode(code: string, message: RegExp) {
  return (error: unknown): boolean => error instanceof MillraceError && error.code === code && message.test(error.message);
}

test('jars are fetched once, and their class path has a fixed order', async (t) => {
  const { options, runs } = await setUp(t, good);
  const jars = await fetchJars(options);
  assert.equal(jars.kafkaClasspath, `${jars.dir}/kafka/a.jar:${jars.dir}/kafka/kafka_2.13-4.jar`);
  assert.equal(await readFile(jars.registryJar, 'utf8'), 'three\n');
  assert.deepEqual(await fetchJars(options), jars);
  assert.equal(await runs(), 1);
});

test('a changed pom fetches again', async (t) => {
  const { options, runs } = await setUp(t, good);
  const first = await fetchJars(options);
  await writeFile(options.pom, '<project>new</project>');
  assert.notEqual((await fetchJars(options)).dir, first.dir);
  assert.equal(await runs(), 2);
});

test('a set that lost a file, or has one cut short, is not taken for whole', async (t) => {
  const { options, runs } = await setUp(t, good);
  const { dir } = await fetchJars(options);
  await rm(join(dir, 'kafka', 'a.jar'));
  await fetchJars(options);
  await writeFile(join(dir, 'kafka', 'a.jar'), '');
  await fetchJars(options);
  await rm(join(dir, 'complete.json'));
  await fetchJars(options);
  assert.equal(await runs(), 4);
});

test('what a killed fetch left behind is not used, and removed', async (t) => {
  const { options } = await setUp(t, good);
  await mkdir(join(options.cacheDir, 'fetching-abc', 'kafka'), { recursive: true });
  await writeFile(join(options.cacheDir, 'fetching-abc', 'kafka', 'half.jar'), 'ha');
  const { dir } = await fetchJars(options);
  assert.deepEqual(await readdir(options.cacheDir), [dir.slice(options.cacheDir.length + 1)]);
});

test('no Maven: maven_missing, and nothing is left', async (t) => {
  const { options } = await setUp(t, good);
  await assert.rejects(fetchJars({ ...options, maven: '/nowhere/mvn' }), hasCode('maven_missing', /\/nowhere\/mvn could not be run/));
  assert.deepEqual(await readdir(options.cacheDir), []);
});

test('Maven fails: download_failed with its own words; the next try may succeed', async (t) => {
  const { options, become } = await setUp(t, 'echo "[ERROR] Could not transfer artifact a:b from/to central: Connection refused -> [Help 1]"; echo "[ERROR] Re-run Maven"; exit 1');
  await assert.rejects(fetchJars(options), hasCode('download_failed', /: Could not transfer artifact a:b from\/to central: Connection refused$/));
  assert.deepEqual(await readdir(options.cacheDir), []);
  await become(good);
  await fetchJars(options);
});

test('Maven says that all is well, but fetched nothing of use: download_failed', async (t) => {
  const { options } = await setUp(t, 'mkdir "$out/app"; touch "$out/app/x"; tar -czf "$out/registry.tar.gz" -C "$out/app" .');
  await assert.rejects(fetchJars(options), hasCode('download_failed', /missing from what it fetched/));
});

test('a broken archive: download_failed', async (t) => {
  const { options } = await setUp(t, 'echo rubbish > "$out/registry.tar.gz"');
  await assert.rejects(fetchJars(options), hasCode('download_failed', /could not be unpacked/));
});

test('two that fetch at once: one does, the other waits and says so', async (t) => {
  const { options, progress, runs } = await setUp(t, `sleep 0.5\n${good}`);
  const [one, two] = await Promise.all([fetchJars(options), fetchJars(options)]);
  assert.deepEqual(one, two);
  assert.equal(await runs(), 1);
  assert.ok(progress.includes(`waiting for process ${process.pid}, which is fetching the jars`));
});

test('a fetch can be interrupted', async (t) => {
  const { options, runs } = await setUp(t, 'exec sleep 60');
  const abort = new AbortController();
  const fetching = assert.rejects(fetchJars({ ...options, signal: abort.signal }), /enough/);
  const deadline = Date.now() + 5000;
  while ((await runs().catch(() => 0)) === 0 && Date.now() < deadline) await sleep(20);
  abort.abort(new Error('enough'));
  await fetching;
  assert.deepEqual(await readdir(options.cacheDir), []);
});

test('Maven\'s output becomes progress', () => {
  const lines: string[] = [];
  const reader = createMavenReader((line) => { lines.push(line); });
  reader.read('[INFO] Scanning for projects...');
  reader.read('Downloading from central: https://example.org/org/x/a-1.jar');
  reader.read('Progress (1): 4.1/26 kB\rProgress (1): 26 kB\r                    \rDownloaded from central: https://example.org/org/x/a-1.jar (26 kB at 1.2 MB/s)');
  reader.read('Downloading from mirror: https://example.org/org/x/app-3-all.tar.gz');
  reader.read('Progress (1): 52/109 MB\rProgress (1): 60/109 MB');
  reader.read('Downloaded from mirror: https://example.org/org/x/app-3-all.tar.gz (109 MB at 9.2 MB/s)');
  assert.deepEqual(lines, [
    'fetched a-1.jar (1 files, 0.0 MB so far)',
    'fetching app-3-all.tar.gz: 52 of 109 MB (1 files, 0.0 MB so far)',
    'fetching app-3-all.tar.gz: 60 of 109 MB (1 files, 0.0 MB so far)',
    'fetched app-3-all.tar.gz (2 files, 109 MB so far)',
  ]);
  assert.equal(reader.fault(), undefined);
});
