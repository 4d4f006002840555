/**
 * The types of the door's schemas, as src/api.d.ts has them: `npm run api:types` writes that file, and a test holds it equal.
 * It knows the keywords that the schemas use. What a type cannot say (lengths, patterns, conditions) is left out.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { dialects } from '../../src/door/dialects/all.ts';
import { describeDoor } from '../../src/door/openapi.ts';
import { packageRoot } from './local.ts';

type Schema = Record<string, unknown>;

export const apiTypesPath = join(packageRoot, 'src', 'api.d.ts');

export function apiTypes(): string {
  const { schemas } = describeDoor(dialects).components;
  const types = Object.entries(schemas).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, schema]) => `${comment(schema, '')}export type ${name} = ${typeOf(schema, '')};\n`);
  return `/* The types of the door's bodies and answers. Written by \`npm run api:types\` from the schemas of its OpenAPI document. */\n\n${types.join('\n')}`;
}

function comment({ description }: Schema, indent: string): string {
  return typeof description === 'string' && description !== '' ? `${indent}/** ${description} */\n` : '';
}

const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : value === undefined ? [] : [value]);

const literal = (value: unknown): string => (typeof value === 'string' ? `'${value}'` : JSON.stringify(value));

function typeOf(schema: Schema, indent: string): string {
  if (typeof schema['$ref'] === 'string') return schema['$ref'].split('/').at(-1) ?? '';
  if (schema['const'] !== undefined) return literal(schema['const']);
  if (schema['enum'] !== undefined) return list(schema['enum']).map(literal).join(' | ');
  const types = list(schema['type']).filter(type => type !== 'object').map(type => simpleType(type, schema, indent));
  const isObject = list(schema['type']).includes('object') || schema['properties'] !== undefined;
  const alternatives = list(schema['anyOf']) as Schema[];
  const parts = [
    ...(list(schema['allOf']) as Schema[]).filter(part => part['if'] === undefined).map(part => typeOf(part, indent)),
    ...(isObject ? [objectType(schema, indent)] : []),
    ...(alternatives.length > 0 ? [`(${alternatives.map(each => typeOf(each, indent)).join(' | ')})`] : []),
  ];
  const all = [...(parts.length > 0 ? [parts.join(' & ')] : []), ...types];
  return all.length === 0 ? 'unknown' : all.join(' | ');
}

function simpleType(type: unknown, schema: Schema, indent: string): string {
  if (type === 'array' && schema['maxItems'] === 0) return '[]';
  if (type === 'array') return `${typeOf((schema['items'] ?? {}) as Schema, indent)}[]`;
  return type === 'integer' ? 'number' : String(type);
}

function objectType({ properties = {}, required, additionalProperties: more }: Schema, indent: string): string {
  const members = Object.entries(properties as Record<string, Schema>);
  const names = new Set(list(required));
  if (members.length === 0) return `{ [name: string]: ${typeof more === 'object' ? typeOf(more as Schema, indent) : 'unknown'} }`;
  const inner = `${indent}  `;
  const lines = members.map(([name, member]) => `${comment(member, inner)}${inner}${name}${names.has(name) ? '' : '?'}: ${typeOf(member, inner)};\n`);
  return `{\n${lines.join('')}${more === true ? `${inner}[name: string]: unknown;\n` : ''}${indent}}`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) writeFileSync(apiTypesPath, apiTypes());
