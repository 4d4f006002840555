import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { MillraceError, asError } from '../errors.ts';

/** A Java that is new enough. */
export interface Java {
  /** The command to run: a path, or a name on PATH. */
  command: string;
  /** The feature release, as 17. */
  version: number;
  /** What `java -version` says, whole: another build, another text. */
  build: string;
}

const oldestVersion = 17;

/**
 * Finds Java 17 or later. `java` is a command, a path of one, or a Java home; without it `java` on PATH is taken.
 * Throws `java_missing` when there is none or it is too old.
 */
export async function findJava(java = 'java'): Promise<Java> {
  const command = isFolder(java) ? join(java, 'bin', 'java') : java;
  const hint = `Install a Java ${oldestVersion} (a headless runtime will do) so that \`java\` is on PATH, or set JAVA_HOME.`;
  let build: string;
  try {
    build = await javaVersion(command);
  } catch (thrown) {
    throw new MillraceError('java_missing', `Kafka and the schema registry need Java ${oldestVersion}; ${command} could not be run`, {
      cause: asError(thrown), hint,
    });
  }
  // "17.0.15", "21", and "1.8.0_402" of the days before Java 9.
  const [, first, second] = /version "(\d+)(?:\.(\d+))?/.exec(build) ?? [];
  const version = Number(first === '1' ? second : first);
  if (!(version >= oldestVersion)) {
    const found = Number.isNaN(version) ? 'is none' : `is Java ${version}`;
    throw new MillraceError('java_missing', `Kafka and the schema registry need Java ${oldestVersion}; ${command} ${found}`, { hint });
  }
  return { command, version, build };
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

async function javaVersion(command: string): Promise<string> {
  return await new Promise((resolve, reject) => {
    execFile(command, ['-version'], { timeout: 20_000 }, (error, stdout, stderr) => {
      if (error === null) resolve(`${stderr}${stdout}`.trim());
      else reject(asError(error));
    });
  });
}
