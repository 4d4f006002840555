/**
 * Fuzzes the door by its OpenAPI document: `npm run test:fuzz -- [--minutes 5] [--seed N] [--url http://… --key dev]`.
 * Without a URL it listens here, with nothing behind it. Prints what was answered; exit 1 with the smallest request that went wrong.
 */
import { readOptions } from '../helpers/options.ts';
import { fuzzDoor } from './fuzz-door.ts';
import { doorAlone, sendTo } from './send.ts';

const usage = 'npm run test:fuzz -- [--minutes 5] [--seed N] [--url http://127.0.0.1:8080 --key dev]; without a URL a door is opened here, with nothing behind it';
const values = readOptions(usage, { minutes: { type: 'string', default: '5' }, seed: { type: 'string' }, url: { type: 'string' }, key: { type: 'string', default: 'dev' } });
const minutes = Number(values.minutes);
const seed = Number(values.seed ?? Date.now() % 2 ** 31);
if (!(minutes > 0) || !Number.isInteger(seed)) {
  console.error('--minutes is a number above 0, --seed a whole number');
  process.exit(1);
}
const app = values.url === undefined ? doorAlone(values.key) : null;
const url = values.url ?? (await app?.listen({ port: 0, host: '127.0.0.1' })) ?? '';
console.log(`fuzzing ${url} for ${minutes} minutes, seed ${seed}`);
const { requests, answers, fault } = await fuzzDoor({ key: values.key, send: sendTo(url), seed, maxRequests: Number.MAX_SAFE_INTEGER, maxMs: minutes * 60_000 });
await app?.close();
for (const [place, count] of [...answers].sort()) console.log(`${String(count).padStart(8)}  ${place}`);
console.log(`${requests} requests; ${fault ?? 'no fault'}`);
process.exit(fault === null ? 0 : 1);
