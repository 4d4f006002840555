/** Stands in an event's text for its number, and for the number of its user: so many users send. */
export const numberMark = '#';
export const userMark = '~';
export const users = 100_000;

/** A Segment track event as SDKs send it, 395 bytes with a number of seven digits. No event comes twice. */
export const trackEvent = JSON.stringify({
  type: 'track',
  messageId: 'bench-#',
  event: 'Order Completed',
  userId: 'user-~',
  timestamp: '2026-03-15T14:30:00.000Z',
  context: { library: { name: 'analytics-node', version: '3.1.0' }, locale: 'de' },
  properties: { order_id: 'ord_812736', total: 99.5, currency: 'EUR', items: 3, coupon: null, first: false, store: 'berlin-11', shipping: 4.9, sku: 'AB-1234', placed: '2026-03-15' },
});

/** The contract of such an event: ten properties. */
export const orderContract = {
  type: 'object',
  properties: {
    order_id: { type: 'string', maxLength: 64 }, total: { type: 'number', minimum: 0 }, currency: { enum: ['EUR', 'USD', 'GBP'] }, items: { type: 'integer', minimum: 1 }, coupon: { type: ['string', 'null'] },
    first: { type: 'boolean' }, store: { type: 'string' }, shipping: { type: 'number' }, sku: { type: 'string', pattern: '^[A-Z]{2}-[0-9]{4}$' }, placed: { type: 'string', format: 'date' },
  },
  required: ['order_id', 'total', 'currency'],
  additionalProperties: false,
};
