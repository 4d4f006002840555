import { setImmediate as breathe } from 'node:timers/promises';
import { cityHash128 } from './cityhash.ts';
import { Exception } from './exception.ts';
import { unpackBlock } from './lz4.ts';

/*
 * ClickHouse's compressed frames, one after the other:
 *
 *   16 bytes  CityHash128 of all that follows in the frame
 *    1 byte   method: 0x82 LZ4, 0x02 none (0x90 ZSTD isn't known here)
 *    4 bytes  length from the method on, little-endian
 *    4 bytes  length of the data when decompressed, little-endian
 *    n bytes  data, an LZ4 block
 *
 * https://clickhouse.com/docs/native-protocol/compression; LZ4's block format: lz4_Block_format.md of lz4.
 */
const checksumBytes = 16;
const headerBytes = 9;
const lz4 = 0x82;
const none = 0x02;
const frameDataBytes = 64 * 1024;
const maxFrameBytes = 128 * 1024 * 1024;

function broken(what: string): Exception {
  return new Exception(271, 'CANNOT_DECOMPRESS', `${what} in a compressed frame.`);
}

/** The data of all frames. Throws `Exception` 40 for a wrong checksum, 271 for anything else that is wrong. */
export async function readFrames(bytes: Buffer, maxBytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let total = 0;
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < checksumBytes + headerBytes) throw broken('Cut header');
    const start = at + checksumBytes;
    const method = bytes.readUInt8(start);
    const length = bytes.readUInt32LE(start + 1);
    const size = bytes.readUInt32LE(start + 5);
    if (length < headerBytes || start + length > bytes.length) throw broken('Cut data');
    total += size;
    if (size > maxFrameBytes || total > maxBytes) throw new Exception(307, 'TOO_MANY_BYTES', `The request body is over ${maxBytes} bytes; send it in parts.`);
    const frame = bytes.subarray(start, start + length);
    if (!cityHash128(frame).equals(bytes.subarray(at, start))) {
      throw new Exception(40, 'CHECKSUM_DOESNT_MATCH', 'Checksum of a compressed frame does not match: corrupted data.');
    }
    const data = frame.subarray(headerBytes);
    if (method === lz4) parts.push(unpackSized(data, size));
    else if (method === none) parts.push(data);
    else throw new Exception(89, 'UNKNOWN_COMPRESSION_METHOD', `Compression method 0x${method.toString(16)} is not known here; use LZ4.`);
    at = start + length;
    await breathe();
  }
  return Buffer.concat(parts);
}

/** Data in frames. The LZ4 blocks hold literals only: clients insist on LZ4, and nothing is gained by packing for the same machine. */
export async function writeFrames(data: Uint8Array): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (let at = 0; at < data.length; at += frameDataBytes) {
    const piece = data.subarray(at, at + frameDataBytes);
    const block = literals(piece);
    const frame = Buffer.alloc(headerBytes + block.length);
    frame.writeUInt8(lz4, 0);
    frame.writeUInt32LE(frame.length, 1);
    frame.writeUInt32LE(piece.length, 5);
    frame.set(block, headerBytes);
    parts.push(cityHash128(frame), frame);
    await breathe();
  }
  return Buffer.concat(parts);
}

function unpackSized(data: Buffer, size: number): Buffer {
  const out = Buffer.alloc(size);
  if (unpackBlock(data, out, 0) !== size) throw broken('Wrong length');
  return out;
}

/** One sequence without a match: token, length in steps of 255, the bytes. */
function literals(data: Uint8Array): Uint8Array {
  if (data.length < 15) return Uint8Array.of(data.length << 4, ...data);
  const rest = data.length - 15;
  const steps = Math.floor(rest / 255);
  const block = new Uint8Array(1 + steps + 1 + data.length);
  block[0] = 0xf0;
  block.fill(255, 1, 1 + steps);
  block[1 + steps] = rest % 255;
  block.set(data, steps + 2);
  return block;
}
