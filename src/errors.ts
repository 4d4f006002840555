/**
 * Every code that millrace answers, logs or writes down, in one place.
 * docs/errors.md lists the same codes; test/errors.test.ts holds the two equal.
 */

interface Entry {
  /** HTTP status of the answer; null where the code never answers a request. */
  status: number | null;
  /** Whether the same thing, tried again later, may succeed. */
  retryable: boolean;
  meaning: string;
}

export const catalogue = {
  // What is wrong with a request as a whole.
  unauthorized: { status: 401, retryable: false, meaning: 'no write key came with the request, or it is unknown' },
  forbidden: { status: 403, retryable: false, meaning: 'the write key may not send events of this type' },
  origin_forbidden: { status: 403, retryable: false, meaning: 'the write key may not be used by pages of this origin' },
  rate_limited: { status: 429, retryable: true, meaning: 'the write key has sent more events than it may; Retry-After says when to go on' },
  not_found: { status: 404, retryable: false, meaning: 'no such path' },
  method_not_allowed: { status: 405, retryable: false, meaning: 'the path exists, with another method' },
  bad_request: { status: 400, retryable: false, meaning: 'the request is no HTTP, or its URL cannot be read' },
  request_timeout: { status: 408, retryable: true, meaning: 'the request did not arrive in time' },
  headers_too_large: { status: 431, retryable: false, meaning: 'the request headers are too large' },
  malformed_json: { status: 400, retryable: false, meaning: 'the body is not JSON, or not UTF-8' },
  not_an_object: { status: 400, retryable: false, meaning: 'the body, or an event in it, is not a JSON object' },
  unsupported_media_type: { status: 415, retryable: false, meaning: 'the content type is not JSON' },
  unsupported_encoding: { status: 415, retryable: false, meaning: 'the content encoding is none that this server knows' },
  body_too_large: { status: 413, retryable: false, meaning: 'the body is over 10 MiB after decompression' },
  batch_missing: { status: 400, retryable: false, meaning: 'a batch request has no array of events' },
  batch_too_large: { status: 400, retryable: false, meaning: 'a batch holds more events than the path allows' },
  idempotency_conflict: { status: 409, retryable: false, meaning: 'the idempotency key was used for an event of other content' },
  unavailable: { status: 503, retryable: true, meaning: 'Kafka did not acknowledge in time, or too much is waiting for it' },
  internal: { status: 500, retryable: true, meaning: 'a fault of millrace; the log has the details under the request id' },

  // What is wrong with one event.
  field_missing: { status: 400, retryable: false, meaning: 'a required field is absent' },
  field_invalid: { status: 400, retryable: false, meaning: 'a field has a wrong type, length or form' },
  field_unknown: { status: 400, retryable: false, meaning: 'the event has a field that its dialect does not have' },
  type_unknown: { status: 400, retryable: false, meaning: 'the event type is none of track, identify, page, screen, group, alias' },
  time_invalid: { status: 400, retryable: false, meaning: 'a time is not an RFC 3339 date-time with a zone, or not a real date' },
  time_out_of_range: { status: 400, retryable: false, meaning: 'a time is too far from now for its dialect' },
  event_too_large: { status: 400, retryable: false, meaning: 'an event is over 256 KiB' },
  too_deep: { status: 400, retryable: false, meaning: 'JSON is nested deeper than 64 levels' },
  string_invalid: { status: 400, retryable: false, meaning: 'a string holds half of a surrogate pair, which is no Unicode text' },
  key_forbidden: { status: 400, retryable: false, meaning: 'an object has a key named __proto__' },

  contract_violation: { status: 422, retryable: false, meaning: 'the event breaks its contract; the details say where' },

  // Why a record is a dead letter.
  tombstone: { status: null, retryable: false, meaning: 'the record has no value' },
  tenant_missing: { status: null, retryable: false, meaning: 'the record names no tenant, and no default tenant is configured' },
  tenant_invalid: { status: null, retryable: false, meaning: 'the record\'s tenant is too long, or holds a NUL' },
  unreadable: { status: null, retryable: false, meaning: 'the value is neither framed by a schema id nor a JSON object' },
  schema_unknown: { status: null, retryable: false, meaning: 'the registry does not know the schema id of the value' },
  row_refused: { status: null, retryable: false, meaning: 'ClickHouse refuses the event as a row, even without its JSON columns' },
  schema_mismatch: { status: null, retryable: false, meaning: 'the value cannot be read as an event by its schema' },

  // What the parts around millrace do.
  config_invalid: { status: null, retryable: false, meaning: 'the environment or the configuration has faults' },
  kafka_unavailable: { status: null, retryable: true, meaning: 'Kafka cannot be reached, or does not answer in time' },
  kafka_refused: { status: null, retryable: false, meaning: 'Kafka refused a record for good' },
  registry_unavailable: { status: null, retryable: true, meaning: 'the schema registry cannot be reached, or does not answer' },
  registry_refused: { status: null, retryable: false, meaning: 'the schema registry refused a schema, as an incompatible one for instance' },
  clickhouse_unavailable: { status: null, retryable: true, meaning: 'ClickHouse cannot be reached, is read-only, full or overloaded' },
  clickhouse_refused: { status: null, retryable: false, meaning: 'ClickHouse refused a statement' },
  migration_changed: { status: null, retryable: false, meaning: 'a migration that was applied has been edited since' },
  replay_kept: { status: null, retryable: false, meaning: 'the table that a replay is to keep has the name of one that is there' },
  ownership_lost: { status: null, retryable: true, meaning: 'a partition was taken over by another consumer in the middle of a batch' },
  worker_silent: { status: null, retryable: true, meaning: 'a process of the same door does not answer the others' },

  // Starting the embedded stack, and worker processes.
  java_missing: { status: null, retryable: false, meaning: 'no Java 17 or later was found' },
  maven_missing: { status: null, retryable: false, meaning: 'no Maven was found, and the jars are not there yet' },
  download_failed: { status: null, retryable: true, meaning: 'the jars of the embedded stack could not be fetched' },
  port_taken: { status: null, retryable: false, meaning: 'another program listens on a port that is needed' },
  data_locked: { status: null, retryable: false, meaning: 'another millrace uses the data folder' },
  data_unwritable: { status: null, retryable: false, meaning: 'the data folder cannot be written' },
  disk_full: { status: null, retryable: false, meaning: 'the disk of the data folder is full' },
  child_failed: { status: null, retryable: false, meaning: 'a part of the embedded stack, or a worker, stopped or did not become ready' },
} as const satisfies Record<string, Entry>;

export type ErrorCode = keyof typeof catalogue;

export interface MillraceErrorOptions {
  cause?: unknown;
  /** What a person can do about it, one sentence. */
  hint?: string;
}

/** A fault (not bad input, which is a value): a code of the catalogue, a message, a cause. */
export class MillraceError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: MillraceErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'MillraceError';
    this.code = code;
    this.hint = options.hint;
  }

  get retryable(): boolean {
    return catalogue[this.code].retryable;
  }
}

/** Any thrown thing as an Error, so that a log or a cause always has a stack. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
