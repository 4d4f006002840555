import { Kafka, logLevel } from 'kafkajs';
import type { KafkaConfig, LogEntry, SASLOptions } from 'kafkajs';
import type { ConnectionOptions } from 'node:tls';
import { note } from '../telemetry.ts';
import type { Log } from '../telemetry.ts';
import { registerCodecs } from './codecs.ts';
import { mendFetch } from './kafkajs-fetch.ts';

/** Where Kafka is and how to get in. */
export interface KafkaConnection {
  /** host:port, at least one. */
  brokers: string[];
  clientId: string;
  ssl?: boolean | ConnectionOptions;
  sasl?: { mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'; username: string; password: string };
}

/** kafkajs for this connection, reading every compression and with its fetch mended, logging to `log`. */
export function createKafka(connection: KafkaConnection, log: Log): Kafka {
  registerCodecs();
  mendFetch();
  const config: KafkaConfig = {
    brokers: connection.brokers,
    clientId: connection.clientId,
    connectionTimeout: 3_000,
    requestTimeout: 30_000,
    // kafkajs' warnings on every rebalance and lost connection are the ordinary life of a group: info here.
    logLevel: logLevel.INFO,
    logCreator: () => entry => passOn(entry, log),
    ...(connection.ssl !== undefined && { ssl: connection.ssl }),
    ...(connection.sasl !== undefined && { sasl: connection.sasl as SASLOptions }),
  };
  return new Kafka(config);
}

function passOn({ level, namespace, log: { message, timestamp: _timestamp, stack: _stack, ...rest } }: LogEntry, log: Log): void {
  if (level === logLevel.ERROR || level === logLevel.WARN) note(log, 'kafkajs_complains', { kafkajs: namespace, message, details: rest });
  else log.debug({ kafkajs: namespace, ...rest }, message);
}
