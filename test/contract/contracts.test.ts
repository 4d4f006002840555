import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createContracts, createLiveContracts } from '../../src/contract/contracts.ts';
import type { ContractEntry } from '../../src/contract/contracts.ts';
import { isRefused, judgementHeaders, noteJudgement, readJudgement, readLetterJudgement, violationsText } from '../../src/contract/judged.ts';
import { maxViolations } from '../../src/contract/violations.ts';
import type { CanonicalEvent, Violation } from '../../src/event/canonical.ts';
import { packageRoot } from '../helpers/local.ts';

const event = (more: Partial<CanonicalEvent> = {}): CanonicalEvent => ({
  tenant: 'acme', dialect: 'segment', messageId: 'm', type: 'track', event: 'Order Completed', userId: 'u', anonymousId: null, previousId: null, groupId: null, email: null, name: null, category: null,
  timestampMs: 0, sentAtMs: null, receivedAtMs: 0, properties: null, traits: null, context: null, integrations: null, writeKeyId: null, violations: [], raw: null, ...more,
});
const entry = (schema: object | null, more: Partial<ContractEntry> = {}): ContractEntry => ({ tenant: 'acme', type: 'track', event: 'Order Completed', version: 3, onViolation: 'reject', ...(schema !== null && { schema: JSON.stringify(schema) }), ...more });
/** What a schema finds in `properties`. */
const found = (schema: object, properties: unknown): [string, string, string][] =>
  (createContracts([entry(schema)]).judge(event({ properties: typeof properties === 'string' ? properties : JSON.stringify(properties) }))?.violations ?? assert.fail('no contract')).map(({ kind, pointer, message }) => [kind, pointer, message]);
const places = (schema: object, properties: unknown): string[] => found(schema, properties).map(([kind, pointer]) => `${kind} ${pointer}`);

const drafts = { '2020-12': 'https://json-schema.org/draft/2020-12/schema', 'draft-07': 'http://json-schema.org/draft-07/schema#' };

for (const [draft, $schema] of Object.entries(drafts)) {
  test(`${draft}: every violation at once, each with its kind and its pointer into the event`, () => {
    const schema = {
      $schema, type: 'object', required: ['total', 'a/b', 'c~d'], additionalProperties: false,
      properties: {
        total: { type: 'number' }, 'a/b': { type: 'string' }, 'c~d': {}, currency: { enum: ['EUR', 'USD'] }, mail: { type: 'string', format: 'email' }, code: { type: 'string', pattern: '^[A-Z]{3}$' },
        items: { type: 'array', items: { type: 'object', required: ['sku'], properties: { sku: { type: 'string' }, price: { type: 'number', minimum: 0 } } } }, gone: false,
      },
    };
    assert.deepEqual(places(schema, { total: 1, 'a/b': 'x', 'c~d': null, currency: 'EUR', mail: 'a@b.example', code: 'ABC', items: [{ sku: 's', price: 1 }] }), []);
    assert.deepEqual(found(schema, { total: '1', 'a/b': 1, currency: 'GBP', mail: 'nobody', code: 'abcd', items: [{ sku: 's' }, { price: -1 }, { sku: 2 }], gone: 1, 'e/f~g': 1 }).sort(), [
      ['additional_property', '/properties/e~1f~0g', 'is not in the contract'],
      ['other', '/properties/code', 'must match pattern "^[A-Z]{3}$"'],
      ['other', '/properties/currency', 'must be one of "EUR", "USD"'],
      ['other', '/properties/gone', 'must not be there'],
      ['other', '/properties/items/1/price', 'must be >= 0'],
      ['other', '/properties/mail', 'must match format "email"'],
      ['required_missing', '/properties/c~0d', 'is required'],
      ['required_missing', '/properties/items/1/sku', 'is required'],
      ['type_mismatch', '/properties/a~1b', 'must be string'],
      ['type_mismatch', '/properties/items/2/sku', 'must be string'],
      ['type_mismatch', '/properties/total', 'must be number'],
    ]);
    // Without properties at all, what is required is missing.
    assert.deepEqual(createContracts([entry(schema)]).judge(event())?.violations.map(({ pointer }) => pointer), ['/properties/total', '/properties/a~1b', '/properties/c~0d']);
  });
}

