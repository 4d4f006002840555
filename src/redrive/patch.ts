import { isUtf8 } from 'node:buffer';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MillraceError, asError } from '../errors.ts';
import type { RecordHeader } from '../event/dead-letter.ts';

type HeaderText = string | Buffer | null;

/** A letter as a patch gets it, and gives it back: changed in `payload`, else `text`, else `json`; and in `key` and `headers`. */
export interface PatchLetter {
  id: string;
  tenant: string;
  code: string;
  detail: string;
  payload: unknown;
  /** The payload where it is UTF-8, else null. */
  text: string | null;
  /** The payload where it is JSON. */
  json: unknown;
  key: unknown;
  /** Text where it is UTF-8, else bytes; a list where the header repeats. */
  headers: Record<string, unknown>;
  /** Where it will be published. */
  topic: string;
  messageId: string | null;
}

/** The default export of a patch module. Null skips the letter. */
export type Patch = (letter: PatchLetter) => unknown;

export interface Draft {
  payload: Buffer;
  key: Buffer | null;
  headers: readonly RecordHeader[];
}

export type Patched = { kind: 'publish'; draft: Draft } | { kind: 'skip' } | { kind: 'failed'; reason: string };

/** Loads `file`, relative to `folder`. Throws `config_invalid` where it is no module with a default function. */
export async function loadPatch(file: string, folder: string): Promise<Patch> {
  let module: { default?: unknown };
  try {
    module = (await import(pathToFileURL(resolve(folder, file)).href)) as { default?: unknown };
  } catch (thrown) {
    throw new MillraceError('config_invalid', `--patch ${file} cannot be loaded: ${asError(thrown).message.split('\n')[0] ?? ''}`, { cause: thrown });
  }
  if (typeof module.default !== 'function') throw new MillraceError('config_invalid', `--patch ${file} has no function as its default export`);
  return module.default as Patch;
}

/** What a patch makes of a letter. Whatever it throws or answers is a result. */
export async function applyPatch(patch: Patch, about: Pick<PatchLetter, 'id' | 'tenant' | 'code' | 'detail' | 'topic' | 'messageId'>, draft: Draft): Promise<Patched> {
  const text = isUtf8(draft.payload) ? draft.payload.toString('utf8') : null;
  const json = parsed(text);
  const jsonBefore = JSON.stringify(json);
  // Only what JSON.parse has read can have lost digits.
  const readText = json === undefined ? null : text;
  const bytes = Buffer.from(draft.payload);
  try {
    const answer = await patch({ ...about, payload: bytes, text, json, key: textOr(draft.key), headers: headersOf(draft.headers) });
    if (answer === null) return { kind: 'skip' };
    if (typeof answer !== 'object') return { kind: 'failed', reason: `the patch answered ${typeof answer}: it returns the letter, or null to skip it` };
    const changed = answer as Partial<PatchLetter>;
    let payload = draft.payload;
    if (changed.payload !== undefined && changed.payload !== bytes) payload = bytesOf(changed.payload, readText);
    else if (!bytes.equals(draft.payload)) payload = bytes;
    else if (typeof changed.text === 'string' && changed.text !== text) payload = Buffer.from(changed.text);
    else if (changed.json !== undefined && JSON.stringify(changed.json) !== jsonBefore) payload = bytesOf(changed.json, readText);
    return {
      kind: 'publish',
      draft: {
        payload,
        key: changed.key === undefined ? draft.key : valueOf('key', changed.key),
        headers: changed.headers === undefined ? draft.headers : headerList(changed.headers),
      },
    };
  } catch (thrown) {
    return { kind: 'failed', reason: `the patch: ${asError(thrown).message}` };
  }
}

function parsed(text: string | null): unknown {
  if (text === null) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function bytesOf(payload: unknown, textBefore: string | null): Buffer {
  if (typeof payload === 'string') return Buffer.from(payload);
  if (payload instanceof Uint8Array) return Buffer.from(payload);
  if (typeof payload !== 'object' || payload === null) throw new TypeError(`payload is ${payload === null ? 'null' : typeof payload}, not bytes, text or an object`);
  const number = unkeepableNumber(textBefore ?? '');
  if (number !== null) throw new TypeError(`the letter has the number ${number}, which a JSON object here would change; patch its text`);
  return Buffer.from(JSON.stringify(payload));
}

/** The first number of a JSON text whose digits JSON.parse does not keep. */
function unkeepableNumber(text: string): string | null {
  const withoutStrings = text.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""');
  for (const [number] of withoutStrings.matchAll(/-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g)) {
    const digits = (number.split(/[eE]/)[0] ?? '').replaceAll(/^-?0*\.?0*|\./g, '');
    if (digits.length > 15 || !Number.isFinite(Number(number))) return number;
  }
  return null;
}

function textOr(bytes: Buffer | null): HeaderText {
  return bytes !== null && isUtf8(bytes) ? bytes.toString('utf8') : bytes;
}

function headersOf(list: readonly RecordHeader[]): Record<string, unknown> {
  const values = new Map<string, HeaderText[]>();
  for (const [name, value] of list) values.set(name, [...(values.get(name) ?? []), textOr(value)]);
  return Object.fromEntries([...values].map(([name, all]) => [name, all.length === 1 ? all[0] : all]));
}

function headerList(headers: unknown): RecordHeader[] {
  if (typeof headers !== 'object' || headers === null) throw new TypeError('headers is not an object');
  return Object.entries(headers).flatMap(([name, values]) =>
    values === undefined ? [] : (Array.isArray(values) ? (values as unknown[]) : [values as unknown]).map((value): RecordHeader => [name, valueOf(`header ${name}`, value)]),
  );
}

function valueOf(what: string, value: unknown): Buffer | null {
  if (value === null) return null;
  if (typeof value === 'string') return Buffer.from(value);
  if (value instanceof Uint8Array) return Buffer.from(value);
  throw new TypeError(`${what} is ${typeof value}, not text, bytes or null`);
}
