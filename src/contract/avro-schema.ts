/**
 * Avro schemas (specification 1.12, "Schema Declaration") as plain data: just what reading a value's bytes needs.
 * Defaults, aliases and documentation are left out, since a value is read by the schema that wrote it.
 */

/** Logical types that change what a value is written as; others, and faulty ones, count as their underlying type. */
export type AvroLogical =
  | { name: 'decimal'; scale: number }
  | { name: 'date' | 'time-millis' | 'time-micros' | 'uuid' | 'duration' }
  | { name: 'timestamp'; digits: 3 | 6 | 9; local: boolean };

export type AvroNode =
  | { kind: 'null' | 'boolean' | 'float' | 'double' | 'string' }
  | { kind: 'int' | 'long' | 'bytes'; logical: AvroLogical | null }
  | { kind: 'fixed'; size: number; logical: AvroLogical | null }
  | { kind: 'enum'; symbols: string[] }
  | { kind: 'array'; items: AvroNode }
  | { kind: 'map'; values: AvroNode }
  | { kind: 'union'; branches: AvroNode[] }
  | AvroRecord;

export interface AvroRecord {
  kind: 'record';
  fields: { name: string; /** The name as JSON text. */ quoted: string; type: AvroNode }[];
}

export type ParsedAvroSchema = { ok: true; node: AvroNode } | { ok: false; detail: string };

const maxNodes = 50_000;
const maxSchemaDepth = 200;
/** Zeros after the point are cheap to claim and dear to write. */
const maxScale = 1_000;

class SchemaFault extends Error {}

type Attributes = Readonly<Record<string, unknown>>;

/** Parses a schema's JSON text. A text that is no Avro schema is a result, not a fault. */
export function parseAvroSchema(text: string): ParsedAvroSchema {
  try {
    const state = { named: new Map<string, AvroNode>(), nodes: 0 };
    return { ok: true, node: parse(JSON.parse(text), '', 0, state) };
  } catch (error) {
    return { ok: false, detail: `not an Avro schema: ${error instanceof Error ? error.message : String(error)}` };
  }
}

function parse(schema: unknown, namespace: string, depth: number, state: { named: Map<string, AvroNode>; nodes: number }): AvroNode {
  if (depth > maxSchemaDepth || ++state.nodes > maxNodes) throw new SchemaFault('it is too large');
  const inner = (child: unknown, space = namespace): AvroNode => parse(child, space, depth + 1, state);
  if (typeof schema === 'string') return plain(schema, {}) ?? lookUp(schema, namespace, state.named);
  if (Array.isArray(schema)) return { kind: 'union', branches: schema.map(branch => inner(branch)) };
  if (typeof schema !== 'object' || schema === null) throw new SchemaFault(`${JSON.stringify(schema) ?? 'nothing'} is no type`);
  const attributes = schema as Attributes;
  const { type } = attributes;
  if (typeof type !== 'string') return inner(type);
  const found = plain(type, attributes);
  if (found !== null) return found;
  if (type === 'array') return { kind: 'array', items: inner(attributes['items']) };
  if (type === 'map') return { kind: 'map', values: inner(attributes['values']) };
  if (type !== 'record' && type !== 'error' && type !== 'enum' && type !== 'fixed') return lookUp(type, namespace, state.named);

  const name = fullName(attributes, namespace);
  const define = <N extends AvroNode>(node: N): N => {
    if (state.named.has(name)) throw new SchemaFault(`${name} is defined twice`);
    state.named.set(name, node);
    return node;
  };
  if (type === 'enum') return define({ kind: 'enum', symbols: listOf(attributes, 'symbols').map(String) });
  if (type === 'fixed') {
    const size = attributes['size'];
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw new SchemaFault(`${name} has no size`);
    return define({ kind: 'fixed', size, logical: logicalOf('fixed', attributes, size) });
  }
  // Known before its fields are read, since a record may hold itself.
  const record = define<AvroRecord>({ kind: 'record', fields: [] });
  const own = name.slice(0, Math.max(0, name.lastIndexOf('.')));
  for (const field of listOf(attributes, 'fields')) {
    const { name: fieldName, type: fieldType } = (field ?? {}) as Attributes;
    if (typeof fieldName !== 'string') throw new SchemaFault(`a field of ${name} has no name`);
    record.fields.push({ name: fieldName, quoted: JSON.stringify(fieldName), type: inner(fieldType, own) });
  }
  return record;
}

function plain(type: string, attributes: Attributes): AvroNode | null {
  switch (type) {
    case 'null':
    case 'boolean':
    case 'float':
    case 'double':
    case 'string':
      return { kind: type };
    case 'int':
    case 'long':
    case 'bytes':
      return { kind: type, logical: logicalOf(type, attributes, 0) };
    default:
      return null;
  }
}

function logicalOf(kind: 'int' | 'long' | 'bytes' | 'fixed', attributes: Attributes, size: number): AvroLogical | null {
  const name = attributes['logicalType'];
  if (typeof name !== 'string') return null;
  if (name === 'decimal' && (kind === 'bytes' || kind === 'fixed')) {
    const { precision, scale = 0 } = attributes;
    const sound = Number.isSafeInteger(precision) && Number.isSafeInteger(scale) && (scale as number) >= 0 && (scale as number) <= Math.min(precision as number, maxScale);
    return sound ? { name, scale: scale as number } : null;
  }
  if (kind === 'int' && (name === 'date' || name === 'time-millis')) return { name };
  if (kind === 'long' && name === 'time-micros') return { name };
  if (kind === 'fixed' && ((name === 'duration' && size === 12) || (name === 'uuid' && size === 16))) return { name };
  const timestamp = /^(local-)?timestamp-(millis|micros|nanos)$/.exec(name);
  if (kind !== 'long' || timestamp === null) return null;
  return { name: 'timestamp', digits: timestamp[2] === 'millis' ? 3 : timestamp[2] === 'micros' ? 6 : 9, local: timestamp[1] !== undefined };
}

function fullName({ name, namespace }: Attributes, enclosing: string): string {
  if (typeof name !== 'string' || name === '') throw new SchemaFault('a named type has no name');
  if (name.includes('.')) return name.replace(/^\./, '');
  const space = typeof namespace === 'string' ? namespace : enclosing;
  return space === '' ? name : `${space}.${name}`;
}

function lookUp(name: string, namespace: string, named: ReadonlyMap<string, AvroNode>): AvroNode {
  const node = (name.includes('.') || namespace === '' ? undefined : named.get(`${namespace}.${name}`)) ?? named.get(name.replace(/^\./, ''));
  if (node === undefined) throw new SchemaFault(`there is no type "${name.slice(0, 100)}"`);
  return node;
}

function listOf(attributes: Attributes, name: string): unknown[] {
  const list = attributes[name];
  if (!Array.isArray(list)) throw new SchemaFault(`${name} is no list`);
  return list;
}