test('what the drafts do not share: each is read by its own', () => {
  assert.deepEqual(places({ $schema: drafts['draft-07'], properties: { list: { items: [{ type: 'string' }, { type: 'number' }], additionalItems: false } } }, { list: ['a', 'b', 3] }).sort(), ['other /properties/list', 'type_mismatch /properties/list/1']);
  assert.deepEqual(places({ properties: { list: { prefixItems: [{ type: 'string' }, { type: 'number' }], items: false } } }, { list: ['a', 'b', 3] }).sort(), ['other /properties/list', 'type_mismatch /properties/list/1']);
  assert.deepEqual(places({ $schema: drafts['draft-07'], dependencies: { a: ['b'] } }, { a: 1 }), ['required_missing /properties/b']);
  assert.deepEqual(places({ dependentRequired: { a: ['b'] } }, { a: 1 }), ['required_missing /properties/b']);
  assert.deepEqual(places({ allOf: [{ properties: { a: {} } }], unevaluatedProperties: false }, { a: 1, b: 2 }), ['additional_property /properties/b']);
  assert.deepEqual(places({ $defs: { money: { type: 'number' } }, properties: { total: { $ref: '#/$defs/money' } } }, { total: 'x' }), ['type_mismatch /properties/total']);
});

test('of a choice that nothing fits, one violation; of an if, what it leads to', () => {
  assert.deepEqual(found({ properties: { a: { anyOf: [{ type: 'string' }, { type: 'null' }] } } }, { a: 1 }), [['other', '/properties/a', 'fits none of the forms that the contract allows']]);
  assert.deepEqual(places({ if: { properties: { kind: { const: 'card' } } }, then: { required: ['last4'] } }, { kind: 'card' }), ['required_missing /properties/last4']);
});

test('a choice between references is one violation too, and hides no other one', () => {
  const $defs = { card: { type: 'object', required: ['number'] }, bank: { type: 'object', required: ['iban'], properties: { next: { $ref: '#/$defs/bank' } } } };
  assert.deepEqual(places({ $defs, properties: { pay: { oneOf: [{ $ref: '#/$defs/card' }, { $ref: '#/$defs/bank' }] } } }, { pay: { next: {} } }), ['other /properties/pay']);
  assert.deepEqual(places({ properties: { a: { anyOf: [{ type: 'string' }, { type: 'null' }] }, b: { $ref: '#/properties/a/anyOf/0' } } }, { a: 1, b: 1 }).sort(), ['other /properties/a', 'type_mismatch /properties/b']);
  assert.deepEqual(places({ anyOf: [{ properties: { a: {} }, required: ['a'] }, { properties: { b: {} } }], unevaluatedProperties: false }, { b: 1, c: 1 }), ['additional_property /properties/c']);
});

test('thousands of violations are named in no time, however long the contract', () => {
  const list = Array(8_000).fill(1);
  for (const items of [{ anyOf: Array.from({ length: 8 }, (_none, index) => ({ const: `k${index}` })) }, { enum: Array.from({ length: 1_000 }, (_none, index) => `key-${index}`) }]) {
    const contracts = createContracts([entry({ properties: { list: { items } } })]);
    const properties = JSON.stringify({ list });
    contracts.judge(event({ properties }));
    const began = performance.now();
    assert.equal(contracts.judge(event({ properties }))?.violations.at(-1)?.message, 'and 7901 more violations');
    assert.ok(performance.now() - began < 500, `took ${performance.now() - began} ms`);
  }
});

test('multiples are those of the digits, not of what doubles divide to', () => {
  const of = (multipleOf: number, values: readonly (number | string)[]): string[] => values.filter(value => places({ properties: { n: { multipleOf } } }, `{"n":${value}}`).length > 0).map(String);
  assert.deepEqual(of(0.01, [19.99, 0.07, 4.35, -1.1, 0, '-0', 1e21, '1e300', 0.015, 1e-9, '1e400']), ['0.015', '1e-9', '1e400']);
  assert.deepEqual(of(1, [1e21, 3, -2, 2.5, '5e-324']), ['2.5', '5e-324']);
  assert.deepEqual(of(2, [4, 3, 1e22, '9007199254740991']), ['3', '9007199254740991']);
  assert.match(found({ properties: { n: { multipleOf: 0.25 } } }, { n: 0.3 })[0]?.[2] ?? '', /^must be multiple of 0\.25$/);
});

