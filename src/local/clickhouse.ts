import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

export interface ClickHouseSettings {
  host: string;
  port: number;
  /** ClickHouse's own folder. */
  dir: string;
}

/** The child's entry beside this file: TypeScript when run from source, JavaScript when built. */
export function clickHouseEntry(): string {
  return fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? './clickhouse/main.ts' : './clickhouse/main.js', import.meta.url));
}

/** Makes ClickHouse's folder, and returns the arguments for node. */
export async function prepareClickHouse({ host, port, dir }: ClickHouseSettings): Promise<string[]> {
  await mkdir(dir, { recursive: true });
  const entry = clickHouseEntry();
  const loader = entry.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [];
  return [...loader, entry, '--host', host, '--port', String(port), '--data', dir];
}
