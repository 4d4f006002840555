import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { build } from 'esbuild';
import type { Browser, Page } from 'playwright-core';
import { endpointsOf, startDoor } from '../../src/compose.ts';
import type { RunningDoor } from '../../src/compose.ts';
import { launchChromium } from '../helpers/chromium.ts';
import { eventually } from '../helpers/eventually.ts';
import { packageRoot } from '../helpers/local.ts';
import { servePages } from '../helpers/page-server.ts';
import type { PageServer } from '../helpers/page-server.ts';
import { freshConfig, testLog } from '../helpers/shared-stack.ts';
import { startSystem } from '../helpers/system.ts';
import type { System } from '../helpers/system.ts';
import { writeKey } from '../helpers/write-key.ts';

/*
 * @segment/analytics-next as it is in its package, in a real Chromium, on a page of another site than the door's.
 * Its settings are a write key and where the settings are (cdnURL): those say where events go.
 */

let system: System;
let browser: Browser;
let pages: PageServer;
before(async () => {
  const config = freshConfig();
  config.writeKeys.push(writeKey('slow', 'dev', 'slow', { rateLimit: { eventsPerSecond: 1, burst: 1 } }));
  [system, browser, pages] = await Promise.all([startSystem(config), launchChromium(), sdkPages()]);
});
after(() => Promise.all([browser.close(), pages.close(), system.close()]));

/** A page whose bundler took the SDK from npm, and the ready-made script that the snippet loads. */
async function sdkPages(): Promise<PageServer> {
  const bundle = await build({
    stdin: { contents: `import { AnalyticsBrowser } from '@segment/analytics-next'; globalThis.AnalyticsBrowser = AnalyticsBrowser;`, resolveDir: packageRoot },
    bundle: true, write: false, format: 'iife', platform: 'browser', minify: true, logLevel: 'error',
  });
  const html = (body: string) => ({ type: 'text/html', body: `<!doctype html><title>Shop</title><link rel="icon" href="data:,">${body}` });
  return servePages({
    '/': html('<script src="/npm.js"></script>'),
    '/other': html('elsewhere'),
    '/npm.js': { type: 'text/javascript', body: bundle.outputFiles[0]?.text ?? '' },
    '/snippet': html(`<script>
      const calls = window.analytics = [];
      for (const name of ['page', 'track']) calls[name] = (...given) => calls.push([name, ...given]);
      const { door, anonymous } = Object.fromEntries(new URLSearchParams(location.search));
      Object.assign(calls, { _writeKey: 'dev', _cdn: door });
      calls.push(['setAnonymousId', anonymous]);
      analytics.page('Pricing');
      analytics.track('Order Completed', { total: 99.5 });
    </script><script async src="/analytics.min.js"></script>`),
    '/analytics.min.js': { type: 'text/javascript', body: readFileSync(join(packageRoot, 'node_modules/@segment/analytics-next/dist/umd/standalone.js')) },
  });
}

interface Visit {
  page: Page;
  /** What the page's console has as errors, and what was answered otherwise than with 200. */
  faults: string[];
  /** Of requests to the door, in order. */
  asked: string[];
}

/** A page of somebody who has never been here. */
async function visit(path = '/', door = system.door.url): Promise<Visit> {
  const context = await browser.newContext();
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  const faults: string[] = [];
  const asked: string[] = [];
  page.on('console', message => void (message.type() === 'error' && faults.push(message.text())));
  page.on('pageerror', error => void faults.push(error.message));
  page.on('request', request => {
    if (request.url().startsWith(door)) asked.push(`${request.method()} ${request.url().slice(door.length)}`);
  });
  await page.goto(`${pages.origin}${path}`);
  return { page, faults, asked };
}

const load = (key: string, anonymousId: string, { door = system.door.url, options = {} } = {}): string =>
  `globalThis.sdk = AnalyticsBrowser.load(${JSON.stringify({ writeKey: key, cdnURL: door })}, ${JSON.stringify(options)}); sdk.setAnonymousId('${anonymousId}');`;
const batching = (config: object) => ({ options: { integrations: { 'Segment.io': { deliveryStrategy: { strategy: 'batching', config } } } } });

const rowsOf = (anonymousId: string, count: number): Promise<Record<string, unknown>[]> =>
  eventually(() => system.query(`SELECT type, event, user_id, previous_id, group_id, category, name, toString(properties) AS properties, toString(traits) AS traits FROM events WHERE anonymous_id = '${anonymousId}' ORDER BY type, event`), rows => rows.length >= count, 30_000);
/** `properties` without what the SDK says of the page on its own. */
const told = (row: Record<string, unknown>): Record<string, unknown> => {
  const { path: _path, referrer: _referrer, search: _search, title: _title, url: _url, ...properties } = JSON.parse(String(row['properties'])) as Record<string, unknown>;
  return { ...row, properties, traits: JSON.parse(String(row['traits'])) as unknown };
};
const events = async (anonymousId: string, count: number): Promise<unknown[]> => (await rowsOf(anonymousId, count)).map(row => row['event']);

