import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { Exception } from './exception.ts';
import { readFrames, writeFrames } from './frames.ts';
import { unpackLz4Frames } from './lz4.ts';

/** Node has zstd from 22.15 and 23.8 on. */
const zstd = zlib as { zstdDecompressSync?: (bytes: Buffer, options: { maxOutputLength: number }) => Buffer };

const gzip = promisify(zlib.gzip);
const deflate = promisify(zlib.deflate);
const brotli = promisify<zlib.InputType, zlib.BrotliOptions, Buffer>(zlib.brotliCompress);
const gunzip = promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.gunzip);
const inflate = promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.inflate);
const unbrotli = promisify<zlib.InputType, zlib.BrotliOptions, Buffer>(zlib.brotliDecompress);

/**
 * A request body as the client meant it: without its content encoding and, with `decompress=1`, out of ClickHouse's
 * block framing. Throws `Exception` 779 for an encoding that isn't known here, 271 for bytes that aren't in it.
 */
export async function decodeBody(body: Buffer, encoding: string | undefined, framed: boolean, maxBytes: number): Promise<Buffer> {
  const plain = await decodeHttp(body, encoding?.trim().toLowerCase(), maxBytes);
  return framed ? await readFrames(plain, maxBytes) : plain;
}

async function decodeHttp(body: Buffer, encoding: string | undefined, maxBytes: number): Promise<Buffer> {
  const options = { maxOutputLength: maxBytes };
  try {
    switch (encoding) {
      case undefined:
      case '':
      case 'identity':
        return body;
      case 'gzip':
      case 'x-gzip':
        return await gunzip(body, options);
      case 'deflate':
        return await inflate(body, options);
      case 'br':
        return await unbrotli(body, options);
      case 'lz4':
        return unpackLz4Frames(body, maxBytes);
      case 'zstd': {
        const unzstd = zstd.zstdDecompressSync;
        if (unzstd !== undefined) return unzstd(body, options);
        break;
      }
      default:
        break;
    }
  } catch (error) {
    if (error instanceof Exception) throw error;
    throw new Exception(271, 'CANNOT_DECOMPRESS', `Cannot decompress the request body as ${encoding}: ${String(error)}.`);
  }
  throw new Exception(779, 'UNSUPPORTED_MEDIA_TYPE', `Content encoding ${encoding} is not known here; send gzip, deflate, br, lz4 or none.`);
}

/** The response as the client asked for it: framed for `compress=1`, else in the first known of its encodings. */
export async function encodeBody(
  body: Uint8Array,
  accept: string | undefined,
  framed: boolean,
): Promise<{ bytes: Uint8Array; encoding: string | undefined }> {
  if (framed) return { bytes: await writeFrames(body), encoding: undefined };
  for (const item of (accept ?? '').split(',')) {
    const name = item.split(';', 1)[0]?.trim().toLowerCase();
    if (name === 'gzip') return { bytes: await gzip(body, { level: 1 }), encoding: name };
    if (name === 'deflate') return { bytes: await deflate(body, { level: 1 }), encoding: name };
    if (name === 'br') {
      const params = { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 };
      return { bytes: await brotli(body, { params }), encoding: name };
    }
  }
  return { bytes: body, encoding: undefined };
}
