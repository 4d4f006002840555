/**
 * murmur2 as Kafka's Java producer computes it (org.apache.kafka.common.utils.Utils.murmur2), a signed 32-bit integer.
 * Held equal to Kafka's own test vectors and to kafkajs.
 */
export function murmur2(data: Uint8Array): number {
  const m = 0x5bd1e995;
  const length = data.length;
  const aligned = length & ~3;
  let h = 0x9747b28c ^ length;
  for (let i = 0; i < aligned; i += 4) {
    let k = at(data, i) | (at(data, i + 1) << 8) | (at(data, i + 2) << 16) | (at(data, i + 3) << 24);
    k = Math.imul(k, m);
    k ^= k >>> 24;
    k = Math.imul(k, m);
    h = Math.imul(h, m) ^ k;
  }
  const rest = length & 3;
  if (rest > 2) h ^= at(data, aligned + 2) << 16;
  if (rest > 1) h ^= at(data, aligned + 1) << 8;
  if (rest > 0) h = Math.imul(h ^ at(data, aligned), m);
  h ^= h >>> 13;
  h = Math.imul(h, m);
  return (h ^ (h >>> 15)) | 0;
}

/**
 * The partition that Java's producer and kafkajs choose for a key. When partitions are added to a topic,
 * most keys move to another partition, as with every Kafka producer.
 */
export function partitionOfKey(key: Uint8Array, partitionCount: number): number {
  return hashOfKey(key) % partitionCount;
}

/** What the partition is the remainder of. */
export function hashOfKey(key: Uint8Array): number {
  return murmur2(key) & 0x7fffffff;
}

function at(data: Uint8Array, index: number): number {
  return data[index] as number;
}
