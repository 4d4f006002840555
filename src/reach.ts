import { connect } from 'node:net';
import type { Config } from './config.ts';
import { MillraceError } from './errors.ts';

const patienceMs = 3_000;

/**
 * Asks every address that the configuration names whether somebody listens, before anything slow is started.
 * Throws `config_invalid` with each that does not answer, and the variable that named it.
 */
export async function requireReachable(config: Config, hint = 'Start what is missing, or unset the variable: `millrace up` then runs an embedded one.'): Promise<void> {
  const { kafka, registry, clickhouse } = config;
  const asked: { variable: string; what: string; addresses: URL[] }[] = [];
  if (kafka.brokers !== null) asked.push({ variable: 'KAFKA_BROKERS', what: 'Kafka', addresses: kafka.brokers.map(broker => new URL(`tcp://${broker}`)) });
  if (registry.url !== null) asked.push({ variable: 'SCHEMA_REGISTRY_URL', what: 'schema registry', addresses: [new URL(registry.url)] });
  if (clickhouse.url !== null) asked.push({ variable: 'CLICKHOUSE_URL', what: 'ClickHouse', addresses: [new URL(clickhouse.url)] });
  const faults = await Promise.all(
    asked.map(async ({ variable, what, addresses }) => {
      const answers = await Promise.all(addresses.map(listens));
      return answers.some(Boolean) ? [] : [`no ${what} listens at ${addresses.map(({ host }) => host).join(', ')} (${variable})`];
    }),
  );
  const lines = faults.flat();
  if (lines.length > 0) throw new MillraceError('config_invalid', lines.join('\n'), { hint });
}

function listens({ protocol, hostname, port }: URL): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host: hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(port || (protocol === 'https:' ? 443 : 80)) });
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(patienceMs, () => end(false));
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
