import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { createKeyRing } from '../../src/door/keys.ts';
import { createDoor } from '../helpers/described-door.ts';
import { measureDoor } from '../../src/measure.ts';
import { createMetrics } from '../../src/metrics.ts';
import { eventually } from '../helpers/eventually.ts';
import { parseScrape } from '../helpers/prometheus.ts';
import type { Scrape } from '../helpers/prometheus.ts';
import { keepingLog } from '../helpers/topic-scene.ts';
import { writeKey } from '../helpers/write-key.ts';

/* What /metrics and the log say of requests, by dialect, key and code. */

function door() {
  const { log, lines } = keepingLog();
  const metrics = createMetrics();
  const meter = measureDoor(metrics, { log, dialects: ['segment'], keys: ['web'], inFlightBytes: () => 0 });
  let kafka = true;
  const app = createDoor({
    ...meter, log, overloaded: () => false, readiness: async () => ({ ready: true, parts: {} }),
    keys: createKeyRing([writeKey('web', 'acme', 'secret'), { ...writeKey('slow', 'acme', 'slow'), rateLimit: { eventsPerSecond: 1, burst: 1 } }]),
    async accept(events) {
      meter.onProduced(1);
      return events.map(() => (kafka ? ({ ok: true }) : ({ ok: false, retryable: true, message: 'away' })));
    },
  });
  const post = (url: string, payload: object | string, key: string | null): Promise<{ statusCode: number }> =>
    app.inject({ method: 'POST', url, payload, headers: { 'content-type': 'application/json', 'x-request-id': 'r', ...(key !== null && { 'x-api-key': key }) } });
  const read = async (): Promise<Scrape> => parseScrape((await metrics.exposition()).body);
  return { app, post, read, lines, setKafka: (on: boolean) => (kafka = on) };
}

const good = { type: 'page', userId: 'u' };
const bad = { type: 'track', userId: 'u' };

test('events and requests are counted by dialect, key and code; keys that are not configured are one label', async () => {
  const { post, read, lines, setKafka } = door();
  await post('/api/v1/events/batch', { batch: [good, good, bad, { ...bad, userId: '' }] }, 'secret');
  await post('/api/v1/events', bad, 'secret');
  await post('/v1/events', { event_type: 'e' }, 'secret');
  for (let times = 0; times < 50; times++) await post('/api/v1/events', good, `guess-${times}`);
  await post('/api/v1/events', good, null);
  await post('/v1/page', { ...good, writeKey: 'guessed too' }, null);
  await post('/v1/page', { ...good, writeKey: 'secret' }, null);
  await post('/api/v1/events', '{', 'secret');
  for (let times = 0; times < 3; times++) await post('/v1/page', good, 'slow');
  await post('/nowhere', '{}', 'secret');
  setKafka(false);
  await post('/api/v1/events', good, 'secret');
  const values = await read();
  const of = (name: string): Record<string, number> => Object.fromEntries([...values].filter(([series]) => series.startsWith(`${name}{`)).map(([series, value]) => [[...series.matchAll(/"([^"]*)"/g)].map(([, label]) => label).join(' '), value]));
  assert.deepEqual(of('millrace_door_events_total'), {
    'segment web accepted': 3, 'segment web field_missing': 3, 'segment web unavailable': 1, 'intake web field_missing': 1, 'segment slow accepted': 1, 'segment slow rate_limited': 2,
  });
  assert.deepEqual(of('millrace_door_requests_total'), {
    'segment web 200 ok': 2, 'segment web 400 field_missing': 1, 'intake web 400 field_missing': 1, 'segment (unknown) 401 unauthorized': 51, 'segment (none) 401 unauthorized': 1,
    'segment web 400 malformed_json': 1, 'segment slow 200 ok': 1, 'segment slow 429 rate_limited': 2, '(none) (none) 404 not_found': 1, 'segment web 503 unavailable': 1,
  });
  assert.equal(values.get('millrace_door_produce_seconds_count'), 4);
  // One line of each kind, though there were dozens; the events of a refused request are told of once.
  assert.deepEqual(lines.map(({ event, dialect, key, code, times, requestId }) => [event, dialect, key, code, times, requestId].join(' ')), [
    'events_refused segment web field_missing 2 r', 'events_refused intake web field_missing 1 r', 'request_refused segment (unknown) unauthorized 1 r', 'request_refused segment (none) unauthorized 1 r',
    'request_refused segment web malformed_json 1 r', 'events_refused segment slow rate_limited 1 r', 'request_refused (none) (none) not_found 1 r', 'events_refused segment web unavailable 1 r',
  ]);
  assert.ok(!JSON.stringify(lines).includes('secret') && !JSON.stringify(lines).includes('guess'));
});

test('what is no HTTP counts too, and the bytes of bodies at work are shown until they are gone', { timeout: 20_000 }, async () => {
  const { app, read } = door();
  await app.listen({ port: 0, host: '127.0.0.1' });
  try {
    const { port } = app.server.address() as AddressInfo;
    const stranger = connect(port, '127.0.0.1');
    stranger.end('nonsense\r\n\r\n');
    await once(stranger.resume(), 'close');
    assert.equal((await read()).sum('millrace_door_requests_total', { status: '400', result: 'bad_request', key: '(none)' }), 1);
    const slow = connect(port, '127.0.0.1');
    slow.write(`POST /api/v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: secret\r\nContent-Type: application/json\r\nContent-Length: 20000\r\n\r\n${' '.repeat(10_000)}`);
    await eventually(read, values => values.get('millrace_door_held_bytes') === 10_000);
    slow.destroy();
    await eventually(read, values => values.get('millrace_door_held_bytes') === 0);
  } finally {
    await app.close();
  }
});
