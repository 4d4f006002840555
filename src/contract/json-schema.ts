import { Script, createContext } from 'node:vm';
import { Ajv } from 'ajv';
import type { AnySchema, Options, ValidateFunction } from 'ajv';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { WriterSchema } from './registry.ts';

type JsonSchema = Extract<WriterSchema, { kind: 'json' }>;

export interface JsonSchemas {
  /** What is wrong with a value by the schema that it names, or null. A schema that does not compile is what is wrong with its values. */
  faultOf(schema: JsonSchema, value: unknown): string | null;
}

/** Compiled once a schema, and kept as long as the registry's cache keeps the schema. */
export function createJsonSchemas(): JsonSchemas {
  const compiled = new WeakMap<JsonSchema, ValidateFunction | string>();
  return {
    faultOf(schema, value) {
      let validate = compiled.get(schema);
      if (validate === undefined) {
        validate = compile(schema);
        compiled.set(schema, validate);
      }
      if (typeof validate === 'string') return validate;
      const fits = patient.test(schema.text) ? withinTime(validate, value) : validate(value);
      if (fits === null) return 'its JSON Schema takes too long to check it';
      if (fits) return null;
      return (validate.errors ?? []).slice(0, 3).map(({ instancePath, message }) => `${instancePath === '' ? 'the value' : instancePath} ${message ?? 'does not fit'}`).join('; ');
    },
  };
}

/** What can take for ever on a value that is made for it: backtracking patterns, and comparing each element with each. */
const patient = /"(?:pattern|patternProperties|uniqueItems)"/;
const maxCheckMs = 500;

/** Null where it took too long: the engine stops in the middle, also of a pattern. Costs a thread for the clock, so only for schemas that need it. */
function withinTime(validate: ValidateFunction, value: unknown): boolean | null {
  try {
    return new Script('check()').runInContext(createContext({ check: () => validate(value) }), { timeout: maxCheckMs }) as boolean;
  } catch (error) {
    // An error of the other context is no Error of this one.
    if ((error as { code?: unknown } | null)?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return null;
    throw error;
  }
}

/** Nothing here may change a value: no defaults, no coercion, no removing. Formats are notes, as 2020-12 has it. */
const options: Options = { strict: false, validateFormats: false, ownProperties: true, logger: false };

function compile({ text, references }: JsonSchema): ValidateFunction | string {
  let fault = '';
  // Patterns are ECMA-262 with the u flag by the specification, and often are not in practice.
  for (const unicodeRegExp of [true, false]) {
    try {
      const schema = JSON.parse(text) as AnySchema;
      const ajv = ajvFor(schema, { ...options, unicodeRegExp });
      for (const reference of references) ajv.addSchema(JSON.parse(reference.text) as AnySchema, reference.name);
      return ajv.compile(schema);
    } catch (error) {
      fault = `its JSON Schema does not compile: ${error instanceof Error ? error.message : String(error)}`;
    }
  }
  return fault;
}

/** By `$schema`; older drafts are read as draft-07, which most of them are. */
function ajvFor(schema: AnySchema, settings: Options): Ajv {
  const draft = typeof schema === 'object' ? String(schema['$schema'] ?? '') : '';
  if (draft.includes('2020-12')) return new Ajv2020(settings);
  if (draft.includes('2019-09')) return new Ajv2019(settings);
  if (typeof schema === 'object' && /draft-0[346]/.test(draft)) delete schema['$schema'];
  return new Ajv(settings);
}
