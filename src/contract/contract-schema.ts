import { Ajv, str } from 'ajv';
import type { AnySchemaObject, CodeKeywordDefinition, Options, ValidateFunction } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import ajvFormats from 'ajv-formats';
import { elementSpans, memberSpans, pointerToken } from '../event/json-text.ts';
import type { Span } from '../event/json-text.ts';
import { isMultiple } from './decimal.ts';
import { createPattern } from './linear-pattern.ts';
import type { LinearPattern } from './linear-pattern.ts';

/*
 * A contract's JSON Schema: draft 2020-12, or draft-07, as its `$schema` says (without one: 2020-12). It stands alone: nothing is
 * fetched, and `$ref` leads to places in the same file only. What it says is checked as it stands: no defaults, no coercion.
 *
 * Whoever sends events must not be able to choose how long the check takes, so where Ajv would take more than linear time
 * something else does its work: patterns (linear-pattern.ts), and `uniqueItems`; and no long text has a format (maxFormatted).
 */

export interface SchemaFault {
  /** Of the schema's text, from 1. */
  line: number;
  /** JSON pointer into the schema, where that is known, and what is wrong. */
  message: string;
}

/** Of draft-07 and 2020-12, with and without a fragment. */
const drafts = { '2020-12': /^https?:\/\/json-schema\.org\/draft\/2020-12\/schema#?$/, '07': /^https?:\/\/json-schema\.org\/draft-07\/schema#?$/ };

/** Keywords and formats that are not known are faults: a schema with a slip of the pen would let everything pass. */
const options: Options = { strict: false, strictSchema: true, allowMatchingProperties: true, ownProperties: true, logger: false, meta: false, validateSchema: false };

/** Compiles a sound schema. `allErrors`: all that is wrong with a value, else the first. Throws Ajv's faults. */
export function compileContractSchema(text: string, allErrors: boolean): ValidateFunction {
  const schema = JSON.parse(text) as AnySchemaObject;
  const noted: string[] = [];
  const ajv = ajvFor(schema, allErrors, noted);
  for (const keyword of extensionsIn(text)) ajv.addKeyword(keyword);
  const validate = ajv.compile(schema);
  if (noted[0] !== undefined) throw new Error(noted[0]);
  return validate;
}

/** What is wrong with a schema's text, all of it where that can be told; none: it compiles. */
export function faultsOfContractSchema(text: string): SchemaFault[] {
  let schema: unknown;
  try {
    schema = JSON.parse(text);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const position = /at position (\d+)/.exec(message)?.[1];
    return [{ line: lineAt(text, position === undefined ? text.length : Number(position)), message: `is no JSON: ${message}` }];
  }
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) return [{ line: 1, message: 'is no JSON object' }];
  const fields = schema as AnySchemaObject;
  const at = (pointer: string, what: string): SchemaFault => ({ line: lineAt(text, offsetOf(text, pointer)), message: `${pointer === '' ? '' : `${pointer} `}${what}` });
  const named = (word: string, what: string): SchemaFault => ({ line: lineAt(text, Math.max(0, text.indexOf(JSON.stringify(word)))), message: what });
  const said: unknown = fields['$schema'];
  if (said !== undefined && !Object.values(drafts).some(draft => typeof said === 'string' && draft.test(said))) return [at('/$schema', `is ${JSON.stringify(said).slice(0, 100)}: a contract is JSON Schema 2020-12 or draft-07`)];
  // Such a schema answers with a promise.
  if (Object.hasOwn(fields, '$async')) return [at('/$async', 'is not supported')];

  const meta = metaSchemaOf(fields);
  const { $schema: _said, ...rest } = fields;
  if (meta.validateSchema(rest) !== true) {
    const errors = (meta.errors ?? []).filter(({ keyword }) => keyword !== 'anyOf' && keyword !== 'allOf');
    const faults = errors.map(({ instancePath, message, params }) => at(instancePath, `${message ?? 'is wrong'}${'allowedValues' in params ? `: ${(params['allowedValues'] as unknown[]).join(', ')}` : ''}`));
    return faults.filter(({ line, message }, index) => faults.findIndex(other => other.line === line && other.message === message) === index).sort((a, b) => a.line - b.line);
  }

  const faults: SchemaFault[] = [];
  const noted: string[] = [];
  const known: ((ajv: Ajv) => void)[] = [];
  for (;;) {
    noted.length = 0;
    const ajv = ajvFor(fields, false, noted);
    for (const keyword of extensionsIn(text)) ajv.addKeyword(keyword);
    for (const add of known) add(ajv);
    try {
      const validate = ajv.compile(fields);
      // Which every event would find out.
      void validate({});
      break;
    } catch (error) {
      const message = error instanceof RangeError ? 'leads into itself without end' : error instanceof Error ? error.message : String(error);
      const keyword = /unknown keyword: "(.*)"$/.exec(message)?.[1];
      const [, format, path] = /unknown format "(.*)" ignored in schema at path "#?(.*)"$/.exec(message) ?? [];
      const reference = /can't resolve reference (\S+)/.exec(message)?.[1];
      if (keyword !== undefined && /^[a-z_$][\w$:-]*$/i.test(keyword) && known.length < 100) {
        faults.push(named(keyword, `"${keyword}" is no keyword of JSON Schema (a note of your own begins with x-)`));
        known.push(more => more.addKeyword(keyword));
      } else if (format !== undefined && known.length < 100) {
        faults.push(at(path ?? '', `has the format "${format}", which is not known`));
        known.push(more => more.addFormat(format, true));
      } else {
        faults.push(reference === undefined ? { line: 1, message: message.replace(/^strict mode: /, '') } : named(reference, `$ref ${JSON.stringify(reference)} leads nowhere: a contract's schema stands alone, and nothing is fetched`));
        break;
      }
    }
  }
  for (const note of new Set(noted)) {
    const [pattern, what] = JSON.parse(note) as [string, string];
    faults.push(named(pattern, what));
  }
  return faults.sort((a, b) => a.line - b.line);
}

