/** `npm run bench`: see the help text below, and docs/performance.md. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../test/helpers/local.ts';
import { contractBench } from './contract.ts';
import { dedupeBench } from './dedupe.ts';
import { doorBench } from './door.ts';
import { endToEndBench } from './end-to-end.ts';
import { growthBench } from './growth.ts';
import { requireWrk } from './harness/load.ts';
import { textOf, writeDocs } from './harness/report.ts';
import type { Bench } from './harness/report.ts';
import { memoryBench } from './memory.ts';
import { producerBench } from './producer.ts';
import { profilesBench } from './profiles.ts';
import { sinkBench } from './sink.ts';

const benches: Record<string, { bench: Bench; usual: boolean; about: string }> = {
  door: { bench: doorBench, usual: true, about: 'HTTP to Kafka, against a bare Fastify' },
  sink: { bench: sinkBench, usual: true, about: 'Kafka to ClickHouse, against ClickHouse’s own Kafka engine' },
  'end-to-end': { bench: endToEndBench, usual: true, about: 'HTTP to a row, and how soon it is there at half of the limit' },
  contract: { bench: contractBench, usual: true, about: 'judging an event by a contract of ten properties' },
  producer: { bench: producerBench, usual: false, about: 'the Kafka client by itself: kafkajs, @platformatic/kafka, ours' },
  dedupe: { bench: dedupeBench, usual: false, about: 'looking up ids among up to 100 million; some 5 minutes, 6 GB' },
  profiles: { bench: profilesBench, usual: false, about: 'reading one profile of many, and what profiles cost an insert; some 10 minutes' },
  growth: { bench: growthBench, usual: false, about: 'how the cost of a row grows with partitions, users, rows, properties, contracts; some 10 minutes' },
  memory: { bench: memoryBench, usual: false, about: 'memory of door and sink under full load, over 10 minutes' },
};

const { values: args, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '6' },
    events: { type: 'string', default: '200000' },
    minutes: { type: 'string', default: '10' },
    users: { type: 'string', default: '1000000' },
    workers: { type: 'string', default: '1,2' },
    json: { type: 'string' },
    write: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

const help = `npm run bench [-- NAME… [options]]

${Object.entries(benches).map(([name, { about, usual }]) => `  ${name.padEnd(12)} ${about}${usual ? '' : ' (not among the usual ones)'}`).join('\n')}

Without a name: the usual ones. Each starts a stack of its own in a temporary folder, and measures in turns with what it is compared with.
Figures of one run belong together; those of two machines, or of a busy one, do not.

  --rounds N     turns (3)                     --workers 1,2  numbers of door processes to try
  --seconds N    of load in a turn (6)         --json FILE    where all figures go (.millrace/bench/NAME.json)
  --events N     of a backlog (200000)         --write        puts the tables and plots into docs/performance.md
  --minutes N    of the long run (10)          --users N      whose profiles are read (1000000)
`;

async function main(): Promise<void> {
  if (args.help) return void process.stdout.write(help);
  const unknown = positionals.filter(name => !Object.hasOwn(benches, name));
  const number = (name: 'rounds' | 'seconds' | 'events' | 'minutes' | 'users'): number => {
    const value = Number(args[name]);
    if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} is a whole number from 1 on, not "${args[name]}"`);
    return value;
  };
  if (unknown.length > 0) throw new Error(`there is no bench ${unknown.join(', ')}; there are ${Object.keys(benches).join(', ')}`);
  if (process.platform !== 'linux') throw new Error('the figures of processes are read from /proc: this needs Linux');
  await requireWrk();
  const options = { rounds: number('rounds'), seconds: number('seconds'), events: number('events'), minutes: number('minutes'), users: number('users'), workers: args.workers.split(',').map(Number), onProgress: (line: string) => void process.stderr.write(`${line}\n`) };
  const names = positionals.length > 0 ? positionals : Object.keys(benches).filter(name => benches[name]?.usual);
  for (const name of names) {
    const report = await benches[name]?.bench(options);
    if (report === undefined) continue;
    console.log(`\n${textOf(report)}\n`);
    const file = args.json ?? join(packageRoot, '.millrace', 'bench', `${name}.json`);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, `${JSON.stringify(report, null, 2)}\n`);
    if (args.write) await writeDocs(report, new Date().toISOString().slice(0, 10));
  }
}

await main().catch((thrown: unknown) => {
  console.error(thrown instanceof Error ? thrown.message : thrown);
  process.exitCode = 1;
});
