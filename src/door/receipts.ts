import type { FastifyInstance } from 'fastify';
import type { Place } from '../event/row.ts';
import { eventIdOfText, eventIdText } from '../event/identity.ts';
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
    const eventId = eventIdOfText(request.params.event_id);
    if (eventId === null) return sendError(request, reply, 'not_found', 'an event id is evt_ and 32 hex digits, or a UUID');
    const answer = (status: string, { topic, partition, offset }: Place, times: Record<string, string>): object => ({ event_id: eventIdText(eventId), status, topic, partition, offset: String(offset), ...times });
    let silent = false;
    const stored = await find?.(key.tenant, eventId).catch(() => {
      silent = true;
      return null;
    });
    if (stored) return reply.send(answer('stored', stored, { received_at: stored.receivedAt, stored_at: stored.storedAt }));
    const recent = known.recent(key.tenant, eventId);
    if (recent === null && silent) return sendError(request, reply, 'unavailable', 'ClickHouse does not say whether the event is stored; ask again');
    if (recent === null) return sendError(request, reply, 'not_found', 'no event of this tenant has this id, or it is not stored yet');
    return reply.send(answer('accepted', recent.place, { received_at: new Date(recent.receivedAtMs).toISOString() }));
  });
}
