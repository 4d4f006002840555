import type { RecordHeader, RecordOrigin } from '../event/dead-letter.ts';
import type { Place } from '../event/row.ts';
import { clickHouseTime } from '../event/time.ts';
import type { Condition } from './filter.ts';

/** Asks ClickHouse: rows as arrays, 64-bit integers as strings. Throws ClickHouse's faults. */
export type AskRows = (statement: string, params?: Record<string, unknown>) => Promise<unknown[][]>;
export type Command = (statement: string) => Promise<void>;

export type Status = 'open' | 'redriven' | 'dismissed';

/** What is needed to walk over letters. */
export interface LetterHead {
  id: string;
  /** Milliseconds, text: a cursor. */
  at: string;
  bytes: number;
  status: Status;
  /** How often records redriven from it have failed. */
  attempts: number;
}

/** A row of `dead_letters`, its bytes decoded. */
export interface StoredLetter {
  id: string;
  tenant: string;
  code: string;
  detail: string;
  payload: Buffer;
  tombstone: boolean;
  source: 'http' | 'kafka';
  messageId: string | null;
  place: Place | null;
  /** Null where it was not kept: a letter from before, or one that never was on a topic. */
  origin: RecordOrigin | null;
  timestampMs: number;
}

export interface LetterGroup {
  code: string;
  topic: string;
  letters: number;
}

export interface Letters {
  /** How many letters match, most first. */
  groups(condition: Condition): Promise<LetterGroup[]>;
  /** The next letters in the order of their time and id, after `last`. */
  page(condition: Condition, last: LetterHead | null, limit: number): Promise<LetterHead[]>;
  /** These letters, in this order; one whose row has changed since is left out. */
  load(heads: readonly LetterHead[]): Promise<StoredLetter[]>;
  /** Sets the status of each that is as its head says; one that failed again in the meantime stays as it is. */
  mark(heads: readonly LetterHead[], status: Status): Promise<void>;
}

const letterColumns = 'id, tenant, code, detail, payload, payload_encoding, tombstone, source, message_id, topic, partition, offset, key, key_encoding, headers, timestamp_ms';

/** The table `dead_letters`. Ids come from it, so they may stand in the text of a statement. */
export function createLetters(rows: AskRows, command: Command, nowMs: () => number): Letters {
  return {
    async groups({ sql, params }) {
      const found = await rows(`SELECT code, topic, count() AS letters FROM dead_letters WHERE ${sql} GROUP BY code, topic ORDER BY letters DESC, code, topic`, params);
      return found.map(([code, topic, letters]) => ({ code: String(code), topic: String(topic), letters: Number(letters) }));
    },
    async page({ sql, params }, last, limit) {
      const after = last === null ? '' : 'AND (at, id) > (fromUnixTimestamp64Milli({lastAt: Int64}), {lastId: UUID})';
      const found = await rows(
        `SELECT id, toUnixTimestamp64Milli(at), length(payload) + length(key), status, length(attempts) FROM dead_letters WHERE ${sql} ${after} ORDER BY at, id LIMIT ${limit}`,
        last === null ? params : { ...params, lastAt: last.at, lastId: last.id },
      );
      return found.map(([id, at, bytes, status, attempts]) => ({ id: String(id), at: String(at), bytes: Number(bytes), status: String(status) as Status, attempts: Number(attempts) }));
    },
    async load(heads) {
      if (heads.length === 0) return [];
      const found = await rows(`SELECT ${letterColumns} FROM dead_letters WHERE ${asHeadsSay(heads)}`);
      const byId = new Map(found.map(row => [String(row[0]), readLetter(row)]));
      return heads.flatMap(({ id }) => byId.get(id) ?? []);
    },
    async mark(heads, status) {
      if (heads.length === 0) return;
      // ClickHouse applies UPDATEs one after the other, so this and the sink's reopening never cross.
      await command(`ALTER TABLE dead_letters UPDATE status = '${status}', changed_at = '${clickHouseTime(nowMs())}' WHERE ${asHeadsSay(heads)} SETTINGS mutations_sync = 1`);
    },
  };
}

/** Rows that are still as their heads say. The times let ClickHouse read a slice of the table only. */
function asHeadsSay(heads: readonly LetterHead[]): string {
  const times = heads.map(({ at }) => BigInt(at)).sort((a, b) => (a < b ? -1 : 1));
  const bound = (ms: bigint | undefined): string => `fromUnixTimestamp64Milli(toInt64(${ms ?? 0n}))`;
  // Few groups, each a plain list of ids: half the cost of a list of tuples.
  const groups = new Map<string, string[]>();
  for (const { id, status, attempts } of heads) {
    const state = `status = '${status}' AND length(attempts) = ${attempts}`;
    const ids = groups.get(state);
    if (ids === undefined) groups.set(state, [id]);
    else ids.push(id);
  }
  const parts = [...groups].map(([state, ids]) => `${state} AND id IN (${ids.map(id => `'${id}'`).join()})`);
  return `at BETWEEN ${bound(times[0])} AND ${bound(times.at(-1))} AND (${parts.join(' OR ')})`;
}

function readLetter(row: readonly unknown[]): StoredLetter {
  const text = (index: number): string => String(row[index]);
  const topic = text(9);
  const timestampMs = Number(text(15));
  const keyEncoding = text(13);
  return {
    id: text(0),
    tenant: text(1),
    code: text(2),
    detail: text(3),
    payload: decoded(text(4), text(5)) ?? Buffer.alloc(0),
    // Letters from before it was kept say so by their code alone.
    tombstone: row[6] === true || (keyEncoding === '' && text(2) === 'tombstone'),
    source: text(7) === 'http' ? 'http' : 'kafka',
    messageId: text(8) === '' ? null : text(8),
    place: topic === '' ? null : { topic, partition: Number(row[10]), offset: BigInt(text(11)) },
    origin:
      keyEncoding === ''
        ? null
        : {
            key: decoded(text(12), keyEncoding),
            headers: (row[14] as { name: string; value: string; encoding: string }[]).map(({ name, value, encoding }): RecordHeader => [name, decoded(value, encoding)]),
            timestampMs,
          },
    timestampMs,
  };
}

function decoded(text: string, encoding: string): Buffer | null {
  return encoding === 'none' ? null : Buffer.from(text, encoding === 'base64' ? 'base64' : 'utf8');
}
