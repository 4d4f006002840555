import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { RecordHeader } from '../../src/event/dead-letter.ts';
import { applyPatch, loadPatch } from '../../src/redrive/patch.ts';
import type { Patch, PatchLetter } from '../../src/redrive/patch.ts';

const about = { id: 'i', tenant: 't', code: 'unreadable', detail: 'd', topic: 'events', messageId: null };
const headers: RecordHeader[] = [['tenant', Buffer.from('t')], ['twice', Buffer.from('1')], ['twice', Buffer.from('2')], ['bytes', Buffer.from([0xff])], ['none', null]];
const run = (patch: (letter: PatchLetter & { payload: Buffer; json: Record<string, unknown>; headers: Record<string, unknown> }) => unknown, payload: string | Buffer = '{"a":1}') =>
  applyPatch(patch as Patch, about, { payload: Buffer.from(payload as string), key: Buffer.from('k'), headers });
const payloadOf = async (...args: Parameters<typeof run>): Promise<string> => {
  const patched = await run(...args);
  assert.equal(patched.kind, 'publish', JSON.stringify(patched));
  return patched.kind === 'publish' ? patched.draft.payload.toString('latin1') : '';
};

test('a payload may be changed in every way that one would think of', async () => {
  assert.equal(await payloadOf(letter => letter), '{"a":1}');
  assert.equal(await payloadOf(letter => ({ ...letter, payload: 'text' })), 'text');
  assert.equal(await payloadOf(letter => ({ ...letter, payload: Buffer.from([1, 2]) })), '\x01\x02');
  assert.equal(await payloadOf(letter => ({ ...letter, payload: { ...letter.json, b: 2 } })), '{"a":1,"b":2}');
  assert.equal(await payloadOf(letter => { letter.json['b'] = 2; return letter; }), '{"a":1,"b":2}');
  assert.equal(await payloadOf(letter => ({ ...letter, text: `${letter.text} ` })), '{"a":1} ');
  assert.equal(await payloadOf(letter => { letter.payload[1] = 0x20; return letter; }), '{ a":1}');
  assert.equal(await payloadOf(async letter => ({ ...letter, payload: 'later' })), 'later');
  assert.equal(await payloadOf(() => ({})), '{"a":1}');
  assert.equal(await payloadOf(letter => letter, Buffer.from([0xff, 0])), '\xff\0');
});

test('what a patch gets', async () => {
  let seen: PatchLetter | undefined;
  await run(letter => { seen = letter; return null; }, Buffer.from([0x7b, 0xff]));
  assert.deepEqual([seen?.text, seen?.json, seen?.key, seen?.headers], [null, undefined, 'k', { tenant: 't', twice: ['1', '2'], bytes: Buffer.from([0xff]), none: null }]);
});

test('key and headers', async () => {
  const patched = await run(letter => ({ ...letter, key: null, headers: { ...letter.headers, tenant: 'other', twice: undefined, added: ['x', null] } }));
  assert.deepEqual(patched, {
    kind: 'publish',
    draft: { payload: Buffer.from('{"a":1}'), key: null, headers: [['tenant', Buffer.from('other')], ['bytes', Buffer.from([0xff])], ['none', null], ['added', Buffer.from('x')], ['added', null]] },
  });
  const untouched = await run(letter => letter);
  assert.deepEqual(untouched.kind === 'publish' && [untouched.draft.key, untouched.draft.headers], [Buffer.from('k'), headers]);
});

test('skipped, thrown, nonsense: each is a result', async () => {
  const reason = async (patch: Parameters<typeof run>[0], payload?: string): Promise<string> => {
    const patched = await run(patch, payload);
    return patched.kind === 'failed' ? patched.reason : patched.kind;
  };
  assert.equal(await reason(() => null), 'skip');
  assert.equal(await reason(() => { throw new Error('no'); }), 'the patch: no');
  assert.equal(await reason(async () => Promise.reject(new Error('later'))), 'the patch: later');
  assert.match(await reason(() => undefined), /returns the letter, or null/);
  assert.match(await reason(letter => ({ ...letter, payload: 7 })), /payload is number/);
  assert.match(await reason(letter => ({ ...letter, key: 7 })), /key is number/);
  assert.match(await reason(letter => ({ ...letter, headers: { tenant: 7 } })), /header tenant is number/);
  assert.match(await reason(letter => ({ ...letter, headers: 'x' })), /headers is not an object/);
});

test('digits that an object would lose are not lost in silence', async () => {
  const patch = (letter: { json: Record<string, unknown> }): unknown => ({ ...letter, payload: { ...letter.json, fixed: true } });
  for (const number of ['12345678901234567', '0.12345678901234567', '1e400', '-9007199254740993']) {
    const patched = await run(patch, `{"n":${number}}`);
    assert.ok(patched.kind === 'failed' && patched.reason.includes(number), number);
  }
  assert.equal(await payloadOf(patch, '{"n":123456789012345,"s":"12345678901234567"}'), '{"n":123456789012345,"s":"12345678901234567","fixed":true}');
});

test('a module that is none says so', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-patch-'));
  try {
    await writeFile(join(folder, 'good.mjs'), 'export default () => null;');
    await writeFile(join(folder, 'bare.mjs'), 'export const patch = 1;');
    await writeFile(join(folder, 'broken.mjs'), 'export default (');
    assert.equal(typeof (await loadPatch('good.mjs', folder)), 'function');
    await assert.rejects(loadPatch('bare.mjs', folder), { code: 'config_invalid', message: '--patch bare.mjs has no function as its default export' });
    for (const file of ['broken.mjs', 'missing.mjs']) await assert.rejects(loadPatch(file, folder), error => error instanceof Error && error.message.startsWith(`--patch ${file} cannot be loaded: `) && !error.message.includes('\n'));
  } finally {
    await rm(folder, { recursive: true });
  }
});
