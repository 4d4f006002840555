import { createReaders, readEvents, registryOf, schemaPath } from './compose-parts.ts';
import type { Deps } from './compose-parts.ts';
import type { Config } from './config.ts';
import { createLiveContracts } from './contract/contracts.ts';
import { createEventAvro } from './contract/event-avro.ts';
import { isRefused, violationsText } from './contract/judged.ts';
import { endpointsOf } from './endpoints.ts';
import type { Endpoints } from './endpoints.ts';
import { asError } from './errors.ts';
import { redriveCommand } from './redrive/command.ts';
import type { Terminal } from './redrive/command.ts';
import type { RedriveOptions } from './redrive/options.ts';
import { createClickHouse } from './sink/clickhouse.ts';
import type { Log } from './telemetry.ts';
import { topicNames } from './topic/provision.ts';
import { createPublisher } from './topic/publish.ts';

export { parseRedriveOptions, redriveHelp } from './redrive/options.ts';
export type { RedriveOptions, Terminal };

/** `millrace redrive` on parts that run elsewhere; resolves with the exit code. The tables are the sink's to make. */
export async function redrive(options: RedriveOptions, config: Config, endpoints: Endpoints, { log }: Pick<Deps, 'log'>, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const read = readEvents(createReaders(config, createEventAvro(schemaPath(config)), registryOf(endpoints)), createLiveContracts(config.contracts));
  const clickhouse = createClickHouse(endpoints.clickhouse);
  const publisher = createPublisher({ ...endpoints.kafka, log });
  try {
    return await redriveCommand(options, {
      rows: (statement, params) => clickhouse.rows(statement, params),
      command: statement => clickhouse.command(statement),
      publish: async records => (await publisher.publish(records)).map(result => (result.ok ? null : result.error)),
      judge: async records => {
        const readings = await Promise.all(records.map(({ topic, key, value, headers }) => read(topic, 0, [{ offset: 0n, key, value, timestampMs: 0, header: name => headers[name]?.at(-1)?.toString() ?? null, headers: () => [] }])));
        return readings.flat().map(found => {
          if (!found.ok) return found;
          const { judged } = found.event;
          return isRefused(judged) ? { code: 'contract_violation', detail: violationsText(judged.violations) } : null;
        });
      },
      eventsTopic: config.topic.events, workingFolder: process.cwd(), nowMs: Date.now, terminal, signal,
    });
  } finally {
    await publisher.close();
    await clickhouse.close();
  }
}

/** What is wrong with the parts that the configuration names by URL, and what may be on purpose, one line each. Asks them and changes nothing. */
export async function askConnections(config: Config, log: Log): Promise<{ faults: string[]; notes: string[] }> {
  const { kafka, registry, clickhouse } = config;
  const endpoints = endpointsOf({ ...config, kafka: { ...kafka, brokers: kafka.brokers ?? [] }, registry: { ...registry, url: registry.url ?? '' } }, null);
  const notes: string[] = [];
  const askKafka = async (): Promise<void> => {
    const there = await topicNames(endpoints.kafka, log);
    for (const { name } of config.topics) if (!there.has(name)) notes.push(`topic ${name} does not exist yet; a sink waits for it`);
  };
  const askClickHouse = async (): Promise<void> => {
    const client = createClickHouse({ ...endpoints.clickhouse, database: 'default' });
    await client.rows('SELECT 1').finally(() => client.close());
  };
  const asked = [kafka.brokers === null ? null : askKafka(), registry.url === null ? null : registryOf(endpoints).ping(), clickhouse.url === null ? null : askClickHouse()];
  const answers = await Promise.allSettled(asked.filter(question => question !== null));
  return { notes, faults: answers.flatMap(answer => (answer.status === 'rejected' ? [asError(answer.reason).message] : [])) };
}
