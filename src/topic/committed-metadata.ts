/*
 * What a group commits beside an offset: the sink's own words, and in an envelope around them the id of the topic that
 * the offset is of. An offset means nothing on a topic that was deleted and made again under the same name.
 */

/** Kafka's text form of a topic id (22 characters of base64url, as kafka-topics.sh shows it). */
export type TopicId = string;

/** Adds some 45 bytes. Without a topic id (a broker that has none) the metadata stays bare. */
export function sealMetadata(topicId: TopicId | null, metadata: string): string {
  return topicId === null ? metadata : JSON.stringify({ topicId, metadata });
}

/** Takes the envelope off. Metadata without one (an older version's, somebody else's) is returned as it is, with no id. */
export function openMetadata(text: string): { topicId: TopicId | null; metadata: string } {
  if (text.startsWith('{"topicId":')) {
    try {
      const { topicId, metadata } = JSON.parse(text) as Record<string, unknown>;
      if (typeof topicId === 'string' && typeof metadata === 'string') return { topicId, metadata };
    } catch {
      return { topicId: null, metadata: text };
    }
  }
  return { topicId: null, metadata: text };
}
