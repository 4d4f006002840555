import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel } from 'kafkajs';
import type { Message, Producer, RecordMetadata } from 'kafkajs';
import type { EventAvro } from '../../../src/contract/event-avro.ts';
import type { CanonicalEvent } from '../../../src/event/canonical.ts';
import type { Random } from './random.ts';

/*
 * What is sent. Each record carries in a header what must become of it, so that the topic itself, read at the end, is the
 * truth: a send that failed may have stored nothing, a part, or all.
 *
 *   event <tenant> <message id>   one row for all records that say the same
 *   own                           a record without a message id: one row, its own
 *   poison <code>                 one dead letter, its bytes equal
 *   aborted                       of an aborted transaction: nothing at all
 */
export const expectHeader = 'expect';

export interface TrafficOptions {
  brokers: string[];
  topic: string;
  partitions: number;
  avro: EventAvro;
  schemaId: number;
  random: Random;
  /** Records a second, about. */
  rate: number;
  /** Whether to wait: what the sinks have before them is enough to go on with. */
  enough: () => boolean;
}

export interface TrafficCounts {
  acknowledged: number;
  failedSends: number;
  transactions: number;
  abortedRecords: number;
  exactDuplicates: number;
  otherContent: number;
  poison: number;
}

export interface Traffic {
  counts: TrafficCounts;
  /** `partition/offset` of each record that Kafka acknowledged (those of aborted transactions aside). */
  acknowledged: Set<string>;
  partitionsAre(count: number): void;
  /** Ends the traffic, then puts a last record on every partition. */
  finish(): Promise<void>;
}

/** A record to be sent, and sent again. */
interface Sample {
  expect: string;
  value: Buffer | null;
  key: string | null;
  partition: number;
  tenant: string | null;
}

const maxHistory = 20_000;
const dayMs = 86_400_000;