test('names that every object has are names like others', () => {
  const odd = ['constructor', 'toString', 'hasOwnProperty', 'valueOf'];
  assert.deepEqual(places({ required: odd, dependentRequired: { toString: ['a'] } }, {}), odd.map(name => `required_missing /properties/${name}`));
  for (const closed of [{ additionalProperties: false }, { unevaluatedProperties: false }]) assert.deepEqual(places({ properties: { constructor: { type: 'string' } }, ...closed }, { constructor: 1, toString: 1 }).sort(), ['additional_property /properties/toString', 'type_mismatch /properties/constructor']);
});

test('formats are checked, numbers are not taken for text, and nothing is changed', () => {
  const schema = { properties: { at: { format: 'date-time' }, id: { format: 'uuid' }, url: { format: 'uri' }, day: { format: 'date' }, n: { type: 'integer', default: 5 } } };
  assert.deepEqual(places(schema, { at: '2026-02-30T00:00:00Z', id: 'x', url: ':', day: '2026-13-01', n: 1.5 }).length, 5);
  const one = event({ properties: '{"n":1,"x":12345678901234567890}' });
  createContracts([entry(schema)]).judge(one);
  assert.equal(one.properties, '{"n":1,"x":12345678901234567890}');
});

test('which contract is for an event: tenant, type, name, else the one for all others; none: unplanned, or nothing is asked', () => {
  const contracts = createContracts([
    entry({ required: ['a'] }),
    entry({ required: ['b'] }, { event: '*', version: 9, onViolation: 'flag' }),
    entry({ required: ['c'] }, { type: 'page', event: 'Pricing', version: 4 }),
    entry({ required: ['plan'] }, { type: 'identify', event: '*', version: 5, onViolation: 'dead_letter' }),
    entry(null, { tenant: 'strict', event: '*', version: 0 }),
    entry(null, { tenant: 'strict', type: 'page', event: '*', version: 0, onViolation: 'flag' }),
  ]);
  const judged = (more: Partial<CanonicalEvent>): unknown[] | null => {
    const judgement = contracts.judge(event(more));
    return judgement && [judgement.version, judgement.action, ...judgement.violations.map(({ kind, pointer }) => `${kind} ${pointer}`)];
  };
  assert.deepEqual(judged({}), [3, 'reject', 'required_missing /properties/a']);
  assert.deepEqual(judged({ properties: '{"a":1}' }), [3, 'flag']);
  assert.deepEqual(judged({ event: 'Other' }), [9, 'flag', 'required_missing /properties/b']);
  assert.deepEqual(judged({ type: 'page', event: null, name: 'Pricing' }), [4, 'reject', 'required_missing /properties/c']);
  assert.deepEqual(judged({ type: 'page', event: 'Pricing', name: 'Home' }), null);
  assert.deepEqual(judged({ type: 'identify', event: null, traits: '{"plan":1}' }), [5, 'flag']);
  assert.deepEqual(judged({ type: 'identify', event: null, properties: '{"plan":1}' }), [5, 'dead_letter', 'required_missing /traits/plan']);
  assert.deepEqual(judged({ type: 'alias' }), null);
  assert.deepEqual(judged({ tenant: 'other' }), null);
  assert.deepEqual(judged({ tenant: 'strict' }), [0, 'reject', 'unplanned_event /event']);
  assert.deepEqual(judged({ tenant: 'strict', type: 'page', name: '<b>' }), [0, 'flag', 'unplanned_event /name']);
  for (const name of ['__proto__', 'constructor', 'toString']) assert.deepEqual(judged({ tenant: name }), null);
});

