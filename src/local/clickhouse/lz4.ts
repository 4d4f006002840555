import { Exception } from './exception.ts';

/*
 * LZ4, unpacking only. Block: lz4_Block_format.md of lz4; frame: lz4_Frame_format.md:
 *
 *   4 bytes  magic 0x184d2204
 *   1 byte   flags: bit 4 block checksums, bit 3 content size, bit 2 content checksum, bit 0 dictionary id
 *   1 byte   block maximum: bits 4-6, 4 = 64 KiB, each step four times as much
 *   8 bytes  content size, 4 bytes dictionary id, where flagged; 1 byte header checksum
 *   blocks   4 bytes length, bit 31 set where not compressed; the data; 4 bytes checksum where flagged
 *   4 bytes  zero, then 4 bytes checksum of the content where flagged
 *
 * The frame's xxHash checksums aren't compared.
 */

function broken(what: string): Exception {
  return new Exception(271, 'CANNOT_DECOMPRESS', `${what} in LZ4 data.`);
}

/**
 * Unpacks a block into `out` from `to` on, which may refer back to what stands before it; answers where it ends. Throws
 * `Exception` 271 for a block that is broken or doesn't fit.
 */
export function unpackBlock(block: Uint8Array, out: Buffer, to: number): number {
  let from = 0;
  const byte = (): number => {
    const value = block[from++];
    if (value === undefined) throw broken('Cut block');
    return value;
  };
  const lengthFrom = (nibble: number): number => {
    let length = nibble;
    if (nibble === 15) {
      let step: number;
      do {
        step = byte();
        length += step;
      } while (step === 255);
    }
    return length;
  };
  while (from < block.length) {
    const token = byte();
    const literal = lengthFrom(token >> 4);
    if (from + literal > block.length || to + literal > out.length) throw broken('Wrong literal');
    out.set(block.subarray(from, from + literal), to);
    from += literal;
    to += literal;
    if (from === block.length) break;
    const back = byte() + byte() * 256;
    const match = lengthFrom(token & 15) + 4;
    if (back === 0 || back > to || to + match > out.length) throw broken('Wrong match');
    if (back >= match) out.copyWithin(to, to - back, to - back + match);
    else for (let i = 0; i < match; i += 1) out[to + i] = out[to + i - back] ?? 0;
    to += match;
  }
  return to;
}

/** The content of all LZ4 frames in `bytes`. Throws `Exception` 271 for broken data, 307 over `maxBytes`. */
export function unpackLz4Frames(bytes: Buffer, maxBytes: number): Buffer {
  let out: Buffer = Buffer.alloc(Math.min(maxBytes, bytes.length * 4 + 64 * 1024));
  let to = 0;
  const need = (at: number, count: number): void => {
    if (at + count > bytes.length) throw broken('Cut frame');
  };
  for (let at = 0; at < bytes.length; ) {
    need(at, 7);
    if (bytes.readUInt32LE(at) !== 0x184d2204) throw broken('No frame');
    const flags = bytes.readUInt8(at + 4);
    const blockMax = 64 * 1024 * 4 ** (((bytes.readUInt8(at + 5) >> 4) & 7) - 4);
    const blockChecksum = (flags & 16) === 0 ? 0 : 4;
    at += 7 + ((flags & 8) === 0 ? 0 : 8) + ((flags & 1) === 0 ? 0 : 4);
    for (;;) {
      need(at, 4);
      const word = bytes.readUInt32LE(at);
      at += 4;
      if (word === 0) break;
      const length = word & 0x7fffffff;
      need(at, length + blockChecksum);
      if (to + blockMax > out.length) {
        const larger = Buffer.alloc(Math.max(out.length * 2, to + blockMax));
        out.copy(larger, 0, 0, to);
        out = larger;
      }
      const block = bytes.subarray(at, at + length);
      if (word > 0x7fffffff) to += block.copy(out, to);
      else to = unpackBlock(block, out, to);
      if (to > maxBytes) throw new Exception(307, 'TOO_MANY_BYTES', `The request body is over ${maxBytes} bytes; send it in parts.`);
      at += length + blockChecksum;
    }
    at += (flags & 4) === 0 ? 0 : 4;
  }
  return out.subarray(0, to);
}
