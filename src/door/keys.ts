import { hash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { RateLimit } from './rate-limit.ts';

/** Who may send, and what. */
export interface WriteKey {
  id: string;
  tenant: string;
  /** Event types; null means all. */
  allow: readonly string[] | null;
  rateLimit: RateLimit | null;
  /** Of pages that may use it, as browsers say them (`https://shop.example`); null means any. */
  origins: readonly string[] | null;
}

export interface KeyRing {
  /** The key of a token, or null. Tokens are compared by their SHA-256, in constant time. */
  find(token: string): WriteKey | null;
  /** Puts others in their place, from the next request on. */
  replace(keys: readonly HashedKey[]): void;
}

export interface HashedKey extends WriteKey {
  /** Hex. */
  keySha256: string;
}

export function createKeyRing(keys: readonly HashedKey[]): KeyRing {
  const index = (all: readonly HashedKey[]) => new Map(all.map(({ keySha256, ...key }) => [keySha256.toLowerCase(), { key, digest: Buffer.from(keySha256, 'hex') }]));
  let byDigest = index(keys);
  return {
    find(token) {
      const digest = hash('sha256', token, 'buffer');
      const found = byDigest.get(digest.toString('hex'));
      return found !== undefined && timingSafeEqual(found.digest, digest) ? found.key : null;
    },
    replace(others) {
      byDigest = index(others);
    },
  };
}

/** The write key that a request carries: Basic user name, Bearer, X-API-Key, X-Write-Key or ?writeKey=. */
export function tokenOf(headers: IncomingHttpHeaders, query: unknown): string | null {
  const { authorization } = headers;
  if (authorization !== undefined) {
    const [, scheme, rest] = /^(\w+) +(.+)$/.exec(authorization.trim()) ?? [];
    if (scheme?.toLowerCase() === 'bearer') return rest ?? null;
    if (scheme?.toLowerCase() === 'basic') {
      const decoded = Buffer.from(rest ?? '', 'base64').toString('utf8');
      const colon = decoded.indexOf(':');
      return (colon < 0 ? decoded : decoded.slice(0, colon)) || null;
    }
    return null;
  }
  for (const header of [headers['x-api-key'], headers['x-write-key']]) {
    if (typeof header === 'string' && header !== '') return header;
  }
  const inQuery = typeof query === 'object' && query !== null && 'writeKey' in query ? query.writeKey : null;
  return typeof inQuery === 'string' && inQuery !== '' ? inQuery : null;
}
