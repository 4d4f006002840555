import type { Admin, ITopicConfig } from 'kafkajs';
import { eventually } from './eventually.ts';

/** Makes a topic and waits until every partition has a leader: kafkajs' own wait fails where the broker does not know the topic yet. */
export async function createTopic(admin: Admin, config: ITopicConfig & { numPartitions: number }): Promise<void> {
  await admin.createTopics({ waitForLeaders: false, topics: [config] });
  const led = (): Promise<number> =>
    admin.fetchTopicMetadata({ topics: [config.topic] }).then(({ topics }) => topics[0]?.partitions.filter(({ leader }) => leader >= 0).length ?? 0, () => 0);
  await eventually(led, count => count === config.numPartitions);
}
