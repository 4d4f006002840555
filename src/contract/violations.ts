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
  // What is wrong with each branch of a choice says less than that none fits; what is wrong after an `if` says more than the `if`.
  const choices = errors.filter(({ keyword }) => keyword === 'anyOf' || keyword === 'oneOf');
  const inChoice = (error: ErrorObject): boolean => choices.some(choice => choice !== error && error.schemaPath.startsWith(`${choice.schemaPath}/`));
  return boundedViolations(errors.filter(error => error.keyword !== 'if' && !inChoice(error)).map(error => violationOf(error, root)));
}

/** At most as many, and as long, as a record can carry. */
export function boundedViolations(all: readonly Violation[]): Violation[] {
  const kept: Violation[] = [];
  let texts = 0;
  for (const { kind, pointer, message } of all) {
    const short = { kind, pointer: cut(pointer, maxPointer), message: cut(message, maxMessage) };
    texts += short.pointer.length + short.message.length;
    if (kept.length === maxViolations - 1 && all.length > maxViolations || texts > maxTexts) {
      kept.push({ kind: 'other', pointer: '', message: `and ${all.length - kept.length} more violations` });
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
    case 'enum': return { kind, pointer, message: `must be one of ${(said['allowedValues'] as unknown[]).map(value => JSON.stringify(value)).join(', ')}` };
    case 'const': return { kind, pointer, message: `must be ${JSON.stringify(said['allowedValue'])}` };
    case 'anyOf': case 'oneOf': return { kind, pointer, message: said['passingSchemas'] === null || keyword === 'anyOf' ? 'fits none of the forms that the contract allows' : 'fits several forms, of which the contract allows one' };
    default: return { kind, pointer, message: message ?? 'breaks the contract' };
  }
}

/** Of whole characters: names in a direct producer's JSON may have half of one, which neither a header nor ClickHouse takes. */
function cut(text: string, length: number): string {
  return (text.length <= length ? text : `${text.slice(0, length)}…`).toWellFormed();
}
