/**
 * An Avro schema that refers to types of other subjects (Confluent's schema references), as one that stands alone:
 * the first mention of each referred type is replaced by its definition.
 * `references` holds the other schemas' texts by full name. A text that can't be read is left as it is.
 */
export function inlineReferences(text: string, references: ReadonlyMap<string, string>): string {
  if (references.size === 0) return text;
  try {
    const left = new Map([...references].map(([name, schema]) => [name, JSON.parse(schema) as unknown]));
    return JSON.stringify(inline(JSON.parse(text), '', left));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return text;
    throw error;
  }
}

/** `left` are the definitions that have not been placed yet. */
function inline(schema: unknown, namespace: string, left: Map<string, unknown>): unknown {
  if (typeof schema === 'string') {
    const name = [schema, `${namespace}.${schema}`].find(candidate => left.has(candidate));
    if (name === undefined) return schema;
    const definition = left.get(name);
    left.delete(name);
    const placed = inline(definition, '', left);
    // A name without a namespace must not take on that of its new surroundings.
    return typeof placed === 'object' && placed !== null && !Array.isArray(placed) ? { namespace: '', ...placed } : placed;
  }
  if (Array.isArray(schema)) return schema.map(branch => inline(branch, namespace, left));
  if (typeof schema !== 'object' || schema === null) return schema;
  const attributes = schema as Record<string, unknown>;
  const name = typeof attributes['name'] === 'string' ? attributes['name'] : '';
  const space = name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : typeof attributes['namespace'] === 'string' ? attributes['namespace'] : namespace;
  const inlined: Record<string, unknown> = { ...attributes };
  if ('type' in attributes) inlined['type'] = inline(attributes['type'], space, left);
  if ('items' in attributes) inlined['items'] = inline(attributes['items'], namespace, left);
  if ('values' in attributes) inlined['values'] = inline(attributes['values'], namespace, left);
  if (Array.isArray(attributes['fields'])) {
    inlined['fields'] = attributes['fields'].map((field: unknown) => (typeof field === 'object' && field !== null && 'type' in field ? { ...field, type: inline(field.type, space, left) } : field));
  }
  return inlined;
}
