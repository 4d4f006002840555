import { isUtf8 } from 'node:buffer';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate } from 'node:zlib';
import type { ErrorCode } from '../errors.ts';
import { isDeeperThan } from '../event/json-text.ts';

/** Largest body after decompression, in bytes. */
export const maxBodyBytes = 10 * 1024 * 1024;

/** No event may nest deeper than 64; a body that nests deeper than this is not even parsed. */
const maxBodyDepth = 512;

export type ReadBody = { ok: true; value: unknown; text: string } | { ok: false; code: ErrorCode; message: string };

const inflaters = {
  gzip: promisify(gunzip),
  'x-gzip': promisify(gunzip),
  deflate: promisify(inflate),
  br: promisify(brotliDecompress),
} as const;

/** A request's body as JSON: inflated within the limit, checked to be UTF-8, parsed, and its text. */
export async function readBody(body: Buffer, contentEncoding: string | undefined): Promise<ReadBody> {
  const encoding = contentEncoding?.trim().toLowerCase() ?? 'identity';
  let bytes = body;
  if (encoding !== 'identity' && encoding !== '') {
    if (!isInflater(encoding)) return { ok: false, code: 'unsupported_encoding', message: `content-encoding ${encoding} is none of gzip, deflate, br` };
    try {
      bytes = await inflaters[encoding](body, { maxOutputLength: maxBodyBytes });
    } catch (error) {
      if (error instanceof RangeError) return { ok: false, code: 'body_too_large', message: `the body is over ${maxBodyBytes} bytes when inflated` };
      return { ok: false, code: 'malformed_json', message: `the body is not valid ${encoding}` };
    }
  }
  if (!isUtf8(bytes)) return { ok: false, code: 'malformed_json', message: 'the body is not UTF-8' };
  // A byte order mark is no part of the JSON; neither is white space around it (RFC 8259's, not all of Unicode's).
  const text = bytes.toString('utf8').replace(/^\uFEFF/, '').replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '');
  if (isDeeperThan(text, maxBodyDepth)) return { ok: false, code: 'too_deep', message: `the body is nested deeper than ${maxBodyDepth} levels` };
  try {
    return { ok: true, value: JSON.parse(text) as unknown, text };
  } catch (error) {
    return { ok: false, code: 'malformed_json', message: error instanceof Error ? `the body is not JSON: ${error.message}` : 'the body is not JSON' };
  }
}

function isInflater(encoding: string): encoding is keyof typeof inflaters {
  return Object.hasOwn(inflaters, encoding);
}

/** Whether a content type says JSON: application/json, text/json or any +json. */
export function isJsonType(contentType: string | undefined): boolean {
  const type = contentType?.split(';')[0]?.trim().toLowerCase() ?? '';
  return type === 'application/json' || type === 'text/json' || type.endsWith('+json');
}
