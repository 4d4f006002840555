import * as zlib from 'node:zlib';
import { decompress as inflateZstd } from 'fzstd';
import kafkajs from 'kafkajs';
import { decompressFrameSync } from 'lz4-napi';
import { uncompressSync } from 'snappy';

/*
 * kafkajs reads gzip by itself and stops for good at a batch of any other compression. Producers choose their own, so the
 * three others are registered here. Only reading: millrace's own producer does not compress.
 *
 *   snappy   plain (librdkafka), or in snappy-java's frame (Java): magic, version, then chunks of length INT32 and bytes
 *   lz4      the LZ4 frame format (KIP-57)
 *   zstd     KIP-110; by Node's own zlib where it has it (22.15 and later)
 */
const snappyJavaMagic = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
const snappyJavaHeadBytes = 16;

/** Makes kafkajs of this process read every compression that Kafka knows. May be called again. */
export function registerCodecs(): void {
  const { CompressionCodecs, CompressionTypes } = kafkajs;
  CompressionCodecs[CompressionTypes.Snappy] = () => reading(readSnappy);
  CompressionCodecs[CompressionTypes.LZ4] = () => reading(decompressFrameSync);
  CompressionCodecs[CompressionTypes.ZSTD] = () => reading(readZstd);
}

interface Codec {
  compress: () => Promise<Buffer>;
  decompress: (compressed: Buffer) => Promise<Buffer>;
}

function reading(decompress: (compressed: Buffer) => Buffer): Codec {
  return {
    compress: () => Promise.reject(new Error('this codec only reads')),
    decompress: compressed => Promise.resolve(decompress(compressed)),
  };
}

export function readSnappy(compressed: Buffer): Buffer {
  if (!compressed.subarray(0, snappyJavaMagic.length).equals(snappyJavaMagic)) return uncompressSync(compressed, { asBuffer: true }) as Buffer;
  const chunks: Buffer[] = [];
  for (let at = snappyJavaHeadBytes; at < compressed.length; ) {
    const end = at + 4 + compressed.readUInt32BE(at);
    chunks.push(uncompressSync(compressed.subarray(at + 4, end), { asBuffer: true }) as Buffer);
    at = end;
  }
  return Buffer.concat(chunks);
}

export function readZstd(compressed: Buffer): Buffer {
  const native = (zlib as { zstdDecompressSync?: (buffer: Buffer) => Buffer }).zstdDecompressSync;
  if (native !== undefined) return native(compressed);
  const bytes = inflateZstd(compressed);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