// They wait for ClickHouse most of the time: together, so that they take a few seconds.
describe('the browser SDK', { concurrency: true }, () => {
  test('from npm: every call kind, as rows', async () => {
    const { page, faults, asked } = await visit();
    await page.evaluate(`(async () => {
      ${load('dev', 'npm')}
      await sdk.page('Shop', 'Pricing', { tier: 'pro' });
      await sdk.track('Order Completed', { total: 99.5, items: [{ sku: 'a' }] });
      await sdk.alias('ada', 'ada-before');
      await sdk.identify('ada', { plan: 'pro', company: { id: 'c' } });
      await sdk.screen('App', 'Settings');
      await sdk.group('g1', { name: 'Acme' });
    })()`);
    const common = { event: '', user_id: 'ada', previous_id: '', group_id: '', category: '', name: '', properties: {}, traits: {} };
    assert.deepEqual((await rowsOf('npm', 6)).map(told), [
      { ...common, type: 'alias', previous_id: 'ada-before' },
      { ...common, type: 'group', group_id: 'g1', traits: { name: 'Acme' } },
      { ...common, type: 'identify', traits: { plan: 'pro', company: { id: 'c' } } },
      { ...common, type: 'page', user_id: '', category: 'Shop', name: 'Pricing', properties: { tier: 'pro', category: 'Shop', name: 'Pricing' } },
      { ...common, type: 'screen', category: 'App', name: 'Settings' },
      { ...common, type: 'track', user_id: '', event: 'Order Completed', properties: { total: 99.5, items: [{ sku: 'a' }] } },
    ]);
    assert.deepEqual(asked, ['GET /v1/projects/dev/settings', 'POST /v1/p', 'POST /v1/t', 'POST /v1/a', 'POST /v1/i', 'POST /v1/s', 'POST /v1/g']);
    assert.deepEqual(faults, []);
  });

  test('by the snippet: calls from before the script was there', async () => {
    const { faults } = await visit(`/snippet?${new URLSearchParams({ door: system.door.url, anonymous: 'snippet' }).toString()}`);
    assert.deepEqual((await rowsOf('snippet', 2)).map(({ type, event, name }) => [type, event, name]), [['page', '', 'Pricing'], ['track', 'Order Completed', '']]);
    assert.deepEqual(faults, []);
  });

  test('batches, which bring the key in a header and so a preflight; what waits when the page goes is sent as it goes', async () => {
    const { page, faults, asked } = await visit();
    await page.evaluate(`(async () => {
      ${load('dev', 'batches', batching({ size: 2, timeout: 60_000 }))}
      await sdk.track('First');
      await sdk.track('Second');
      await sdk.track('Third');
      const bye = JSON.stringify({ type: 'track', event: 'Beacon', anonymousId: 'batches', writeKey: 'dev' });
      addEventListener('pagehide', () => navigator.sendBeacon('${system.door.url}/v1/t', bye));
    })()`);
    assert.deepEqual(await events('batches', 2), ['First', 'Second']);
    assert.deepEqual(asked, ['GET /v1/projects/dev/settings', 'POST /v1/b']);
    await page.goto(`${pages.origin}/other`);
    assert.deepEqual(await events('batches', 4), ['Beacon', 'First', 'Second', 'Third']);
    assert.deepEqual(faults, []);
  });

  test('a page that goes before its first batch', async () => {
    const { page } = await visit();
    await page.evaluate(`(async () => { ${load('dev', 'gone', batching({ timeout: 60_000 }))} await sdk.track('Only'); })()`);
    await page.close({ runBeforeUnload: true });
    assert.deepEqual(await events('gone', 1), ['Only']);
  });

  test('429: the SDK comes again; a page may add headers, and read when to come', async () => {
    const { page, asked } = await visit();
    await page.evaluate(`(async () => { ${load('slow', 'slow', { options: { integrations: { 'Segment.io': { deliveryStrategy: { config: { headers: { 'X-Shop': 'berlin' } } } } } } })} await Promise.all(['First', 'Second', 'Third'].map(name => sdk.track(name))); })()`);
    assert.deepEqual((await events('slow', 3)).sort(), ['First', 'Second', 'Third']);
    assert.ok(asked.filter(request => request === 'POST /v1/t').length >= 4, `one was refused: ${asked.join(', ')}`);
    const event = JSON.stringify({ anonymousId: 'probe', event: 'E', writeKey: 'slow' });
    const answers: [number, string | null][] = await page.evaluate(`Promise.all([1, 2].map(() => fetch('${system.door.url}/v1/t', { method: 'POST', body: '${event}' }).then(answer => [answer.status, answer.headers.get('Retry-After')])))`);
    assert.deepEqual(answers.find(([status]) => status === 429), [429, '1']);
  });

  test('a door that was away: its events wait, also from one page to the next, and come once', async () => {
    const doorConfig = { ...system.config, port: 0 };
    const start = (port: number): Promise<RunningDoor> => startDoor({ ...doorConfig, port }, endpointsOf(doorConfig, null), { log: testLog(), onFatal: error => { throw error; } });
    let door = await start(0);
    const { url } = door;
    try {
      const { page, asked } = await visit('/', url);
      await page.evaluate(`(async () => { ${load('dev', 'patient', { door: url })} await sdk.track('Before'); })()`);
      await door.close();
      await page.evaluate(`sdk.track('While Away')`);
      await eventually(() => asked.filter(request => request === 'POST /v1/t').length, count => count >= 3, 5_000);
      await page.goto(`${pages.origin}/other`);
      door = await start(Number(new URL(url).port));
      await page.goto(`${pages.origin}/`);
      await page.evaluate(`${load('dev', 'patient', { door: url })} void 0`);
      assert.deepEqual(await events('patient', 2), ['Before', 'While Away']);
    } finally {
      await door.close();
    }
  });
});
