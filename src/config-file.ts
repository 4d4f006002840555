import { hash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Ajv } from 'ajv';
import type { ErrorObject } from 'ajv';
import { LineCounter, isMap, isNode, isPair, isScalar, isSeq, parseDocument } from 'yaml';
import type { Document } from 'yaml';
import { readContracts } from './config-contracts.ts';
import type { ContractFileEntry } from './config-contracts.ts';
import type { ContractEntry } from './contract/contracts.ts';
import type { TopicMapping } from './contract/mapping.ts';

/** One of `writeKeys`. */
export interface WriteKeyEntry {
  id: string;
  tenant: string;
  keySha256?: string;
  key?: string;
  allow?: string[];
  rateLimit?: { eventsPerSecond: number; burst?: number };
  origins?: string[];
}

/** What millrace.yaml says; schemas/config/millrace.v1.schema.json is its published form. */
export interface ConfigFile {
  writeKeys?: WriteKeyEntry[];
  defaultTenant?: string | null;
  topics?: TopicMapping[];
  contracts?: ContractFileEntry[];
  dedupe?: { retentionDays?: number };
}

export interface ReadConfigFile {
  file: ConfigFile;
  /** With the texts of their schemas. */
  contracts: ContractEntry[];
  /** `<path>:<line>: <place> <what is wrong>`, by line. */
  faults: string[];
}

type Path = readonly (string | number)[];
export type AddFault = (path: Path, message: string, atKey?: boolean) => void;

/** Keys that the design has and this version does not know yet. */
const later = new Set(['transformations', 'destinations']);

const schemaOf = (packageRoot: string): string => join(packageRoot, 'schemas', 'config', 'millrace.v1.schema.json');

/**
 * Reads and checks the configuration file; null where `path` is not there. Every fault is found at once.
 * `reserved` are the topics that millrace writes itself; `onFile` is told of every file that belongs to it, there or not.
 */
export function readConfigFile(path: string, packageRoot: string, reserved: readonly string[], onFile: (path: string) => void = () => undefined): ReadConfigFile | null {
  onFile(path);
  if (!existsSync(path)) return null;
  const lines = new LineCounter();
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    return { file: {}, contracts: [], faults: [`${path}: cannot be read: ${error instanceof Error ? error.message : String(error)}`] };
  }
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const found: { line: number; text: string }[] = [];
  const lineAt = (offset: number | undefined): number => (offset === undefined ? 1 : Math.max(1, lines.linePos(offset).line));
  const add: AddFault = (at, message, atKey = false) => {
    found.push({ line: lineAt(offsetOf(document, at, atKey)), text: `${placeText(at)} ${message}`.trimStart() });
  };
  const answer = (file: ConfigFile, contracts: ContractEntry[] = [], faultsInSchemas: string[] = []): ReadConfigFile => ({
    file,
    contracts,
    faults: [...new Set(found.sort((a, b) => a.line - b.line).map(({ line, text: what }) => `${path}:${line}: ${what}`)), ...faultsInSchemas],
  });

  for (const { message, pos } of [...document.errors, ...document.warnings]) found.push({ line: lineAt(pos[0]), text: message });
  if (found.length > 0) return answer({});
  let value: unknown;
  try {
    value = document.toJS() ?? {};
    // An anchor that holds its own alias has no end.
    JSON.stringify(value);
  } catch (error) {
    add([], error instanceof Error ? error.message : String(error));
    return answer({});
  }

  const validate = new Ajv({ allErrors: true, verbose: true, allowUnionTypes: true }).compile<ConfigFile>(JSON.parse(readFileSync(schemaOf(packageRoot), 'utf8')) as object);
  if (!validate(value)) {
    for (const error of validate.errors ?? []) addSchemaFault(error, add);
    return answer({});
  }
  checkTopics(value.topics ?? [], reserved, add);
  checkKeys(value.writeKeys ?? [], add);
  const { contracts, faults } = readContracts(value.contracts ?? [], dirname(path), add, onFile);
  return answer(value, contracts, faults);
}

function checkKeys(keys: readonly WriteKeyEntry[], add: AddFault): void {
  const ids = new Set<string>();
  const digests = new Set<string>();
  keys.forEach((entry, index) => {
    const { id, key, keySha256 } = entry;
    const digest = digestOf(entry);
    const at = ['writeKeys', index];
    if ((key === undefined) === (keySha256 === undefined)) add(at, key === undefined ? 'needs keySha256 (`npx millrace key new` makes one)' : 'has both key and keySha256');
    if (ids.has(id)) add([...at, 'id'], `"${id}" is there twice`);
    else if (digests.has(digest)) add(at, 'has the key of another one');
    ids.add(id);
    digests.add(digest);
  });
}

