import { SchemaRegistry, SchemaType, COMPATIBILITY } from '@kafkajs/confluent-schema-registry';
import { MillraceError, asError } from '../errors.ts';

export interface RegistryOptions {
  /** Base of the Confluent API, without a trailing slash. */
  url: string;
  auth?: { username: string; password: string };
  timeoutMs: number;
}

export type WriterSchema = { ok: true; avroText: string } | { ok: false; code: 'schema_unknown' | 'schema_mismatch'; detail: string };

export interface Registry {
  /**
   * Registers an Avro schema under a subject with BACKWARD compatibility, idempotently, and returns its id.
   * Throws `registry_refused` (an incompatible change) or `registry_unavailable`.
   */
  register(subject: string, schemaText: string): Promise<number>;
  /** The schema of an id. Unknown ids and schemas that are not Avro are results; throws `registry_unavailable`. */
  writerSchema(id: number): Promise<WriterSchema>;
}

/** Not authorised, incompatible, not a schema. (The client answers 400 where it could not connect.) */
const refusals = new Set([401, 403, 409, 422]);

/** A Confluent schema registry (Apicurio's, Redpanda's or Confluent's own), through its client. */
export function createRegistry({ url, auth, timeoutMs }: RegistryOptions): Registry {
  const client = new SchemaRegistry({ host: url, ...(auth && { auth }), retry: { retries: 0 }, clientId: 'millrace' });
  const schemas = new Map<number, WriterSchema>();

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
  const unavailable = (cause: unknown): MillraceError =>
    new MillraceError('registry_unavailable', `the schema registry at ${url} does not answer: ${asError(cause).message}`, { cause });

  return {
    async register(subject, schemaText) {
      try {
        const { id } = await within(client.register({ type: SchemaType.AVRO, schema: schemaText }, { subject, compatibility: COMPATIBILITY.BACKWARD }));
        return id;
      } catch (error) {
        const refused = asError(error).name === 'ConfluentSchemaRegistryCompatibilityError' || refusals.has(statusOf(error) ?? 0);
        if (!refused) throw unavailable(error);
        throw new MillraceError('registry_refused', `the schema registry refused the schema of ${subject}: ${asError(error).message}`, {
          cause: error,
          hint: 'Schemas may only change so that the newer one reads what the older one wrote.',
        });
      }
    },
    async writerSchema(id) {
      const known = schemas.get(id);
      if (known !== undefined) return known;
      let found: WriterSchema;
      try {
        const schema: unknown = await within(client.getSchema(id));
        found = isAvroType(schema)
          ? { ok: true, avroText: JSON.stringify(schema.schema({ exportAttrs: true })) }
          : { ok: false, code: 'schema_mismatch', detail: `schema ${id} is not an Avro schema` };
      } catch (error) {
        if (statusOf(error) !== 404) throw unavailable(error);
        // Not remembered: the id may be registered a moment from now.
        return { ok: false, code: 'schema_unknown', detail: `the registry does not know schema id ${id}` };
      }
      schemas.set(id, found);
      return found;
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

function isAvroType(schema: unknown): schema is { schema(options: { exportAttrs: boolean }): unknown } {
  return typeof schema === 'object' && schema !== null && 'schema' in schema && typeof schema.schema === 'function' && 'fromBuffer' in schema && !('message' in schema);
}
