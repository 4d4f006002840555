import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';
import type { Browser } from 'playwright-core';

const names = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome'];

/** Path of a Chromium: `CHROMIUM` of the environment, else on the PATH or at its usual places. Throws with what to do where there is none. */
function findChromium(environment: Readonly<Record<string, string | undefined>>): string {
  const named = environment['CHROMIUM'];
  if (named !== undefined && named !== '') {
    if (isProgram(named)) return named;
    throw new Error(`CHROMIUM=${named} is no program`);
  }
  const folders = [...(environment['PATH'] ?? '').split(delimiter), '/usr/bin', '/usr/local/bin', '/snap/bin'].filter(folder => folder !== '');
  const found = [...folders.flatMap(folder => names.map(name => join(folder, name))), '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome', '/Applications/Chromium.app/Contents/MacOS/Chromium'].find(isProgram);
  if (found === undefined) throw new Error('no Chromium was found, and the browser SDK is tested in a real one: `apt-get install chromium`, or set CHROMIUM to the path of a Chromium or Chrome');
  return found;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Headless. Root may run it only without its sandbox; the pages are the tests' own. */
export function launchChromium(): Promise<Browser> {
  return chromium.launch({ executablePath: findChromium(process.env), chromiumSandbox: process.getuid?.() !== 0, timeout: 20_000 });
}
