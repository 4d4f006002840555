import fc from 'fast-check';
import { document } from './described.ts';

/* Values to try the door with, made of the document's schemas: near to what they want, and then spoilt. */

type Schema = Record<string, unknown>;

const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : value === undefined ? [] : [value]);

/** Free JSON; names and strings that other programs have stumbled over among it. */
const anyJson = fc.oneof(
  { weight: 3, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
  { weight: 1, arbitrary: fc.constantFrom<unknown>(null, '', 0, -1, 1e21, 1e308, true, [], {}, [null], 'constructor', 'x'.repeat(512), 'x'.repeat(513), '\u0000', 'é', '😀'.repeat(10), '2025-02-30T00:00:00Z', '2025-03-15T14:30:00.123+01:00', '2025-03-15', '2025-03-15T14:30Z', 253_402_300_800_000, ' A@b ', 'a b@c', 'snake_case', 'Not_Snake', 'track', 'group') },
);

/**
 * A value that a schema means, mostly: conditions (`if`, `not`) are not looked at, so that the schema has to be asked.
 * It knows the keywords that the door's schemas use.
 */
export function arbitraryOf(schema: Schema): fc.Arbitrary<unknown> {
  if (typeof schema['$ref'] === 'string') return arbitraryOf(document.components.schemas[schema['$ref'].split('/').at(-1) ?? ''] as Schema);
  if (schema['const'] !== undefined) return fc.constant(schema['const']);
  if (schema['enum'] !== undefined) return fc.constantFrom(...list(schema['enum']));
  const alternatives = list(schema['anyOf']) as Schema[];
  const parts = (list(schema['allOf']) as Schema[]).filter(part => part['if'] === undefined);
  const own = list(schema['type']).map(type => simple(String(type), schema));
  if (schema['type'] === undefined && schema['properties'] !== undefined) own.push(simple('object', schema));
  const all = [...(own.length > 0 ? [fc.oneof(...own)] : []), ...parts.map(arbitraryOf), ...(alternatives.length > 0 ? [fc.oneof(...alternatives.map(arbitraryOf))] : [])];
  if (all.length === 0) return anyJson;
  return all.length === 1 && all[0] !== undefined ? all[0] : fc.tuple(...all).map(values => (values.every(isObject) ? Object.assign({}, ...values) as unknown : values[0]));
}

function simple(type: string, schema: Schema): fc.Arbitrary<unknown> {
  switch (type) {
    case 'null': return fc.constant(null);
    case 'boolean': return fc.boolean();
    case 'integer':
    case 'number': return fc.oneof(fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }));
    case 'array': return fc.array(arbitraryOf((schema['items'] ?? {}) as Schema), { maxLength: Math.min(4, Number(schema['maxItems'] ?? 4)) });
    case 'object': return object(schema);
    default: {
      const examples = list(schema['examples']).filter(each => typeof each === 'string');
      const text = typeof schema['pattern'] === 'string' ? fc.stringMatching(new RegExp(schema['pattern'])) : fc.string({ minLength: Number(schema['minLength'] ?? 0), maxLength: 20, unit: 'grapheme' });
      return examples.length === 0 ? text : fc.oneof(text, fc.constantFrom(...examples));
    }
  }
}

function object({ properties = {}, required, additionalProperties }: Schema): fc.Arbitrary<unknown> {
  const members = Object.fromEntries(Object.entries(properties as Record<string, Schema>).map(([name, member]) => [name, arbitraryOf(member)]));
  const record = fc.record(members, { requiredKeys: list(required).map(String).filter(name => members[name] !== undefined) });
  if (additionalProperties === false || additionalProperties === undefined) return record;
  return fc.tuple(fc.oneof({ weight: 3, arbitrary: fc.constant({}) }, { weight: 1, arbitrary: fc.dictionary(fc.string(), anyJson, { maxKeys: 3 }) }), record).map(([more, own]) => ({ ...more, ...own }));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const change = fc.record({ deep: fc.boolean(), at: fc.nat(), how: fc.constantFrom('set', 'set', 'remove', 'add'), value: anyJson, name: fc.constantFrom('more', 'type', 'user_id', 'userId', 'events', 'batch', 'external_user_id', 'context', 'constructor') });

/** Values as the schema means them, half of them with up to two members changed, taken away or added. */
export function spoilt(schema: Schema): fc.Arbitrary<unknown> {
  return fc.tuple(arbitraryOf(schema), fc.oneof(fc.constant([]), fc.array(change, { minLength: 1, maxLength: 2 }))).map(([value, changes]) => {
    const copy = structuredClone(value);
    for (const { deep, at, how, value: other, name } of changes) {
      if (!isObject(copy)) return other;
      const inner = Object.values(copy).flatMap(each => (isObject(each) ? [each] : Array.isArray(each) ? each.filter(isObject) : []));
      const target = (deep ? inner[at % Math.max(1, inner.length)] : undefined) ?? copy;
      const names = Object.keys(target);
      const picked = names[at % Math.max(1, names.length)];
      if (how === 'add' || picked === undefined) target[name] = other;
      else if (how === 'remove') delete target[picked];
      else target[picked] = other;
    }
    return copy;
  });
}

export { anyJson };
