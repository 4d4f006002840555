import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { AddFault } from './config-file.ts';
import { faultsOfContractSchema } from './contract/contract-schema.ts';
import type { ContractEntry } from './contract/contracts.ts';
import { asError } from './errors.ts';

/** One of `contracts` as the file says it: `schema` is a path. */
export type ContractFileEntry = ContractEntry;

/** Largest schema, in characters. */
const maxSchema = 1_000_000;

/**
 * Checks `contracts`, and reads their schemas, whose paths are relative to `folder`. Faults of entries go to `add`, those within a
 * schema are answered, as `<path>:<line>: <what is wrong>`.
 */
export function readContracts(entries: readonly ContractFileEntry[], folder: string, add: AddFault, onFile: (path: string) => void): { contracts: ContractEntry[]; faults: string[] } {
  const faults: string[] = [];
  const texts = new Map<string, string>();
  const seen = new Map<string, number>();
  const contracts = entries.map((entry, index): ContractEntry => {
    const { tenant, type, event = '*', version, schema } = entry;
    const at = ['contracts', index];
    const key = JSON.stringify([tenant, type, event]);
    const before = seen.get(key);
    if (before !== undefined) add(at, `is for the same events as contracts[${before}]`);
    else seen.set(key, index);
    if (entry.event === undefined && type === 'track') add(at, 'needs event: a name, or "*" for all that have no contract of their own');
    if ((type === 'identify' || type === 'group') && event !== '*') add([...at, 'event'], `names track events, pages and screens: leave it out for ${type}`);
    if (schema === undefined && event !== '*') add(at, 'needs schema: the path of a JSON Schema');
    if (schema !== undefined && version === undefined) add(at, 'needs version: the number of its schema');
    if (schema === undefined) return entry;
    const path = resolve(folder, schema);
    onFile(path);
    let text = texts.get(path);
    if (text === undefined) {
      try {
        text = readFileSync(path, 'utf8').replace(/^\ufeff/, '');
      } catch (thrown) {
        add([...at, 'schema'], `"${schema}" cannot be read: ${asError(thrown).message}`);
        return entry;
      }
      if (text.length > maxSchema) faults.push(`${path}:1: is over ${maxSchema} characters`);
      else faults.push(...faultsOfContractSchema(text).map(({ line, message }) => `${path}:${line}: ${message} (contracts[${index}])`));
      texts.set(path, text);
    }
    return { ...entry, schema: text };
  });
  return { contracts, faults };
}
