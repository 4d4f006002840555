import type { FastifyInstance } from 'fastify';
import type { Place } from '../event/row.ts';
import { eventIdText } from '../event/identity.ts';
import type { KeyRing } from './keys.ts';
import { tokenOf } from './keys.ts';
import type { Known } from './known.ts';
import { sendError } from './reply.ts';

/** An event that is stored; times are RFC 3339. Null where it is not, or is another tenant's. Throws where nobody can say. */
export type FindReceipt = (tenant: string, eventId: string) => Promise<(Place & { storedAt: string; receivedAt: string }) | null>;

/**
 * GET /v1/events/{event_id}: what became of an event, of whatever dialect, of the key's tenant: `stored`, or `accepted` where this door
 * has published it lately and it is no row yet. 401; 404 where it is not known; 503 where ClickHouse does not say.
 */
export function serveReceipts(app: FastifyInstance, { keys, known, find }: { keys: KeyRing; known: Known; find: FindReceipt | null }): void {
  app.get<{ Params: { event_id: string } }>('/v1/events/:event_id', async (request, reply) => {
    const token = tokenOf(request.headers, request.query);
    const key = token === null ? null : keys.find(token);
    if (key === null) return sendError(request, reply, 'unauthorized', 'a known write key is needed', undefined, ['Bearer']);
    const eventId = uuidOfText(request.params.event_id);
    if (eventId === null) return sendError(request, reply, 'not_found', 'an event id is evt_ and 32 hex digits, or a UUID');
    const answer = (status: string, { topic, partition, offset }: Place, times: Record<string, string>): object => ({ event_id: eventIdText(eventId), status, topic, partition, offset: String(offset), ...times });
    try {
      const stored = await find?.(key.tenant, eventId);
      if (stored) return await reply.send(answer('stored', stored, { received_at: stored.receivedAt, stored_at: stored.storedAt }));
    } catch {
      const recent = known.recent(key.tenant, eventId);
      if (recent === null) return sendError(request, reply, 'unavailable', 'ClickHouse does not say whether the event is stored; ask again');
    }
    const recent = known.recent(key.tenant, eventId);
    if (recent === null) return sendError(request, reply, 'not_found', 'no event of this tenant has this id, or it is not stored yet');
    return reply.send(answer('accepted', recent.place, { received_at: new Date(recent.receivedAtMs).toISOString() }));
  });
}

function uuidOfText(text: string): string | null {
  const hex = /^evt_([0-9a-f]{32})$/i.exec(text)?.[1] ?? (/^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i.test(text) ? text.replaceAll('-', '') : null);
  return hex === null ? null : hex.toLowerCase().replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
