import { eventTypes } from '../../event/canonical.ts';
import type { EventType } from '../../event/canonical.ts';
import { readSegmentEvent } from '../../event/segment.ts';
import type { Dialect, DialectRoute } from '../dialect.ts';
import { answerSchema, idSchema, objectSchema, oneOfIds, ref, stringSchema, summaryMembers, timeSchema } from '../schemas.ts';
import type { JsonSchema } from '../schemas.ts';

/* Segment's six calls (its spec: common fields, track, identify, page, screen, group, alias), over the paths of dialect 003 and of SDKs. */

const lenient = { numbers: true, emptyIsAbsent: true };
/** An empty list is an empty object: PHP writes both so. */
const objectOrEmpty = (description: string): JsonSchema => objectSchema(description, {}, { type: ['object', 'null', 'array'], maxItems: 0 });
const members = {
  userId: idSchema('the user; this or `anonymousId` is required. A number is read as its decimal text', lenient),
  anonymousId: idSchema('a user whose id is not known yet', lenient),
  messageId: idSchema('makes a repeat a duplicate; without one it is generated', { numbers: true }),
  event: stringSchema('what happened; required for `track`'),
  groupId: idSchema('the group; required for `group`', lenient),
  previousId: idSchema('what an `alias` renames', lenient),
  name: stringSchema('of a `page` or `screen`'),
  category: stringSchema('of a `page` or `screen`'),
  properties: objectOrEmpty('of what happened'),
  traits: objectOrEmpty('of the user, or of the group'),
  context: objectOrEmpty('circumstances: page, device, app, campaign; `ip` and `userAgent` are filled in where they are absent'),
  integrations: objectOrEmpty('where the event may be passed on to'),
  timestamp: timeSchema('when it happened; without one it is `originalTimestamp` where that is a time, else the receipt'),
  sentAt: timeSchema('when it was sent by the client’s clock; more than 5 minutes off, `timestamp` is shifted by the difference'),
};
const named: JsonSchema = { required: ['event'], properties: { event: { type: 'string', minLength: 1 } } };
const grouped: JsonSchema = { required: ['groupId'], properties: { groupId: { type: ['string', 'number'], minLength: 1 } } };
const when = (type: EventType, then: JsonSchema): JsonSchema => ({ if: { required: ['type'], properties: { type: { const: type } } }, then });
const call = ref('SegmentCall');

const order = { userId: 'ada', event: 'Order Completed', messageId: 'order-1815', properties: { total: 99.5, currency: 'EUR' } };
const group = { userId: 'ada', groupId: 'engines', traits: { seats: 12 } };
const schemas = {
  SegmentCall: {
    type: 'object', description: 'What all of Segment’s calls have. Alone it is an identify, page, screen or alias call whose path says which; a `type` in the body counts for nothing there.',
    properties: members, ...oneOfIds(['userId', 'anonymousId'], ['string', 'number']), additionalProperties: true, examples: [{ userId: 'ada', traits: { plan: 'pro' } }],
  },
  SegmentTrack: { description: 'A track call: its path says so.', allOf: [call, named], examples: [order] },
  SegmentGroup: { description: 'A group call: its path says so.', allOf: [call, grouped], examples: [group] },
  SegmentEvent: {
    description: 'One of Segment’s six calls.', type: 'object', required: ['type'], properties: { type: { enum: eventTypes, description: 'which call' } },
    allOf: [call, when('track', named), when('group', grouped)],
    examples: [{ type: 'track', ...order }, { type: 'identify', userId: 'ada', traits: { email: 'ada@example.com', plan: 'pro' } }, { type: 'group', ...group }],
  },
  SegmentTaken: answerSchema('The event is durable.', { success: { const: true }, message_id: { type: 'string', description: 'its own, or the one that was made for it' } }),
  SdkTaken: answerSchema('The event is durable.', { success: { const: true } }),
  SdkSummary: answerSchema('What became of a batch.', { success: { const: true }, ...summaryMembers }),
} as const satisfies Dialect['schemas'];

const documented = {
  read: readSegmentEvent,
  event: 'SegmentEvent',
  status: 200,
  one: ({ messageId }) => ({ success: true, message_id: messageId }),
  many: ({ received, accepted, rejected, errors }) => ({ received, accepted, rejected, errors }),
} as const satisfies Partial<DialectRoute>;

/** SDKs take nothing but 200, and drop a whole batch at a 4xx. */
const sdk = {
  read: readSegmentEvent,
  event: 'SegmentEvent',
  status: 200,
  sdk: true,
  one: () => ({ success: true }),
  many: ({ received, accepted, rejected, errors }) => ({ success: true, received, accepted, rejected, errors }),
} as const satisfies Partial<DialectRoute>;

const calls: readonly [type: EventType, short: string][] = [['track', 't'], ['identify', 'i'], ['page', 'p'], ['screen', 's'], ['group', 'g'], ['alias', 'a']];

export const segmentDialect: Dialect = {
  name: 'segment',
  title: 'Segment’s calls, and the paths of its SDKs in any language',
  schemas,
  codes: ['type_unknown'],
  challenge: 'Basic',
  routes: [
    { ...documented, paths: ['/api/v1/events'], batch: null, answer: 'SegmentTaken' },
    { ...documented, paths: ['/api/v1/events/batch'], batch: { name: 'SegmentBatch', member: 'batch', maxEvents: 500, withDefaults: true }, answer: 'BatchSummary' },
    ...calls.map(([type, short]): DialectRoute => ({ ...sdk, paths: [`/v1/${type}`, `/v1/${short}`], batch: null, type, event: type === 'track' ? 'SegmentTrack' : type === 'group' ? 'SegmentGroup' : 'SegmentCall', answer: 'SdkTaken' })),
    { ...sdk, paths: ['/v1/batch', '/v1/b', '/v1/import'], batch: { name: 'SdkBatch', member: 'batch', maxEvents: 2_500, withDefaults: true }, answer: 'SdkSummary' },
  ],
};