test('many violations are bounded, and say how many there are', () => {
  const schema = { items: { type: 'string' }, properties: { list: { items: { type: 'string' } } } };
  const violations = found(schema, { list: Array(500).fill(1) });
  assert.deepEqual([violations.length, violations.at(-1)], [maxViolations, ['other', '', 'and 401 more violations']]);
  const long = found({ additionalProperties: { items: { type: 'string' } } }, { ['ü'.repeat(500)]: Array(200).fill(1) });
  assert.ok(long.length > 50 && long.length < maxViolations && JSON.stringify(long).length < 40_000);
  assert.deepEqual(long.at(-1), ['other', '', `and ${201 - long.length} more violations`]);
  const huge = found(schema, { list: Array(20_000).fill(1) });
  assert.deepEqual(huge.map(([kind, pointer]) => `${kind} ${pointer}`), ['type_mismatch /properties/list/0', 'other /properties']);
  const names = found({ additionalProperties: false }, Object.fromEntries(Array.from({ length: 20 }, (_none, index) => [`${index}-${'ü'.repeat(600)}`, 1])));
  assert.ok(names.every(([, pointer]) => pointer.length <= 513) && names.length === 20);
});

test('half of a surrogate pair in a name, or where a name is cut, goes no further', () => {
  for (const properties of ['{"\\ud800":1}', JSON.stringify({ [`${'x'.repeat(498)}😀${'y'.repeat(50)}`]: 1 })]) {
    const [violation] = found({ additionalProperties: false }, properties);
    assert.ok(violation?.[1].isWellFormed() === true && violation[0] === 'additional_property');
  }
  assert.equal(readLetterJudgement(JSON.stringify({ version: 1, action: 'reject', eventId: '00000000-0000-4000-8000-000000000000', type: '\ud800', event: '', violations: [] }))?.type, '\ufffd');
});

test('no event can make its check take long: patterns, unique items, references that repeat, depth', () => {
  const schema = {
    $defs: { item: { type: 'object', properties: { of: { $ref: '#/$defs/item' } }, required: ['sku'] } },
    properties: { a: { pattern: '^(a+)+$' }, b: { pattern: '(x+x+)+y' }, c: { pattern: '^(?:\\d|[0-9])*$' }, d: { pattern: 'a*a*a*b' }, e: { pattern: 'a*a*b' }, unique: { uniqueItems: true }, items: { items: { $ref: '#/$defs/item' } }, deep: { $ref: '#/$defs/item' } },
  };
  const contracts = createContracts([entry(schema)]);
  const hostile: [string, string][] = [
    ['other /properties/a', JSON.stringify({ a: `${'a'.repeat(60)}!` })],
    ['other /properties/a', JSON.stringify({ a: `${'a'.repeat(200_000)}!` })],
    ['other /properties/b', JSON.stringify({ b: 'x'.repeat(200_000) })],
    ['other /properties/c', JSON.stringify({ c: `${'1'.repeat(200_000)}!` })],
    ['other /properties/d', JSON.stringify({ d: 'a'.repeat(200_000) })],
    ['other /properties/e', JSON.stringify({ e: 'a'.repeat(20_000) })],
    ['other /properties/unique', JSON.stringify({ unique: [...Array(40_000).keys(), 7].map(id => ({ id })) })],
    ['required_missing /properties/items/0/sku', JSON.stringify({ items: Array(60_000).fill({}) })],
    ['other /properties', `{"deep":${'{"sku":1,"of":'.repeat(100_000)}1${'}'.repeat(100_000)}}`],
  ];
  for (const [place, properties] of hostile) {
    const began = performance.now();
    const judgement = contracts.judge(event({ properties }));
    const [first] = judgement?.violations ?? [];
    assert.equal(`${first?.kind} ${first?.pointer}`, place);
    assert.ok(performance.now() - began < 2_000, `${place} took ${performance.now() - began} ms`);
  }
});

test('unique items are told apart as JSON Schema has it', () => {
  const unique = { properties: { list: { uniqueItems: true } } };
  for (const list of [[1, '1', true, 'true', null, [1], { a: 1 }, { a: 2 }], []]) assert.deepEqual(places(unique, { list }), []);
  for (const list of ['[1,1.0]', '[{"a":1,"b":2},{"b":2,"a":1}]', '[[1,2],[1,2]]', '["x","x"]', '[0,-0]']) assert.deepEqual(places(unique, `{"list":${list}}`), ['other /properties/list']);
  assert.deepEqual(places({ properties: { list: { uniqueItems: false } } }, { list: [1, 1] }), []);
});

