import type { IHeaders } from 'kafkajs';
import type { DeadLetter } from '../event/dead-letter.ts';
import { uuidOf } from '../event/identity.ts';
import type { OutgoingRecord } from './publish.ts';
import { headerText } from './subscribe.ts';

/*
 * A dead letter on its topic: the value is the payload, byte for byte; everything else is headers.
 *
 *   id, tenant, at (ms), code, detail, source      always
 *   write-key-id, message-id                       where known
 *   origin-topic, origin-partition, origin-offset  where it stood on a topic
 *
 * The key is the id, so that repeats of one letter share a partition.
 */

export function deadLetterRecord(topic: string, letter: DeadLetter): OutgoingRecord {
  return {
    topic,
    key: Buffer.from(letter.id),
    value: letter.payload,
    headers: {
      id: letter.id,
      tenant: letter.tenant,
      at: String(letter.atMs),
      code: letter.code,
      detail: letter.detail,
      source: letter.source,
      ...(letter.writeKeyId !== null && { 'write-key-id': letter.writeKeyId }),
      ...(letter.messageId !== null && { 'message-id': letter.messageId }),
      ...(letter.place !== null && {
        'origin-topic': letter.place.topic,
        'origin-partition': String(letter.place.partition),
        'origin-offset': String(letter.place.offset),
      }),
    },
  };
}

/** Reads a dead letter back; a record that somebody else put on the topic becomes one too. */
export function readDeadLetter(record: { topic: string; partition: number; offset: bigint; timestampMs: number; value: Buffer | null; headers: IHeaders }): DeadLetter {
  const header = (name: string): string | null => headerText(record.headers, name);
  const originTopic = header('origin-topic');
  const at = Number(header('at') ?? NaN);
  const id = header('id');
  return {
    id: id !== null && /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id) ? id : uuidOf(`${record.topic}/${record.partition}/${record.offset}/${record.timestampMs}`),
    tenant: header('tenant') ?? '',
    atMs: Number.isSafeInteger(at) && at >= 0 ? at : Math.max(0, record.timestampMs),
    code: header('code') ?? 'unreadable',
    detail: header('detail') ?? '',
    payload: record.value ?? Buffer.alloc(0),
    source: header('source') === 'http' ? 'http' : 'kafka',
    writeKeyId: header('write-key-id'),
    messageId: header('message-id'),
    place:
      originTopic === null
        ? null
        : { topic: originTopic, partition: Number(/^\d{1,9}$/.exec(header('origin-partition') ?? '')?.[0] ?? 0), offset: safeOffset(header('origin-offset')) },
  };
}

function safeOffset(text: string | null): bigint {
  return text !== null && /^\d{1,19}$/.test(text) ? BigInt(text) : 0n;
}
