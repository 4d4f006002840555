import { Kafka, logLevel } from 'kafkajs';
import type { Admin, ITopicConfig } from 'kafkajs';
import { eventually } from './eventually.ts';
import { sharedStack } from './shared-stack.ts';

/** Makes a topic and waits until every partition has a leader: kafkajs' own wait fails where the broker does not know the topic yet. */
export async function createTopic(admin: Admin, config: ITopicConfig & { numPartitions: number }): Promise<void> {
  await admin.createTopics({ waitForLeaders: false, topics: [config] });
  const led = (): Promise<number> =>
    admin.fetchTopicMetadata({ topics: [config.topic] }).then(({ topics }) => topics[0]?.partitions.filter(({ leader }) => leader >= 0).length ?? 0, () => 0);
  await eventually(led, count => count === config.numPartitions);
}

/** An events topic of the shared stack whose records keep the times that the test gives them, and are kept whatever those are. */
export async function createDatedTopic(topic: string, numPartitions: number): Promise<void> {
  const admin = new Kafka({ brokers: [sharedStack().kafkaBrokers], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    const configEntries = [{ name: 'message.timestamp.type', value: 'CreateTime' }, { name: 'retention.ms', value: '-1' }, { name: 'max.message.bytes', value: '1048576' }];
    await createTopic(admin, { topic, numPartitions, configEntries });
  } finally {
    await admin.disconnect();
  }
}
