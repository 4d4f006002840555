import type { ClickHouse } from './clickhouse.ts';

export interface FoundEvent {
  topic: string;
  partition: number;
  offset: bigint;
  /** RFC 3339. */
  storedAt: string;
  receivedAt: string;
}

/** Where an event of a tenant is stored; null where it is not, or is another tenant's. `eventId` is a UUID. */
export async function findEvent(clickhouse: ClickHouse, tenant: string, eventId: string, signal?: AbortSignal): Promise<FoundEvent | null> {
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
    if (row !== undefined) return { topic: String(row[0]), partition: Number(row[1]), offset: BigInt(String(row[2])), storedAt: String(row[3]), receivedAt: String(row[4]) };
  }
  return null;
}
