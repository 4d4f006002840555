import { hash, randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { asError } from './errors.ts';

export const keyHelp = `millrace key new: makes a write key and prints it, once

  millrace key new [--id web] [--tenant acme]

  --id      its name in logs and in events.write_key_id (web)
  --tenant  whose events it brings (acme)

Give the key to whoever sends; put the line with its SHA-256 under writeKeys of millrace.yaml. A running door takes it within two seconds.
`;

/** What `millrace key …` prints, and its exit code. The key is 192 random bits. */
export function keyCommand(args: readonly string[]): { text: string; ok: boolean } {
  if (args.includes('--help') || args.includes('-h')) return { ok: true, text: keyHelp };
  if (args[0] !== 'new') return { ok: false, text: `millrace key: ${args[0] === undefined ? 'what about keys? `millrace key new` makes one' : `there is no "key ${args[0]}"`}\nTry: npx millrace key --help\n` };
  try {
    const { values } = parseArgs({ args: args.slice(1), options: { id: { type: 'string', default: 'web' }, tenant: { type: 'string', default: 'acme' } } });
    const key = `mr_${randomBytes(24).toString('base64url')}`;
    return {
      ok: true,
      text: `The write key (it is not kept anywhere, and not shown again):

  ${key}

For millrace.yaml:

writeKeys:
  - { id: ${JSON.stringify(values.id)}, tenant: ${JSON.stringify(values.tenant)}, keySha256: "${hash('sha256', key, 'hex')}" }
`,
    };
  } catch (thrown) {
    return { ok: false, text: `millrace key new: ${asError(thrown).message}\nTry: npx millrace key --help\n` };
  }
}
