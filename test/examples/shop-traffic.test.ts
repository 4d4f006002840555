import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createShopTraffic } from '../../examples/shop-traffic.ts';
import type { Traffic } from '../../examples/shop-traffic.ts';
import { eventTypes } from '../../src/event/canonical.ts';
import { readSegmentEvent } from '../../src/event/segment.ts';

const startMs = Date.parse('2026-05-04T10:00:00Z');
const take = (count: number, seed = 1): Traffic[] => {
  const shop = createShopTraffic({ seed, run: 'run' });
  return Array.from({ length: count }, (_, index) => shop.next(startMs + index * 10));
};
const read = (traffic: Traffic) => {
  const text = JSON.stringify(traffic.event);
  return readSegmentEvent(JSON.parse(text), text, { tenant: 't', dialect: 'segment', writeKeyId: null, receivedAtMs: startMs, newMessageId: () => 'none' });
};

test('the same seed makes the same events, another seed others', () => {
  assert.deepEqual(take(2_000), take(2_000));
  assert.notDeepEqual(take(100), take(100, 2));
});

test('all six types come, and the whole way to the order', () => {
  const events = take(1_000).filter(({ kind }) => kind === 'new').map(({ event }) => event);
  assert.deepEqual([...new Set(events.map(event => event['type']))].sort(), [...eventTypes].sort());
  const names = new Set(events.map(event => event['event']));
  for (const name of ['Product Viewed', 'Product Added', 'Cart Viewed', 'Checkout Started', 'Order Completed']) assert.ok(names.has(name), name);
  const users = events.flatMap(event => (typeof event['userId'] === 'string' ? [event['userId']] : []));
  assert.ok(new Set(users).size < users.length / 3, 'people come with several events');
});

test('good events pass the door, bad ones do not, duplicates repeat an earlier one word for word', () => {
  const traffic = take(20_000);
  const earlier = new Map<string, string>();
  const count = { new: 0, duplicate: 0, bad: 0 };
  const codes = new Set<string>();
  for (const one of traffic) {
    count[one.kind] += 1;
    const result = read(one);
    assert.equal(result.ok, one.kind !== 'bad', JSON.stringify(one));
    if (!result.ok) codes.add(result.code);
    const text = JSON.stringify(one.event);
    if (one.kind === 'duplicate') assert.equal(earlier.get(one.event.messageId), text);
    else assert.ok(!earlier.has(one.event.messageId));
    if (one.kind === 'new') earlier.set(one.event.messageId, text);
  }
  assert.deepEqual([...codes].sort(), ['field_missing', 'time_invalid', 'type_unknown']);
  assert.ok(Math.abs(count.duplicate / traffic.length - 0.03) < 0.006, `${count.duplicate} duplicates`);
  assert.ok(Math.abs(count.bad / traffic.length - 0.01) < 0.004, `${count.bad} bad ones`);
});

test('the total of an order is the sum of its lines and the shipping', () => {
  const orders = take(5_000).flatMap(({ event }) => (event['event'] === 'Order Completed' ? [event['properties'] as { total: number; shipping: number; products: { price: number; quantity: number }[] }] : []));
  assert.ok(orders.length > 20);
  for (const { total, shipping, products } of orders) {
    assert.equal(Math.round(total * 100), Math.round(shipping * 100) + products.reduce((sum, { price, quantity }) => sum + Math.round(price * 100) * quantity, 0));
  }
});
