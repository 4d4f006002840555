import { parseArgs } from 'node:util';
import type { ParseArgsConfig } from 'node:util';

/** The options of a program that is run by hand. `--help` prints how it is used; what it does not know ends it with one line and that. */
export function readOptions<Options extends NonNullable<ParseArgsConfig['options']>>(usage: string, options: Options): ReturnType<typeof parseArgs<{ options: Options }>>['values'] {
  if (process.argv.includes('--help')) {
    console.log(usage);
    process.exit(0);
  }
  try {
    return parseArgs({ options }).values;
  } catch (thrown) {
    console.error(`${thrown instanceof Error ? thrown.message : String(thrown)}\n${usage}`);
    process.exit(1);
  }
}