/** Starts sending; ends with `finish`. Sends that fail are given up: the broker may have stored them or not. */
export async function startTraffic(options: TrafficOptions): Promise<Traffic> {
  const { brokers, topic, avro, schemaId, random, rate, enough } = options;
  const kafka = new Kafka({ clientId: 'faults', brokers, logLevel: logLevel.NOTHING, connectionTimeout: 2_000, requestTimeout: 10_000, retry: { retries: 1 } });
  const counts: TrafficCounts = { acknowledged: 0, failedSends: 0, transactions: 0, abortedRecords: 0, exactDuplicates: 0, otherContent: 0, poison: 0 };
  const acknowledged = new Set<string>();
  const history: Sample[] = [];
  let { partitions } = options;
  let number = 0;
  let ending = false;

  const event = (tenant: string | null, messageId: string): Sample => {
    const n = number++;
    const json = random.chance(0.5);
    const user = `user-${random.int(0, 60)}`;
    const timestampMs = Date.now() - random.int(0, 3) * 40 * dayMs;
    const value = json
      ? Buffer.from(JSON.stringify({ type: 'track', event: `Event ${n % 7}`, userId: user, messageId, timestamp: new Date(timestampMs).toISOString(), properties: { n, at: { path: `/p/${n % 11}` } } }))
      // Some were received in other months: their rows go to other parts of the table, in the same insert.
      : avro.encode(canonical({ messageId, event: `Event ${n % 7}`, userId: user, timestampMs, receivedAtMs: random.chance(0.3) ? Date.now() - random.int(1, 4) * 31 * dayMs : null, properties: `{"n":${n}}` }), schemaId);
    return { expect: `event ${tenant ?? 'dev'} ${messageId}`, value, key: random.chance(0.05) ? null : user, partition: random.int(0, partitions - 1), tenant };
  };
  const fresh = (): Sample => event(random.chance(0.1) ? 'acme' : null, `m-${number}`);
  const poison = (): Sample => {
    counts.poison++;
    const n = number++;
    const frame = (id: number, rest: string): Buffer => Buffer.concat([Buffer.from([0, id >>> 24, (id >>> 16) & 255, (id >>> 8) & 255, id & 255]), Buffer.from(rest)]);
    const [code, value] = random.pick<[string, Buffer | null]>([
      ['unreadable', Buffer.from(`neither ${n}`)],
      ['unreadable', Buffer.from(`{"type":"track","n":${n}`)],
      ['unreadable', Buffer.concat([Buffer.from(`{"n":${n},"x":"`), Buffer.from([0xff, 0xfe, 0x22, 0x7d])])],
      ['field_missing', Buffer.from(`{"type":"track","userId":"poison","properties":{"n":${n}}}`)],
      ['schema_unknown', frame(99_999, `unknown ${n}`)],
      ['schema_mismatch', frame(schemaId, '\u0001')],
      ['tombstone', null],
    ]);
    return { expect: `poison ${code}`, value, key: `poison-${n}`, partition: random.int(0, partitions - 1), tenant: null };
  };
  const own = (): Sample => {
    const n = number++;
    return { expect: 'own', value: Buffer.from(`{"type":"page","name":"Own","userId":"own","properties":{"n":${n}}}`), key: null, partition: random.int(0, partitions - 1), tenant: null };
  };
  const again = (recent: boolean, elsewhere: boolean): Sample => {
    const at = recent ? random.int(Math.max(0, history.length - 150), history.length - 1) : random.int(0, history.length - 1);
    const sample = history[at] ?? fresh();
    counts.exactDuplicates++;
    return elsewhere ? { ...sample, partition: random.int(0, partitions - 1) } : sample;
  };
  const samples = (count: number): Sample[] => {
    const made: Sample[] = [];
    while (made.length < count) {
      const choice = random.next();
      const known = history[random.int(0, Math.max(0, history.length - 1))];
      if (choice < 0.03) made.push(poison());
      else if (choice < 0.06) made.push(own());
      else if (choice < 0.16 && history.length > 0) made.push(again(choice < 0.11, false));
      else if (choice < 0.21 && history.length > 0) made.push(again(choice < 0.17, true));
      else if (choice < 0.24 && known !== undefined) {
        counts.otherContent++;
        made.push(event(known.tenant, known.expect.split(' ')[2] ?? ''));
      } else if (choice < 0.25 && known !== undefined) made.push(event('other', known.expect.split(' ')[2] ?? ''));
      else if (choice < 0.26) {
        // At once on every partition.
        const one = fresh();
        for (let partition = 0; partition < partitions; partition++) made.push({ ...one, partition });
        counts.exactDuplicates += partitions - 1;
      } else made.push(fresh());
    }
    return made;
  };

  const message = (sample: Sample): Message => ({
    key: sample.key,
    value: sample.value,
    partition: sample.partition,
    headers: { [expectHeader]: sample.expect, ...(sample.tenant !== null && { tenant: sample.tenant }) },
  });
  const note = (sent: readonly Sample[], results: readonly RecordMetadata[]): void => {
    const next = new Map(results.map(({ partition, baseOffset }) => [partition, BigInt(baseOffset ?? '-1')]));
    for (const { partition } of sent) {
      const offset = next.get(partition) ?? -1n;
      if (offset < 0n) throw new Error(`Kafka named no offset for partition ${partition}`);
      acknowledged.add(`${partition}/${offset}`);
      next.set(partition, offset + 1n);
    }
    counts.acknowledged += sent.length;
    for (const sample of sent) if (sample.expect.startsWith('event ')) history.push(sample);
    if (history.length > maxHistory) history.splice(0, history.length - maxHistory);
  };

  let producer: Producer | null = null;
  let transactional: Producer | null = null;
  const connected = async (make: () => Producer): Promise<Producer> => {
    const made = make();
    await made.connect();
    return made;
  };
  const drop = async (old: Producer | null): Promise<void> => {
    await old?.disconnect().catch(() => undefined);
  };

  const sendPlain = async (): Promise<void> => {
    producer ??= await connected(() => kafka.producer({ allowAutoTopicCreation: false, retry: { retries: 0 } }));
    const batch = samples(random.chance(0.01) ? rate * 5 : random.int(Math.ceil(rate / 12), Math.ceil(rate / 6)));
    note(batch, await producer.send({ topic, acks: -1, messages: batch.map(message) }));
  };
  const sendTransaction = async (): Promise<void> => {
    transactional ??= await connected(() => kafka.producer({ allowAutoTopicCreation: false, idempotent: true, maxInFlightRequests: 1, transactionalId: `faults-${topic}`, transactionTimeout: 5_000, retry: { retries: 1 } }));
    const transaction = await transactional.transaction();
    const abort = random.chance(0.5);
    const batch = samples(random.int(5, 25)).map(sample => (abort ? { ...sample, expect: 'aborted', value: Buffer.from(`{"type":"page","userId":"nobody","messageId":"aborted-${number++}"}`) } : sample));
    const results = await transaction.send({ topic, acks: -1, messages: batch.map(message) });
    counts.transactions++;
    if (abort) {
      counts.abortedRecords += batch.length;
      await transaction.abort();
    } else {
      await transaction.commit();
      note(batch, results);
    }
  };

  const loop = async (work: () => Promise<void>, reset: () => Promise<void>, pauseMs: () => number): Promise<void> => {
    while (!ending) {
      try {
        if (!enough()) await work();
      } catch {
        // Kafka is away, or is just coming back: a producer of the time before may not find its way.
        counts.failedSends++;
        await reset();
        await sleep(500);
      }
      await sleep(pauseMs());
    }
  };
  const resetPlain = async (): Promise<void> => {
    await drop(producer);
    producer = null;
  };
  const resetTransactional = async (): Promise<void> => {
    await drop(transactional);
    transactional = null;
  };
  const loops = Promise.all([
    loop(sendPlain, resetPlain, () => random.int(80, 170)),
    loop(sendTransaction, resetTransactional, () => random.int(1_000, 3_000)),
  ]);

  return {
    counts,
    acknowledged,
    // A producer that does not know the new ones yet fails once, and is made anew.
    partitionsAre: count => void (partitions = count),
    async finish() {
      ending = true;
      await loops;
      await resetPlain();
      await resetTransactional();
      const last = Array.from({ length: partitions }, (_, partition): Sample => ({ ...event(null, `last-${partition}`), partition }));
      for (let attempt = 1; ; attempt++) {
        try {
          producer = await connected(() => kafka.producer({ allowAutoTopicCreation: false, retry: { retries: 5 } }));
          note(last, await producer.send({ topic, acks: -1, messages: last.map(message) }));
          break;
        } catch (error) {
          await resetPlain();
          if (attempt === 20) throw error;
          await sleep(1_000);
        }
      }
      await resetPlain();
    },
  };
}

function canonical(part: Partial<Omit<CanonicalEvent, 'receivedAtMs'>> & { receivedAtMs: number | null; messageId: string; timestampMs: number }): CanonicalEvent {
  return {
    tenant: '', dialect: 'avro', type: 'track', event: null, userId: null, anonymousId: null, previousId: null, groupId: null, email: null, name: null, category: null,
    sentAtMs: null, properties: null, traits: null, context: null, integrations: null, writeKeyId: null, violations: [], raw: null,
    ...part,
    // The schema lets direct producers leave it out; the door's type never does.
    receivedAtMs: part.receivedAtMs as number,
  };
}
