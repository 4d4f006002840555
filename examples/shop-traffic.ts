/** Events of an invented shop: visitors who look around, sign in, fill a cart and sometimes pay. Pure, and the same for the same seed. */

export type ShopEvent = Record<string, unknown> & { messageId: string };

export interface Traffic {
  /** `duplicate`: an earlier event again, word for word, as a client's retry sends it. `bad`: the door has to refuse it. */
  kind: 'new' | 'duplicate' | 'bad';
  event: ShopEvent;
}

export interface ShopTrafficOptions {
  seed: number;
  /** Stands in every event as `context.app.build`, and in front of every message id. */
  run: string;
  /** Shares of all events, from 0 to 1. */
  duplicates?: number;
  bad?: number;
}

/** What a visitor does next: an event without its message id, time and context. */
type Step = Record<string, unknown>;
type Random = () => number;

interface Visit {
  steps: Generator<Step, void>;
  context: Record<string, unknown>;
}

const visitsAtOnce = 25;
const shoppers = 200;
const rememberedForRetries = 500;
const currencies = ['EUR', 'EUR', 'EUR', 'USD', 'GBP'] as const;
const locales = ['de-DE', 'en-GB', 'en-US', 'fr-FR', 'nl-NL'] as const;
const firstNames = ['Ada', 'Bela', 'Chidi', 'Dana', 'Emre', 'Fatou', 'Grace', 'Hugo', 'Ines', 'Jonas'] as const;
const companies = ['Northwind', 'Umbra Labs', 'Fern & Co', 'Kite Works'] as const;
const campaigns = ['spring-sale', 'newsletter', 'retargeting'] as const;
const catalogue = [
  ['p-101', 'Espresso cup', 'Kitchen', 1250], ['p-102', 'Cast-iron pan', 'Kitchen', 4900], ['p-103', 'Bread knife', 'Kitchen', 3200],
  ['p-201', 'Reading lamp', 'Home', 5900], ['p-202', 'Wool blanket', 'Home', 8900], ['p-203', 'Candle', 'Home', 1400],
  ['p-301', 'Notebook', 'Office', 900], ['p-302', 'Desk mat', 'Office', 2750], ['p-303', 'Fountain pen', 'Office', 6400],
] as const;

export function createShopTraffic({ seed, run, duplicates = 0.03, bad = 0.01 }: ShopTrafficOptions): { next: (nowMs: number) => Traffic } {
  const random = createRandom(seed);
  const visits: Visit[] = [];
  const sent: ShopEvent[] = [];
  let count = 0;

  /** The next step of any visit that is under way; those that ended make room for new visitors. */
  const advance = (): { step: Step; context: Record<string, unknown> } => {
    for (;;) {
      if (visits.length < visitsAtOnce) visits.push(startVisit(random, run));
      const at = Math.floor(random() * visits.length);
      const visit = visits[at]!;
      const { done, value } = visit.steps.next();
      if (done !== true) return { step: value, context: visit.context };
      visits.splice(at, 1);
    }
  };

  return {
    next(nowMs) {
      const dice = random();
      if (dice < duplicates && sent.length > 0) return { kind: 'duplicate', event: pick(random, sent) };
      count += 1;
      const { step, context } = advance();
      const timestamp = new Date(nowMs - Math.floor(random() * 1_500)).toISOString();
      const event: ShopEvent = { ...step, messageId: `${run}-${count}`, timestamp, context };
      if (dice > 1 - bad) return { kind: 'bad', event: spoil(random, event) };
      // The oldest one is forgotten: a retry comes soon or never.
      if (sent.length < rememberedForRetries) sent.push(event);
      else sent[count % rememberedForRetries] = event;
      return { kind: 'new', event };
    },
  };
}