/** SHA-256 in hex of a write key, however the file says it. */
export function digestOf({ key, keySha256 }: Pick<WriteKeyEntry, 'key' | 'keySha256'>): string {
  return keySha256?.toLowerCase() ?? hash('sha256', key ?? '', 'hex');
}

/** What a JSON Schema cannot say well. */
function checkTopics(topics: readonly TopicMapping[], reserved: readonly string[], add: AddFault): void {
  topics.forEach(({ name, format, shape, type = 'track', event, fields = {} }, index) => {
    const at = ['topics', index];
    if (reserved.includes(name)) add([...at, 'name'], `"${name}" is a topic of millrace's own, which is read without a mapping`);
    if (name === '.' || name === '..') add([...at, 'name'], `"${name}" is no name that Kafka allows`);
    if (topics.findIndex(topic => topic.name === name) < index) add([...at, 'name'], `"${name}" is there twice`);
    for (const [field, source] of Object.entries(fields)) {
      if (/^header:\s*$/.test(source)) add([...at, 'fields', field], 'names no header: header:<name>');
      else if (!source.startsWith('header:') && source.split('.').includes('')) add([...at, 'fields', field], `"${source}" is not a dotted path`);
    }
    if (shape === 'segment') {
      if (format === 'avro') add([...at, 'shape'], 'is for JSON: a topic of format avro is mapped by fields');
      for (const given of ['type', 'event', 'fields'] as const) {
        if (topics[index]?.[given] !== undefined) add([...at, given], `cannot stand beside shape: segment, whose events say it themselves`);
      }
      return;
    }
    if (type === 'track') {
      if (event === undefined && fields.event === undefined) add(at, 'needs event (a fixed name), fields.event (where the name stands) or shape: segment');
      if (event !== undefined && fields.event !== undefined) add([...at, 'event'], 'and fields.event cannot both name the events');
    } else if (event !== undefined || fields.event !== undefined) {
      add([...at, event !== undefined ? 'event' : 'fields'], `names track events, and the topic's type is ${type}`);
    }
    if (type === 'group' && fields.groupId === undefined) add(at, 'of type group needs fields.groupId');
  });
}

function addSchemaFault(error: ErrorObject, add: AddFault): void {
  const path = error.instancePath.split('/').slice(1).map(token => {
    const name = token.replaceAll('~1', '/').replaceAll('~0', '~');
    return /^\d+$/.test(name) ? Number(name) : name;
  });
  const params = error.params as Record<string, unknown>;
  const given = JSON.stringify(error.data)?.slice(0, 80) ?? '';
  switch (error.keyword) {
    case 'additionalProperties': {
      const key = String(params['additionalProperty']);
      if (path.length === 0 && later.has(key)) {
        add([key], 'is not supported yet', true);
        return;
      }
      const known = Object.keys((error.parentSchema as { properties?: object } | undefined)?.properties ?? {});
      const near = known.map(name => ({ name, steps: distance(name.toLowerCase(), key.toLowerCase()) })).sort((a, b) => a.steps - b.steps)[0];
      const hint = near !== undefined && near.steps <= Math.max(2, Math.floor(key.length / 3)) ? `did you mean ${near.name}?` : `known are ${known.join(', ')}`;
      add([...path, key], `is not known: ${hint}`, true);
      return;
    }
    case 'required':
      add(path, `has no ${String(params['missingProperty'])}`);
      return;
    case 'type':
      add(path, `is ${given}, not ${[params['type']].flat().join(' or ')}${[params['type']].flat().includes('string') && /^[\d.tf]/.test(given) ? ' (put it in quotes)' : ''}`);
      return;
    case 'enum':
      add(path, `is ${given}, none of ${(params['allowedValues'] as unknown[]).join(', ')}`);
      return;
    default:
      add(path, `is ${given}: it ${error.message ?? 'is wrong'}`);
  }
}

/** `topics[0].fields.userId` */
function placeText(path: Path): string {
  return path.map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? part : `.${part}`)).join('');
}

/** Where the value (or the key) of a path begins in the text. */
function offsetOf(document: Document, path: Path, atKey: boolean): number | undefined {
  let node: unknown = document.contents;
  let offset: number | undefined = isNode(node) ? node.range?.[0] : undefined;
  path.forEach((part, index) => {
    if (isSeq(node)) node = node.items[Number(part)];
    else if (isMap(node)) {
      const pair = node.items.find(item => isPair(item) && isScalar(item.key) && String(item.key.value) === String(part));
      if (pair !== undefined && isNode(pair.key)) offset = pair.key.range?.[0] ?? offset;
      node = atKey && index === path.length - 1 ? null : pair?.value;
    } else node = null;
    if (isScalar(node)) offset = node.range?.[0] ?? offset;
    else if (isNode(node) && typeof part === 'number') offset = node.range?.[0] ?? offset;
  });
  return offset;
}

/** Levenshtein's: how many letters differ. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_none, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length] ?? 0;
}