test('what a contract said goes with the record and comes back; what was made up by others does not hurt', () => {
  const judgement = createContracts([entry({ required: ['a/ü'], properties: { b: { type: 'number' } } }, { onViolation: 'flag' })]).judge(event({ properties: '{"b":""}' }));
  assert.ok(judgement);
  const one = event();
  noteJudgement(one, judgement);
  const headers = judgementHeaders(one);
  assert.equal(headers['contract-version'], '3');
  assert.deepEqual(readJudgement(name => headers[name] ?? null), judgement);
  assert.deepEqual(one.violations.sort(), ['required_missing:/properties/a~1ü', 'type_mismatch:/properties/b']);
  assert.deepEqual(judgementHeaders(event()), {});
  assert.equal(readJudgement(() => null), null);
  for (const violations of ['', '{', '{}', '[1,null,{"kind":"x","pointer":"","message":""},{"kind":"other","pointer":1}]']) {
    assert.deepEqual(readJudgement(name => (name === 'contract-version' ? '99999999999' : violations)), { version: 0, action: 'flag', violations: [] });
  }
  for (const text of ['', 'null', '[]', '{"action":"reject"}', '{"version":1,"action":"drop","eventId":"x","type":"track","event":""}']) assert.equal(readLetterJudgement(text), null);
});

test('what the dialect has flagged stays, once', () => {
  const own: Violation = { kind: 'unplanned_event', pointer: '/event', message: 'none of ours' };
  const flagged = (): CanonicalEvent => event({ violations: ['unplanned_event'], judged: { version: 0, action: 'flag', violations: [own] } });
  const unplanned = createContracts([entry(null, { event: '*', version: 0 })]).judge(event());
  const strict = createContracts([entry({ required: ['a'] })]).judge(event());
  assert.ok(unplanned && strict);
  const one = flagged();
  noteJudgement(one, unplanned);
  assert.deepEqual([one.violations, one.judged?.violations, isRefused(one.judged)], [['unplanned_event'], [own], true]);
  const other = flagged();
  noteJudgement(other, strict);
  assert.deepEqual(other.judged?.violations.map(({ kind }) => kind), ['unplanned_event', 'required_missing']);
  const sound = flagged();
  noteJudgement(sound, { version: 2, action: 'flag', violations: [] });
  assert.deepEqual([isRefused(sound.judged), sound.judged?.violations], [false, [own]]);
});

test('contracts that change: a batch keeps those that it was planned under, as long as they are remembered', () => {
  const live = createLiveContracts([entry({ required: ['a'] })]);
  const first = live.current();
  live.replace([entry({ required: ['b'] })]);
  assert.notEqual(live.current().rules, first.rules);
  assert.equal(live.of(first.rules), first);
  assert.equal(live.of('unheard'), live.current());
  assert.equal(live.of(undefined), live.current());
  for (let version = 10; version < 20; version++) live.replace([entry({ required: ['b'] }, { version })]);
  assert.equal(live.of(first.rules), live.current());
  live.replace([]);
  assert.deepEqual([live.current().rules, live.current().judge(event())], ['', null]);
});

test('the worked example of docs/contracts.md is what comes out', () => {
  const page = readFileSync(join(packageRoot, 'docs', 'contracts.md'), 'utf8');
  const [schema = '', answer = ''] = [...page.matchAll(/```json\n([^]*?)```/g)].map(([, text]) => text ?? '');
  const { properties } = JSON.parse(/-d '(\{.*\})'/.exec(page)?.[1] ?? '') as { properties: object };
  const { error } = JSON.parse(answer) as { error: { message: string; details: unknown } };
  const violations = createContracts([{ ...entry(null), schema }]).judge(event({ properties: JSON.stringify(properties) }))?.violations ?? [];
  assert.deepEqual([violations, violationsText(violations)], [error.details, error.message]);
});
