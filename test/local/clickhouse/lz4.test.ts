import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unpackLz4Frames } from '../../../src/local/clickhouse/lz4.ts';

// Made by the reference library (Python's lz4.frame): linked blocks, content checksum.
const hello = Buffer.from('BCJNGGxAFwAAAAAAAAAHDwAAAGhoZWxsbyAGAFBoZWxsbwAAAADya5QL', 'base64');

test('LZ4 frames of the reference library, one and several', () => {
  assert.equal(unpackLz4Frames(hello, 1000).toString(), 'hello hello hello hello');
  assert.equal(unpackLz4Frames(Buffer.concat([hello, hello]), 1000).toString(), 'hello hello hello hello'.repeat(2));
});

test('broken and too large frames are refused', () => {
  for (let cut = 1; cut < hello.length - 4; cut += 1) {
    assert.throws(() => unpackLz4Frames(hello.subarray(0, cut), 1000), { code: 271 }, String(cut));
  }
  assert.throws(() => unpackLz4Frames(Buffer.from('nonsense'), 1000), { code: 271 });
  assert.throws(() => unpackLz4Frames(hello, 10), /307|271|over 10 bytes|Wrong/);
});
