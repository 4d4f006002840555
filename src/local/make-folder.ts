import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Makes a folder and those above it. Node's own recursive mkdir does not come to an end where a file system says that a folder is missing
 * which it won't let anybody make, as below /proc.
 */
export async function makeFolder(dir: string): Promise<void> {
  if (await made(dir)) return;
  await makeFolder(dirname(dir));
  if (!(await made(dir))) throw new Error(`${dirname(dir)} takes no folders`);
}

/** Whether the folder is there now; false where the one above it is missing. */
async function made(dir: string): Promise<boolean> {
  try {
    await mkdir(dir);
    return true;
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === 'ENOENT' && dirname(dir) !== dir) return false;
    if (code !== 'EEXIST') throw thrown;
    if (!(await stat(dir)).isDirectory()) throw new Error('it is a file', { cause: thrown });
    return true;
  }
}
