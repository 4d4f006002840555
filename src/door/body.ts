import { isUtf8 } from 'node:buffer';
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import type { CompressCallback, InputType, ZlibOptions } from 'node:zlib';
import type { ErrorCode } from '../errors.ts';
import { maxDepth, nesting, smells } from '../event/json-text.ts';
import { trimJson } from '../event/trim.ts';
import { createGate } from './gate.ts';

/** Largest body after decompression, in bytes. */
export const maxBodyBytes = 10 * 1024 * 1024;

/** No event may nest deeper than 64; a body that nests deeper than this is not even parsed. */
const maxBodyDepth = 512;

export interface JsonBody {
  /** Parsed from `text`. */
  value: unknown;
  text: string;
  /** Nothing in it is too deep for an event, or may be what no event may have (faultOfEvent): so it is with most bodies. */
  plain: boolean;
}

export type ReadBody = ({ ok: true } & JsonBody) | { ok: false; code: ErrorCode; message: string };

export type BodyReader = (body: Buffer, contentEncoding: string | undefined) => ReadBody | Promise<ReadBody>;

type Inflate = (body: InputType, options: ZlibOptions, done: CompressCallback) => void;
/** With `info` zlib also says how much of the input it took; Node's types leave that out. */
const inflater = (inflate: Inflate) => promisify(inflate) as unknown as (body: Buffer, options: ZlibOptions & { info: true }) => Promise<{ buffer: Buffer; engine: { bytesWritten: number } }>;
const zstd = (zlib as { zstdDecompress?: Inflate }).zstdDecompress;

const inflaters: Readonly<Record<string, ReturnType<typeof inflater>>> = {
  gzip: inflater(zlib.gunzip),
  'x-gzip': inflater(zlib.gunzip),
  deflate: inflater(zlib.inflate),
  br: inflater(zlib.brotliDecompress),
  // Node 22.15 and later.
  ...(zstd !== undefined && { zstd: inflater(zstd) }),
};

/** So many bodies are inflated at once: each may grow from 10 kB to 10 MiB, and what came in is all that receive.ts has counted. */
const inflatedAtOnce = 4;

/**
 * Reads a request's body as JSON: inflated within the limit, checked to be UTF-8, parsed, and its text.
 * However many compressed ones come together, only a few are in memory at their full size.
 */
export function createBodyReader(): BodyReader {
  const gate = createGate(inflatedAtOnce);
  return (body, contentEncoding) => (contentEncoding === undefined ? parseBody(body) : gate(() => inflateBody(body, contentEncoding)));
}

async function inflateBody(body: Buffer, contentEncoding: string): Promise<ReadBody> {
  const encoding = contentEncoding.trim().toLowerCase();
  let bytes = body;
  if (encoding !== 'identity' && encoding !== '') {
    const inflate = Object.hasOwn(inflaters, encoding) ? inflaters[encoding] : undefined;
    if (inflate === undefined) return { ok: false, code: 'unsupported_encoding', message: `content-encoding ${encoding} is none of ${Object.keys(inflaters).filter(name => name !== 'x-gzip').join(', ')}` };
    try {
      const { buffer, engine } = await inflate(body, { maxOutputLength: maxBodyBytes, info: true });
      if (engine.bytesWritten !== body.length) return { ok: false, code: 'malformed_json', message: `${body.length - engine.bytesWritten} bytes are left over after the ${encoding} of the body` };
      bytes = buffer;
    } catch (error) {
      if (error instanceof RangeError) return { ok: false, code: 'body_too_large', message: `the body is over ${maxBodyBytes} bytes when inflated` };
      return { ok: false, code: 'malformed_json', message: `the body is not valid ${encoding}` };
    }
  }
  return parseBody(bytes);
}

function parseBody(bytes: Buffer): ReadBody {
  if (!isUtf8(bytes)) return { ok: false, code: 'malformed_json', message: 'the body is not UTF-8' };
  // A byte order mark is no part of the JSON; neither is white space around it (RFC 8259's, not all of Unicode's).
  const text = trimJson(bytes.toString('utf8').replace(/^\uFEFF/, ''));
  const depth = nesting(text, maxBodyDepth);
  if (depth > maxBodyDepth) return { ok: false, code: 'too_deep', message: `the body is nested deeper than ${maxBodyDepth} levels` };
  try {
    return { ok: true, value: JSON.parse(text) as unknown, text, plain: depth <= maxDepth && !smells(text) };
  } catch (error) {
    return { ok: false, code: 'malformed_json', message: error instanceof Error ? `the body is not JSON: ${error.message}` : 'the body is not JSON' };
  }
}

/** Whether a content type says JSON: application/json, text/json or any +json. */
export function isJsonType(contentType: string | undefined): boolean {
  const type = contentType?.split(';')[0]?.trim().toLowerCase() ?? '';
  return type === 'application/json' || type === 'text/json' || type.endsWith('+json');
}