function startVisit(random: Random, run: string): Visit {
  const mobile = random() < 0.3;
  const app = { name: mobile ? 'shop-app' : 'shop-web', version: '1.4.0', build: run };
  const locale = pick(random, locales);
  const context = mobile
    ? { app, locale, device: { type: 'ios', model: 'iPhone15,4' }, os: { name: 'iOS', version: '18.2' }, network: { wifi: random() < 0.7 } }
    : { app, locale, page: { url: 'https://shop.example/', referrer: 'https://search.example/' }, ...(random() < 0.3 && { campaign: { name: pick(random, campaigns), medium: 'email' } }) };
  return { steps: visit(random, mobile), context };
}

function* visit(random: Random, mobile: boolean): Generator<Step, void> {
  const anonymousId = `anon-${hex(random)}${hex(random)}`;
  const number = Math.floor(random() * shoppers);
  const userId = `user-${number}`;
  let who: Step = { anonymousId };
  const look = (name: string, category: string): Step =>
    ({ type: mobile ? 'screen' : 'page', name, category, ...who, properties: mobile ? { name } : { title: name, path: `/${name.toLowerCase()}` } });

  yield look('Home', 'Browse');
  if (random() < 0.4) yield look(pick(random, ['Kitchen', 'Home', 'Office']), 'Browse');
  if (random() < 0.65) {
    // A fifth of those who sign in have just signed up.
    if (random() < 0.2) yield { type: 'alias', previousId: anonymousId, userId };
    who = { userId, anonymousId };
    const name = firstNames[number % firstNames.length]!;
    yield { type: 'identify', ...who, traits: { name, email: `${name.toLowerCase()}.${number}@mail.example`, plan: number % 7 === 0 ? 'plus' : 'free', logins: 1 + Math.floor(random() * 50) } };
    if (number % 10 === 0) {
      const company = companies[(number / 10) % companies.length]!;
      yield { type: 'group', ...who, groupId: `company-${companies.indexOf(company)}`, traits: { name: company, employees: 10 * (1 + number) } };
    }
  }

  const currency = pick(random, currencies);
  const cart: { product_id: string; name: string; category: string; price: number; quantity: number }[] = [];
  for (let views = 1 + Math.floor(random() * 4); views > 0; views--) {
    const [productId, name, category, cents] = pick(random, catalogue);
    const product = { product_id: productId, name, category, price: cents / 100 };
    yield track('Product Viewed', { ...product, currency });
    if (random() < 0.45) {
      const line = { ...product, quantity: 1 + Math.floor(random() * 3) };
      cart.push(line);
      yield track('Product Added', { ...line, currency });
    }
  }
  if (cart.length === 0) return;
  const totalCents = cart.reduce((sum, { price, quantity }) => sum + Math.round(price * 100) * quantity, 0);
  if (random() < 0.5) yield track('Cart Viewed', { products: cart, currency });
  if (random() < 0.3) return;
  yield track('Checkout Started', { value: totalCents / 100, currency, items: cart.length });
  if (random() < 0.25) return;
  const shippingCents = totalCents > 5_000 ? 0 : 490;
  yield track('Order Completed', {
    order_id: `order-${hex(random)}`, total: (totalCents + shippingCents) / 100, shipping: shippingCents / 100, currency,
    payment_method: pick(random, ['card', 'paypal', 'invoice']), products: cart, ...(random() < 0.15 && { coupon: 'SPRING10' }),
  });
  yield look('Thanks', 'Checkout');

  function track(event: string, properties: Record<string, unknown>): Step {
    return { type: 'track', event, ...who, properties };
  }
}

/** One of the mistakes that real clients make. */
function spoil(random: Random, event: ShopEvent): ShopEvent {
  const { userId: _userId, anonymousId: _anonymousId, ...nobody } = event;
  return pick(random, [nobody, { ...event, timestamp: 'yesterday' }, { ...event, type: 'trak' }]);
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)]!;
}

function hex(random: Random): string {
  return Math.floor(random() * 0x1_0000_0000).toString(16).padStart(8, '0');
}

/** Numbers from 0 to 1 that look random and repeat with the seed: mulberry32, a public-domain generator. */
function createRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}
