import { hash } from 'node:crypto';
import type { HashedKey } from '../../src/door/keys.ts';

/** A write key of a test; its token may do everything unless `more` says otherwise. */
export function writeKey(id: string, tenant: string, token: string, more: Partial<HashedKey> = {}): HashedKey {
  return { id, tenant, keySha256: hash('sha256', token, 'hex'), allow: null, rateLimit: null, origins: null, ...more };
}
