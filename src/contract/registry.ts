import { SchemaRegistry, SchemaType, COMPATIBILITY } from '@kafkajs/confluent-schema-registry';
import { MillraceError, asError } from '../errors.ts';
import { inlineReferences } from './avro-references.ts';

export interface RegistryOptions {
  /** Base of the Confluent API, without a trailing slash. */
  url: string;
  auth?: { username: string; password: string };
  timeoutMs: number;
}

export type WriterSchema =
  /** Complete: what an Avro schema refers to stands in its text. */
  | { ok: true; kind: 'avro'; text: string }
  | { ok: true; kind: 'json'; text: string; references: { name: string; text: string }[] }
  | { ok: false; code: 'schema_unknown' | 'schema_mismatch'; detail: string };

export interface Registry {
  /**
   * Registers an Avro schema under a subject with BACKWARD compatibility, idempotently, and returns its id.
   * Throws `registry_refused` (an incompatible change) or `registry_unavailable`.
   */
  register(subject: string, schemaText: string): Promise<number>;
  /** The schema of an id, the same object each time. Unknown ids and kinds that can't be read are results; throws `registry_unavailable`. */
  writerSchema(id: number): Promise<WriterSchema>;
  /** Resolves when the registry answers; throws `registry_unavailable`. */
  ping(): Promise<void>;
}

/** Not authorised, incompatible, not a schema. (The client answers 400 where it could not connect.) */
const refusals = new Set([401, 403, 409, 422]);

/** Confluent's error codes: no such subject, version, schema. A 404 without one comes from something that is no registry. */
const notFound = new Set([40401, 40402, 40403]);

const registerAttempts = 5;
const maxId = 2 ** 31 - 1;
const maxSchemas = 1_000;
const maxReferences = 100;

interface Answer {
  schema: string;
  /** Left out for Avro. */
  schemaType?: string;
  references?: { name: string; subject: string; version: number }[];
}

