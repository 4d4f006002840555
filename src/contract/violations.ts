import type { ErrorObject } from 'ajv';
import type { Violation, ViolationKind } from '../event/canonical.ts';
import { pointerToken } from '../event/json-text.ts';

/** Of one event. More are counted by the last one. */
export const maxViolations = 100;
/** UTF-16 units of one text, and of all texts of an event together: they travel in a record's header. */
const maxPointer = 512;
const maxMessage = 300;
const maxTexts = 32_768;

const kinds: Readonly<Record<string, ViolationKind>> = {
  required: 'required_missing', dependentRequired: 'required_missing', dependencies: 'required_missing',
  type: 'type_mismatch',
  additionalProperties: 'additional_property', unevaluatedProperties: 'additional_property',
};

/** Ajv's errors, with pointers into the event: `root` is where the value stands in it. */
export function violationsOf(errors: readonly ErrorObject[], root: string): Violation[] {
  // What is wrong after an `if` says more than the `if`.
  const told = errors.filter(({ keyword }) => keyword !== 'if');
  // Thousands more are only counted: each text may be as long as its contract.
  return boundedViolations(told.slice(0, maxViolations).map(error => violationOf(error, root)), told.length);
}

/** At most as many, and as long, as a record can carry; `count` is how many there are. */
export function boundedViolations(all: readonly Violation[], count = all.length): Violation[] {
  const kept: Violation[] = [];
  let texts = 0;
  for (const { kind, pointer, message } of all) {
    const short = { kind, pointer: cut(pointer, maxPointer), message: cut(message, maxMessage) };
    texts += short.pointer.length + short.message.length;
    if (kept.length === maxViolations - 1 && count > maxViolations || texts > maxTexts) {
      kept.push({ kind: 'other', pointer: '', message: `and ${count - kept.length} more violations` });
      break;
    }
    kept.push(short);
  }
  return kept;
}

function violationOf({ keyword, instancePath, params, message }: ErrorObject, root: string): Violation {
  const said = params as Record<string, unknown>;
  const member = said['missingProperty'] ?? said['additionalProperty'] ?? said['unevaluatedProperty'];
  const name = typeof member === 'string' ? member : null;
  const pointer = `${root}${instancePath}${name === null ? '' : `/${pointerToken(name)}`}`;
  const kind = (keyword === 'dependencies' && name === null ? undefined : kinds[keyword]) ?? 'other';
  switch (keyword) {
    case 'required': return { kind, pointer, message: 'is required' };
    case 'additionalProperties': case 'unevaluatedProperties': return { kind, pointer, message: 'is not in the contract' };
    case 'false schema': return { kind, pointer, message: 'must not be there' };
    case 'enum': return { kind, pointer, message: `must be one of ${listOf(said['allowedValues'] as unknown[])}` };
    case 'const': return { kind, pointer, message: `must be ${JSON.stringify(said['allowedValue'])}` };
    case 'anyOf': case 'oneOf': return { kind, pointer, message: said['passingSchemas'] === null || keyword === 'anyOf' ? 'fits none of the forms that the contract allows' : 'fits several forms, of which the contract allows one' };
    default: return { kind, pointer, message: message ?? 'breaks the contract' };
  }
}

/** As much of it as a message holds. */
function listOf(values: readonly unknown[]): string {
  let text = '';
  for (const value of values) {
    if (text.length > maxMessage) break;
    text += `${text === '' ? '' : ', '}${JSON.stringify(value)}`;
  }
  return text;
}

/** Of whole characters: names in a direct producer's JSON may have half of one, which neither a header nor ClickHouse takes. */
function cut(text: string, length: number): string {
  return (text.length <= length ? text : `${text.slice(0, length)}…`).toWellFormed();
}
