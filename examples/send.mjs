/**
 * Sends a batch from plain Node (20 or newer), safely: node examples/send.mjs
 * A message id is given once per event and sent with every try, so that an answer that never came costs nothing.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

const { env } = process;
const door = env.MILLRACE_URL ?? 'http://127.0.0.1:8080';
const key = env.MILLRACE_KEY ?? 'dev';
const clickhouse = env.CLICKHOUSE_URL ?? 'http://127.0.0.1:8123';
const database = env.CLICKHOUSE_DATABASE ?? 'millrace';

const run = randomUUID();
const batch = Array.from({ length: 100 }, (_, index) => ({
  type: 'track',
  event: 'Song Played',
  userId: `listener-${index % 10}`,
  messageId: `${run}-${index}`,
  timestamp: new Date().toISOString(),
  properties: { song: `song-${index % 7}`, seconds: 30 + index, run },
}));

const { received, accepted, rejected, errors } = await send(batch).catch(fail);
console.log(`sent ${received}: ${accepted} accepted, ${rejected} rejected`);
for (const { index, code, message } of errors) console.error(`event ${index}: ${code}, ${message}`);

// What was accepted is in Kafka for good, and in ClickHouse a moment later.
let rows = 0;
for (const deadline = Date.now() + 30_000; rows < accepted && Date.now() < deadline; await sleep(200)) rows = await countRows().catch(fail);
console.log(`rows in ClickHouse: ${rows}`);
process.exitCode = rows === accepted && rejected === 0 ? 0 : 1;

/** Tries again after no answer, 429 and 5xx; everything else is final. */
async function send(events) {
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(`${door}/api/v1/events/batch`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Basic ${Buffer.from(`${key}:`).toString('base64')}` },
      body: JSON.stringify({ batch: events }),
    }).catch(error => ({ ok: false, status: 0, headers: new Map(), text: async () => String(error.cause ?? error), refused: error.cause?.code === 'ECONNREFUSED' }));
    if (response.ok) return response.json();
    if (response.refused && attempt === 1) throw new Error(`nothing answers at ${door}: start it with npm start, or set MILLRACE_URL`);
    const passing = response.status === 0 || response.status === 429 || response.status >= 500;
    if (!passing || attempt === 5) throw new Error(`${door} answered ${response.status || 'nothing'}: ${await response.text()}`);
    const waitSeconds = Number(response.headers.get('retry-after')) || 2 ** attempt / 4;
    console.error(`answer ${response.status || 'lost'}, again in ${waitSeconds} s`);
    await sleep(waitSeconds * 1000);
  }
}

function fail(error) {
  const refused = error.cause?.code === 'ECONNREFUSED';
  console.error(`send.mjs: ${refused ? `no ClickHouse answers at ${clickhouse}: set CLICKHOUSE_URL` : error.message}`);
  process.exit(1);
}

async function countRows() {
  const url = `${clickhouse}/?${new URLSearchParams({ database, param_run: run })}`;
  const headers = env.CLICKHOUSE_USER ? { 'x-clickhouse-user': env.CLICKHOUSE_USER, 'x-clickhouse-key': env.CLICKHOUSE_PASSWORD ?? '' } : {};
  const response = await fetch(url, { method: 'POST', headers, body: 'SELECT count() FROM events WHERE properties.run.:String = {run:String}' });
  if (!response.ok) throw new Error(`ClickHouse: ${await response.text()}`);
  return Number(await response.text());
}
