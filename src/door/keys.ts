import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

/** Who may send: `allow` lists event types, null means all. */
export interface WriteKey {
  id: string;
  tenant: string;
  allow: readonly string[] | null;
}

export interface KeyRing {
  /** The key of a token, or null. Tokens are compared by their SHA-256, in constant time. */
  find(token: string): WriteKey | null;
}

export function createKeyRing(keys: readonly (WriteKey & { sha256: Buffer })[]): KeyRing {
  const byDigest = new Map(keys.map(key => [key.sha256.toString('hex'), key]));
  return {
    find(token) {
      const digest = createHash('sha256').update(token).digest();
      const key = byDigest.get(digest.toString('hex'));
      return key !== undefined && timingSafeEqual(key.sha256, digest) ? key : null;
    },
  };
}

export function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
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
