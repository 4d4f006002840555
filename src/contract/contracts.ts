import { hash } from 'node:crypto';
import type { ValidateFunction } from 'ajv';
import { asError } from '../errors.ts';
import { contractName } from '../event/canonical.ts';
import type { CanonicalEvent, EventType, Judgement, ParsedObjects, Violation, ViolationAction } from '../event/canonical.ts';
import { compileContractSchema } from './contract-schema.ts';
import { violationsOf } from './violations.ts';

/** One of `contracts`; schemas/config/millrace.v1.schema.json says the same of a file. */
export interface ContractEntry {
  tenant: string;
  type: Exclude<EventType, 'alias'>;
  /** A name, or `*` for all that have no contract of their own; left out: `*`. */
  event?: string;
  /** Given wherever a schema is. */
  version?: number;
  /** The file's text; left out: events without a contract are what is wrong. */
  schema?: string;
  onViolation: ViolationAction;
}

/** Contracts as they were at one moment. */
export interface Contracts {
  /** A digest of what they say; empty where there are none. */
  rules: string;
  /** Null where no contract is for the event. `parsed` saves parsing its texts once more. Never throws. */
  judge: (event: CanonicalEvent, parsed?: ParsedObjects) => Judgement | null;
}

/** Contracts that may change while the process runs. */
export interface LiveContracts {
  current(): Contracts;
  /** Those of a digest, while they are remembered; else the current ones. */
  of(rules: string | undefined): Contracts;
  replace(entries: readonly ContractEntry[]): void;
}

/** A batch is judged by the contracts that it was planned under, also where they change meanwhile. */
const maxRemembered = 8;

export function createLiveContracts(entries: readonly ContractEntry[]): LiveContracts {
  let current = createContracts(entries);
  let remembered: Contracts[] = [current];
  return {
    current: () => current,
    of: rules => remembered.find(contracts => contracts.rules === rules) ?? current,
    replace(next) {
      if (rulesOf(next) === current.rules) return;
      current = createContracts(next);
      remembered = [current, ...remembered.filter(({ rules }) => rules !== current.rules)].slice(0, maxRemembered);
    },
  };
}

function rulesOf(entries: readonly ContractEntry[]): string {
  return entries.length === 0 ? '' : hash('sha256', JSON.stringify(entries), 'hex').slice(0, 16);
}

interface Contract {
  version: number;
  judge: (event: CanonicalEvent, parsed: ParsedObjects | undefined) => Judgement;
}

interface OfType {
  named: Map<string, Contract>;
  rest: Contract | null;
}

/** Compiles the schemas, which must be sound (contract-schema.ts says what is wrong with one). */
export function createContracts(entries: readonly ContractEntry[]): Contracts {
  const tenants = new Map<string, Map<EventType, OfType>>();
  for (const entry of entries) {
    const types = tenants.get(entry.tenant) ?? new Map<EventType, OfType>();
    tenants.set(entry.tenant, types);
    const ofType = types.get(entry.type) ?? { named: new Map<string, Contract>(), rest: null };
    types.set(entry.type, ofType);
    const contract = createContract(entry);
    if (entry.event === undefined || entry.event === '*') ofType.rest = contract;
    else ofType.named.set(entry.event, contract);
  }
  return {
    rules: rulesOf(entries),
    judge(event, parsed) {
      const ofType = tenants.get(event.tenant)?.get(event.type);
      if (ofType === undefined) return null;
      return (ofType.named.get(contractName(event)) ?? ofType.rest)?.judge(event, parsed) ?? null;
    },
  };
}

function createContract({ type, version = 0, schema, onViolation }: ContractEntry): Contract {
  const refuse = (violations: readonly Violation[]): Judgement => ({ version, action: onViolation, violations });
  if (schema === undefined) return { version, judge: event => refuse([unplanned(event)]) };
  const fits = compileContractSchema(schema, false);
  // Few contracts are ever broken.
  let explain: ValidateFunction | null = null;
  const sound: Judgement = { version, action: 'flag', violations: [] };
  const member = type === 'identify' || type === 'group' ? 'traits' : 'properties';
  return {
    version,
    judge(event, parsed) {
      const text = event[member];
      try {
        const value: unknown = text === null ? {} : (parsed?.[member] ?? JSON.parse(text));
        if (fits(value)) return sound;
        const first = fits.errors ?? [];
        if ((text?.length ?? 0) > maxExplained) return refuse([...violationsOf(first, `/${member}`), { kind: 'other', pointer: `/${member}`, message: `is over ${maxExplained} characters: only the first violation is named` }]);
        explain ??= compileContractSchema(schema, true);
        explain(value);
        return refuse(violationsOf(explain.errors ?? first, `/${member}`));
      } catch (thrown) {
        // A schema that goes down into itself, and a value deeper than the stack.
        return refuse([{ kind: 'other', pointer: `/${member}`, message: `cannot be checked: ${asError(thrown).message}` }]);
      }
    },
  };
}

/** Looking for all violations may take a time that grows with the square of the text. */
const maxExplained = 16_384;

const namePointers: Readonly<Record<string, string>> = { track: '/event', page: '/name', screen: '/name' };

function unplanned(event: CanonicalEvent): Violation {
  const name = contractName(event);
  return { kind: 'unplanned_event', pointer: namePointers[event.type] ?? '/type', message: `no contract is for ${event.type}${name === '' ? '' : ` ${JSON.stringify(name.slice(0, 100))}`}` };
}
