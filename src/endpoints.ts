import type { Config } from './config.ts';
import { MillraceError } from './errors.ts';
import type { LocalStack } from './local/stack.ts';
import type { ClickHouseConnection } from './sink/clickhouse.ts';
import type { KafkaConnection } from './topic/connection.ts';

/** Where the parts are, once it is known which of them are embedded. */
export interface Endpoints {
  kafka: KafkaConnection;
  registry: { url: string; auth: { username: string; password: string } | null };
  clickhouse: ClickHouseConnection;
}

/** The parts as the configuration names them; for those it leaves out, the embedded ones of `stack`. */
export function endpointsOf(config: Config, stack: LocalStack | null): Endpoints {
  const brokers = config.kafka.brokers ?? stack?.kafkaBrokers?.split(',');
  const registryUrl = config.registry.url ?? stack?.registryUrl;
  const clickhouseUrl = config.clickhouse.url ?? stack?.clickhouseUrl;
  if (brokers === undefined || registryUrl === undefined) throw new MillraceError('config_invalid', 'no Kafka or no registry is configured, and none is embedded');
  return {
    kafka: {
      brokers,
      clientId: 'millrace',
      ...(config.kafka.ssl && { ssl: config.kafka.ssl }),
      ...(config.kafka.sasl && { sasl: config.kafka.sasl }),
    },
    registry: { url: registryUrl, auth: config.registry.auth },
    clickhouse: {
      url: clickhouseUrl ?? '',
      ...(config.clickhouse.username !== null && { username: config.clickhouse.username }),
      ...(config.clickhouse.password !== null && { password: config.clickhouse.password }),
      database: config.clickhouse.database,
      timeoutMs: 30_000,
    },
  };
}
