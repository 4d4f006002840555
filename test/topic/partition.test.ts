import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { randomBytes } from 'node:crypto';
import { murmur2, partitionOfKey } from '../../src/topic/partition.ts';

const kafkajsMurmur2 = createRequire(import.meta.url)('kafkajs/src/producer/partitioners/default/murmur2.js') as (key: Buffer) => number;

test("murmur2 gives the values of Kafka's own tests", () => {
  const vectors: [string, number][] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ];
  for (const [text, expected] of vectors) assert.equal(murmur2(Buffer.from(text)), expected, text);
});

test('murmur2 is what kafkajs computes, for every length and for bytes above 127', () => {
  for (let length = 0; length < 300; length++) {
    const key = randomBytes(length);
    assert.equal(murmur2(key), kafkajsMurmur2(key), key.toString('hex'));
  }
});

test('a partition is never negative and always below the count', () => {
  for (let n = 0; n < 1000; n++) {
    const partition = partitionOfKey(randomBytes(n % 40), 12);
    assert.ok(partition >= 0 && partition < 12);
  }
});
