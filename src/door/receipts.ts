import type { FastifyInstance } from 'fastify';
import { isSamePlace } from '../event/fate.ts';
import type { Fate } from '../event/fate.ts';
import type { Place } from '../event/row.ts';
import { eventIdOfText, eventIdText } from '../event/identity.ts';
import { aboutOf, noKey, unknownKey } from './about.ts';
import type { KeyRing } from './keys.ts';
import { tokenOf } from './keys.ts';
import type { Published } from './recent-places.ts';
import { sendError } from './reply.ts';

/** What became of an event: where it is stored, if it is, then other records of its id, the newest first. Empty where nothing is known. Throws where nobody can say. */
export type FindReceipt = (tenant: string, eventId: string) => Promise<readonly Fate[]>;

/** Where an event of a tenant was published lately; null where nobody has it. */
export type FindRecent = (tenant: string, eventId: string) => Promise<Published | null>;

/*
 * GET /v1/events/{event_id}: what became of an event, of whatever dialect, of the key's tenant.
 *
 *   a row of events                          stored, with its place; other records of the id are its `copies`
 *   published lately, and no more            accepted: durable, the sink has not come to it
 *   else                                     what the newest record of the id came to: duplicate, conflict, dropped, suppressed, dead_lettered
 *   nothing                                  404
 *   ClickHouse does not answer               503, with what this machine knows itself in `details`
 */
export function serveReceipts(app: FastifyInstance, { keys, findRecent, find }: { keys: KeyRing; findRecent: FindRecent; find: FindReceipt | null }): void {
  app.get<{ Params: { event_id: string } }>('/v1/events/:event_id', async (request, reply) => {
    const token = tokenOf(request.headers, request.query);
    const key = token === null ? null : keys.find(token);
    aboutOf(request).key = key?.id ?? (token === null ? noKey : unknownKey);
    if (key === null) return sendError(request, reply, 'unauthorized', 'a known write key is needed', undefined, ['Bearer']);
    const eventId = eventIdOfText(request.params.event_id);
    if (eventId === null) return sendError(request, reply, 'not_found', 'an event id is evt_ and 32 hex digits, or a UUID');
    const recent = await findRecent(key.tenant, eventId);
    const accepted = recent === null ? null : { event_id: eventIdText(eventId), status: 'accepted', ...placeBody(recent.place), received_at: new Date(recent.receivedAtMs).toISOString() };
    const fates = find === null ? [] : await find(key.tenant, eventId).catch(() => null);
    if (fates === null) return sendError(request, reply, 'unavailable', 'ClickHouse does not say what became of the event; ask again', accepted ?? undefined);
    const [first, ...others] = fates;
    if (first !== undefined && (first.status === 'stored' || recent === null || fates.some(({ place }) => place !== null && isSamePlace(place, recent.place)))) {
      const copies = first.status === 'stored' ? others.filter(({ status }) => status === 'duplicate' || status === 'conflict').map(fateBody) : [];
      return reply.send({ event_id: eventIdText(eventId), ...fateBody(first), ...(copies.length > 0 && { copies }) });
    }
    if (accepted !== null) return reply.send(accepted);
    return sendError(request, reply, 'not_found', 'no event of this tenant has this id, or it is not stored yet');
  });
}

function fateBody(fate: Fate): object {
  const common = { status: fate.status, ...(fate.place !== null && placeBody(fate.place)), received_at: fate.receivedAt };
  switch (fate.status) {
    case 'stored':
      return { ...common, stored_at: fate.storedAt };
    case 'duplicate':
    case 'conflict':
      return { ...common, duplicate_of: fate.of && placeBody(fate.of) };
    case 'dropped':
    case 'suppressed':
      return { ...common, reason: fate.reason };
    case 'dead_lettered':
      return { ...common, code: fate.code, detail: fate.detail, dead_letter_id: fate.letterId, dead_letter_status: fate.letterStatus };
  }
}

const placeBody = ({ topic, partition, offset }: Place): object => ({ topic, partition, offset: String(offset) });
