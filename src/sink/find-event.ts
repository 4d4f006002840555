import { isSamePlace } from '../event/fate.ts';
import type { Fate } from '../event/fate.ts';
import type { Place } from '../event/row.ts';
import type { ClickHouse } from './clickhouse.ts';

/** More of one event are not told. */
const maxFates = 11;

/**
 * What became of an event of a tenant: first where it is stored, then every other record of its id, the newest first; empty where nothing
 * is known, or it is another tenant's. `eventId` is a UUID.
 */
export async function findEvent(clickhouse: ClickHouse, tenant: string, eventId: string, signal?: AbortSignal): Promise<Fate[]> {
  const [stored, others] = await Promise.all([findStored(clickhouse, tenant, eventId, signal), findOthers(clickhouse, tenant, eventId, signal)]);
  if (stored === null) return others;
  // The reconciliation is about to remove an outcome of what is stored. See the view `ledger`.
  return [stored, ...others.filter(({ place }) => place === null || !isSamePlace(place, stored.place))];
}

async function findStored(clickhouse: ClickHouse, tenant: string, eventId: string, signal?: AbortSignal): Promise<(Fate & { place: Place }) | null> {
  const known = await clickhouse.rows('SELECT toString(stored_at) FROM event_ids WHERE event_id = {id: UUID} ORDER BY stored_at LIMIT 1', { id: eventId }, signal);
  if (known[0] === undefined) return null;
  const [storedAt] = known[0] as [string];
  // An id that was added later has a later time than its row: then all of the tenant's rows are asked.
  for (const within of ['AND stored_at = toDateTime64({at: String}, 3, \'UTC\')', '']) {
    const [row] = await clickhouse.rows(
      `SELECT topic, partition, offset, stored_at, received_at FROM events WHERE tenant = {tenant: String} AND event_id = {id: UUID} ${within} LIMIT 1`,
      { tenant, id: eventId, at: storedAt },
      signal,
    );
    if (row !== undefined) return { status: 'stored', place: placeOf(row[0], row[1], row[2]), storedAt: String(row[3]), receivedAt: String(row[4]) };
  }
  return null;
}

/** The condition on dead letters is spelled as their index is (0006_receipts.sql); an outcome of a dead letter has the letter's id. */
async function findOthers(clickhouse: ClickHouse, tenant: string, eventId: string, signal?: AbortSignal): Promise<Fate[]> {
  const rows = await clickhouse.rows(
    `SELECT * FROM
     (
       SELECT toString(outcome) AS status, topic, partition, offset, received_at, at, reason, '' AS detail, '' AS letter, '' AS letter_status
       FROM outcomes WHERE tenant = {tenant: String} AND event_id = {id: UUID} AND outcome != 'dead_lettered'
       UNION ALL
       SELECT 'dead_lettered', topic, partition, offset, at, at, code, detail, toString(id), status
       FROM dead_letters WHERE tenant = {tenant: String} AND message_id != '' AND substring(SHA256(concat(tenant, '\\0', message_id)), 1, 16) = unhex({hex: String})
     )
     ORDER BY at DESC, offset DESC LIMIT 1 BY topic, partition, offset, letter LIMIT ${maxFates}`,
    { tenant, id: eventId, hex: eventId.replaceAll('-', '') },
    signal,
  );
  return rows.map(row => {
    const [status, topic, partition, offset, receivedAt, , reason, detail, letterId, letterStatus] = row.map(String) as [Fate['status'], ...string[]];
    const common = { receivedAt: receivedAt ?? '', place: placeOf(topic, partition, offset) };
    if (status === 'dead_lettered') return { ...common, status, place: topic === '' ? null : common.place, code: reason ?? '', detail: detail ?? '', letterId: letterId ?? '', letterStatus: letterStatus ?? '' };
    if (status === 'duplicate' || status === 'conflict') return { ...common, status, of: placeOfText(reason ?? '') };
    return { ...common, status: status === 'dropped' ? status : 'suppressed', reason: reason ?? '' };
  });
}

const placeOf = (topic: unknown, partition: unknown, offset: unknown): Place => ({ topic: String(topic), partition: Number(partition), offset: BigInt(String(offset)) });

/** An outcome's reason names the stored record as topic/partition/offset. */
function placeOfText(text: string): Place | null {
  const [, topic, partition, offset] = /^(.+)\/(\d+)\/(\d+)$/.exec(text) ?? [];
  return topic === undefined ? null : placeOf(topic, partition, offset);
}
