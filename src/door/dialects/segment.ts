import type { EventType } from '../../event/canonical.ts';
import { readSegmentEvent } from '../../event/segment.ts';
import type { Dialect, DialectRoute } from '../dialect.ts';

/* Segment's six calls (its spec: common fields, track, identify, page, screen, group, alias), over the paths of dialect 003 and of SDKs. */

const dialect = 'segment';

const read = (type?: EventType): DialectRoute['read'] => (value, text, source) => readSegmentEvent(value, text, { ...source, dialect, ...(type !== undefined && { type }) });

const documented = {
  read: read(),
  status: 200,
  one: ({ messageId }) => ({ success: true, message_id: messageId }),
  many: ({ received, accepted, rejected, errors }) => ({ received, accepted, rejected, errors }),
} as const satisfies Partial<DialectRoute>;

/** SDKs take nothing but 200, and drop a whole batch at a 4xx. */
const sdk = {
  status: 200,
  sdk: true,
  one: () => ({ success: true }),
  many: ({ received, accepted, rejected, errors }) => ({ success: true, received, accepted, rejected, errors }),
} as const satisfies Partial<DialectRoute>;

const calls: readonly [type: EventType, short: string][] = [['track', 't'], ['identify', 'i'], ['page', 'p'], ['screen', 's'], ['group', 'g'], ['alias', 'a']];

export const segmentDialect: Dialect = {
  name: dialect,
  challenge: 'Basic',
  routes: [
    { ...documented, paths: ['/api/v1/events'], batch: null },
    { ...documented, paths: ['/api/v1/events/batch'], batch: { member: 'batch', maxEvents: 500, withDefaults: true } },
    ...calls.map(([type, short]): DialectRoute => ({ ...sdk, paths: [`/v1/${type}`, `/v1/${short}`], batch: null, type, read: read(type) })),
    { ...sdk, paths: ['/v1/batch', '/v1/b', '/v1/import'], batch: { member: 'batch', maxEvents: 2_500, withDefaults: true }, read: read() },
  ],
};
