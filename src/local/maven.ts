import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { MillraceError } from '../errors.ts';

export interface MavenOptions {
  /** The command to run; `mvn` on PATH unless given. */
  maven?: string;
  pom: string;
  /** Where the pom's `millrace.out` points. */
  outDir: string;
  signal?: AbortSignal;
  onProgress: (line: string) => void;
}

/** Runs the pom. Throws `maven_missing`, `download_failed` with Maven's own words, or the signal's reason. */
export async function runMaven(options: MavenOptions): Promise<void> {
  const { maven = 'mvn', pom, outDir, signal, onProgress } = options;
  // Not in batch mode: only then does Maven tell the progress inside a file. With no input it cannot ask anything.
  const args = ['-f', pom, `-Dmillrace.out=${outDir}`, '-Dstyle.color=never', 'generate-resources'];
  const child = spawn(maven, args, { stdio: ['ignore', 'pipe', 'pipe'], ...(signal === undefined ? {} : { signal }) });
  const output = createMavenReader(onProgress);
  createInterface({ input: child.stdout }).on('line', output.read);
  createInterface({ input: child.stderr }).on('line', output.read);
  const exit = await new Promise<number | NodeJS.Signals | Error>((resolve) => {
    child.once('error', resolve);
    child.once('close', (code, killedBy) => { resolve(code ?? killedBy ?? 1); });
  });
  signal?.throwIfAborted();
  if (exit === 0) return;
  if (exit instanceof Error) {
    throw new MillraceError('maven_missing', `the jars of Kafka and the schema registry are not there yet, and ${maven} could not be run to fetch them`, {
      cause: exit, hint: 'Install Maven 3.6 or later so that `mvn` is on PATH, or give the addresses of running ones: KAFKA_BROKERS and SCHEMA_REGISTRY_URL.',
    });
  }
  throw new MillraceError('download_failed', `Maven could not fetch the jars of Kafka and the schema registry: ${output.fault() ?? `it ended with ${exit}`}`, {
    hint: 'Check the network and Maven\'s settings, then start again; what was fetched is kept.',
  });
}

/**
 * Turns Maven's output into progress, and remembers its error. Lines come as
 * `Downloading from <id>: <url>`, `Progress (1): 52/109 MB` (several joined by ` | `), `Downloaded from <id>: <url> (109 MB at 9 MB/s)`.
 */
export function createMavenReader(onProgress: (line: string) => void): { read: (text: string) => void; fault: () => string | undefined } {
  let files = 0;
  let bytes = 0;
  let current = '';
  let fault: string | undefined;
  return {
    read(text) {
      for (const line of text.split('\r').map((part) => part.trim())) {
        const started = /^Downloading from \S+: (\S+)/.exec(line);
        const done = /^Downloaded from \S+: (\S+) \(([\d.]+) (B|kB|MB|GB)/.exec(line);
        const inside = /^Progress \(\d+\): .*?([\d.]+)\/([\d.]+) MB/.exec(line);
        const error = /^\[ERROR\]\s+(\S.*)/.exec(line);
        if (started?.[1] !== undefined) {
          current = fileName(started[1]);
        } else if (done?.[1] !== undefined) {
          files += 1;
          bytes += Number(done[2]) * unitBytes(done[3]);
          // Poms and checksums are many and small; naming only jars keeps the text readable.
          if (/\.(jar|gz)$/.test(done[1])) onProgress(`fetched ${fileName(done[1])} (${files} files, ${megabytes(bytes)} MB so far)`);
        } else if (inside) {
          onProgress(`fetching ${current}: ${inside[1]} of ${inside[2]} MB (${files} files, ${megabytes(bytes)} MB so far)`);
        } else if (error?.[1] !== undefined && fault === undefined) {
          // The first one tells the cause; the rest is advice.
          fault = error[1].replace(/\s*->\s*\[Help 1\]$/, '').slice(0, 400);
        }
      }
    },
    fault: () => fault,
  };
}

function fileName(url: string): string {
  return url.slice(url.lastIndexOf('/') + 1);
}

function unitBytes(unit: string | undefined): number {
  return unit === 'GB' ? 1e9 : unit === 'MB' ? 1e6 : unit === 'kB' ? 1e3 : 1;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
}