/** Made when they are first needed: each takes 15 ms. */
const metaSchemas = new Map<boolean, Ajv>();

/** What says whether a schema is one of its draft. */
function metaSchemaOf(schema: AnySchemaObject): Ajv {
  const old = isDraft07(schema);
  const settings: Options = { allErrors: true, strict: false, validateFormats: false, logger: false };
  const meta: Ajv = metaSchemas.get(old) ?? (old ? new Ajv(settings) : new Ajv2020(settings));
  metaSchemas.set(old, meta);
  return meta;
}

/** `noted` takes patterns that cannot be used, as `[pattern, what is wrong]` in JSON. */
function ajvFor(schema: AnySchemaObject, allErrors: boolean, noted: string[]): Ajv {
  const regExp = (pattern: string): LinearPattern => {
    const made = createPattern(pattern);
    if (!('fault' in made)) return made;
    noted.push(JSON.stringify([pattern, `the pattern ${JSON.stringify(pattern)} cannot be used: ${made.fault}`]));
    return { test: () => true, toString: () => pattern };
  };
  // Only for code that is written to a file, which ours is not.
  regExp.code = 'pattern';
  const settings: Options = { ...options, allErrors, code: { regExp } };
  const ajv: Ajv = isDraft07(schema) ? new Ajv(settings) : new Ajv2020(settings);
  ajvFormats.default(ajv);
  boundFormats(ajv);
  ajv.removeKeyword('uniqueItems');
  ajv.addKeyword({
    keyword: 'uniqueItems', type: 'array', schemaType: 'boolean',
    error: { message: 'must NOT have the same item twice' },
    compile: (unique: boolean) => (items: readonly unknown[]) => !unique || new Set(items.map(spelling)).size === items.length,
  });
  ajv.removeKeyword('multipleOf');
  ajv.addKeyword({
    keyword: 'multipleOf', type: 'number', schemaType: 'number',
    error: { message: ({ schema }) => str`must be multiple of ${schema as number}` },
    compile: (of: number) => (value: number) => isMultiple(value, of),
  });
  for (const choice of ['anyOf', 'oneOf']) forgetBranches(ajv, choice);
  return ajv;
}

/** What is wrong with each branch of a choice says less than that none fits, and is not kept: it may be thousands of faults. */
function forgetBranches(ajv: Ajv, choice: string): void {
  const own = ajv.getKeyword(choice) as CodeKeywordDefinition & { keyword: string };
  ajv.removeKeyword(choice);
  ajv.addKeyword({
    ...own,
    code(cxt, ruleType) {
      const tell = cxt.error.bind(cxt);
      cxt.error = (...of) => {
        cxt.reset();
        tell(...of);
      };
      own.code(cxt, ruleType);
    },
  });
}

/** UTF-16 units. Ajv's pattern for `url` takes seconds for 100,000. */
const maxFormatted = 2_048;
/** They are about any text, and quick. */
const unbounded = new Set(['byte', 'binary', 'password']);

function boundFormats(ajv: Ajv): void {
  for (const [name, format] of Object.entries(ajv.formats)) {
    if (format === undefined || format === true || unbounded.has(name)) continue;
    const check = typeof format === 'object' && 'validate' in format ? format.validate : format;
    // Formats of numbers.
    if (typeof format === 'object' && 'type' in format && format.type === 'number') continue;
    const fits = check instanceof RegExp ? (text: string) => check.test(text) : (check as (text: string) => boolean);
    ajv.addFormat(name, { validate: (text: string) => text.length <= maxFormatted && fits(text) });
  }
}

function isDraft07(schema: AnySchemaObject): boolean {
  return drafts['07'].test(String(schema['$schema'] ?? ''));
}

/** One text for all values that JSON Schema calls equal. */
function spelling(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(spelling).join()}]`;
  const members = value as Record<string, unknown>;
  return `{${Object.keys(members).sort().map(name => `${JSON.stringify(name)}:${spelling(members[name])}`).join()}}`;
}

/** Keywords that begin with x-, wherever they stand. */
function extensionsIn(text: string): Set<string> {
  return new Set([...text.matchAll(/"(x-[\w$:-]*)"\s*:/g)].map(([, name]) => name ?? ''));
}

function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length;
}

/** Where a pointer's value stands in a JSON text; as far as it leads. */
function offsetOf(text: string, pointer: string): number {
  let start = text.length - text.trimStart().length;
  for (const token of pointer.split('/').slice(1)) {
    let spans: ReadonlyMap<string, Span>;
    if (text[start] === '{') spans = new Map([...memberSpans(text, start)].map(([name, span]) => [pointerToken(name), span]));
    else if (text[start] === '[') spans = new Map(elementSpans(text, start).map((span, index) => [String(index), span]));
    else break;
    const span = spans.get(token) ?? spans.get(decodeURIComponent(token));
    if (span === undefined) break;
    start = span[0];
  }
  return start;
}