/** A Confluent schema registry (Apicurio's, Redpanda's or Confluent's own): its client registers, its REST API is read. */
export function createRegistry({ url, auth, timeoutMs }: RegistryOptions): Registry {
  const client = new SchemaRegistry({ host: url, ...(auth && { auth }), retry: { retries: 0 }, clientId: 'millrace' });
  const schemas = new Map<number, WriterSchema>();
  const headers = {
    accept: 'application/vnd.schemaregistry.v1+json, application/json',
    ...(auth && { authorization: `Basic ${Buffer.from(`${auth.username}:${auth.password}`).toString('base64')}` }),
  };

  const within = async <T>(work: Promise<T>): Promise<T> => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    });
    try {
      return await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
    }
  };
  const unavailable = (cause: unknown): MillraceError => {
    const error = asError(cause);
    return new MillraceError('registry_unavailable', `the schema registry at ${url} does not answer: ${error.cause instanceof Error ? error.cause.message : error.message}`, { cause });
  };

  /** Null where the registry says that there is no such thing. Throws `registry_unavailable`. */
  const get = async (path: string): Promise<unknown> => {
    try {
      const response = await fetch(`${url}${path}`, { headers, signal: AbortSignal.timeout(timeoutMs) });
      const text = await response.text();
      if (response.ok) return JSON.parse(text) as unknown;
      const code = (text.startsWith('{') ? (JSON.parse(text) as { error_code?: unknown }) : {}).error_code;
      if (response.status === 404 && notFound.has(Number(code))) return null;
      throw new Error(`${path} is answered with ${response.status} ${text.slice(0, 200)}`);
    } catch (error) {
      throw unavailable(error);
    }
  };

  /** Something that answers with other JSON is no registry, or not yet one. */
  const schemaAnswer = (answer: unknown): Answer | null => {
    if (answer === null) return null;
    const { schema, references } = answer as Partial<Answer>;
    if (typeof schema === 'string' && (references === undefined || references === null || (Array.isArray(references) && references.every(each => typeof each === 'object' && each !== null)))) return answer as Answer;
    throw unavailable(new Error('it answers, and not as a schema registry does'));
  };

  /** What a schema refers to, deepest first. */
  const referencesOf = async (answer: Answer, found = new Map<string, string>()): Promise<Map<string, string>> => {
    for (const { name, subject, version } of answer.references ?? []) {
      if (found.has(name)) continue;
      if (found.size >= maxReferences) break;
      const referred = schemaAnswer(await get(`/subjects/${encodeURIComponent(subject)}/versions/${version}`));
      if (referred === null) continue;
      // First, so that a schema that refers to itself ends; and again, so that what it refers to comes before it.
      found.set(name, referred.schema);
      await referencesOf(referred, found);
      found.delete(name);
      found.set(name, referred.schema);
    }
    return found;
  };

  const read = async (id: number, answer: Answer): Promise<WriterSchema> => {
    const kind = answer.schemaType ?? 'AVRO';
    if (kind !== 'AVRO' && kind !== 'JSON') return { ok: false, code: 'schema_mismatch', detail: `schema ${id} is of type ${kind}, which is not supported: Avro and JSON Schema are` };
    const references = await referencesOf(answer);
    if (kind === 'JSON') return { ok: true, kind: 'json', text: answer.schema, references: [...references].map(([name, text]) => ({ name, text })) };
    return { ok: true, kind: 'avro', text: inlineReferences(answer.schema, references) };
  };

  /**
   * The client sets the compatibility only after the schema is there: whoever asks in between, or after a process that died in
   * between, finds none. Says whether that was so, and sets it.
   */
  const makeBackward = async (subject: string): Promise<boolean> => {
    const path = `/config/${encodeURIComponent(subject)}`;
    const config = (await get(path)) as { compatibilityLevel?: string } | null;
    if (config !== null && config.compatibilityLevel !== 'NONE') return false;
    try {
      // Refused where somebody else did the same in this moment; the next try tells.
      await fetch(`${url}${path}`, { method: 'PUT', headers: { ...headers, 'content-type': 'application/json' }, body: '{"compatibility":"BACKWARD"}', signal: AbortSignal.timeout(timeoutMs) });
    } catch (error) {
      throw unavailable(error);
    }
    return true;
  };

  return {
    async register(subject, schemaText) {
      for (let attempt = 1; ; attempt++) {
        try {
          const { id } = await within(client.register({ type: SchemaType.AVRO, schema: schemaText }, { subject, compatibility: COMPATIBILITY.BACKWARD }));
          return id;
        } catch (error) {
          const refused = asError(error).name === 'ConfluentSchemaRegistryCompatibilityError' || refusals.has(statusOf(error) ?? 0);
          if (!refused) throw unavailable(error);
          // Others may be registering the same for the first time: what they do in several steps is over in a moment.
          if (attempt < registerAttempts && ((await makeBackward(subject)) || attempt === 1)) {
            await new Promise(resolve => setTimeout(resolve, 100 * attempt));
            continue;
          }
          throw new MillraceError('registry_refused', `the schema registry refused the schema of ${subject}: ${asError(error).message}`, {
            cause: error,
            hint: 'Schemas may only change so that the newer one reads what the older one wrote.',
          });
        }
      }
    },
    async writerSchema(id) {
      const known = schemas.get(id);
      if (known !== undefined) return known;
      // Registries count in signed 32 bits, and answer other numbers as they like: bytes that are no frame must not look like an outage.
      const answer = id > maxId ? null : schemaAnswer(await get(`/schemas/ids/${id}`));
      // Not remembered: the id may be registered a moment from now.
      if (answer === null) return { ok: false, code: 'schema_unknown', detail: `the registry does not know schema id ${id}` };
      const found = await read(id, answer);
      if (schemas.size >= maxSchemas) schemas.delete(schemas.keys().next().value ?? id);
      schemas.set(id, found);
      return found;
    },
    async ping() {
      await get('/subjects');
    },
  };
}

/** The HTTP status inside what the client throws; null where no answer came. */
function statusOf(error: unknown): number | null {
  for (let at: unknown = error; typeof at === 'object' && at !== null; at = (at as { cause?: unknown }).cause) {
    const status = (at as { status?: unknown }).status;
    if (typeof status === 'number' && status >= 400) return status;
  }
  return null;
}
