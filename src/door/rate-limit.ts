/*
 * Events a second for each key, as a bucket of tokens: it holds `burst`, and fills by `eventsPerSecond`.
 *
 *   enough tokens                      they are taken
 *   a full bucket, a larger batch      it is overdrawn, once: the debt is paid off before anything else passes
 *   nothing is asked for               it passes
 *   else                               429, and when there will be enough
 */

export interface RateLimit {
  eventsPerSecond: number;
  burst: number;
}

export interface RateState {
  ok: boolean;
  /** Whole tokens that the bucket holds. */
  limit: number;
  /** Whole tokens left. */
  remaining: number;
  /** Whole seconds until the bucket is full. */
  resetSeconds: number;
  /** Whole seconds, at least 1, until what was asked for would pass; 0 where it has. */
  retryAfterSeconds: number;
}

export interface RateLimiter {
  /** Takes tokens of a key for so many events. */
  take: (keyId: string, limit: RateLimit, events: number) => RateState;
}

/** `now` is a clock that only runs forward, in milliseconds. Of so many `parts` of a machine each has its own buckets, and its part of every limit. */
export function createRateLimiter(now: () => number, parts = 1): RateLimiter {
  const buckets = new Map<string, { tokens: number; atMs: number }>();
  return {
    take(keyId, limit, events) {
      const eventsPerSecond = limit.eventsPerSecond / parts;
      const burst = Math.max(1, limit.burst / parts);
      const atMs = now();
      const before = buckets.get(keyId) ?? { tokens: burst, atMs };
      const tokens = Math.min(burst, before.tokens + ((atMs - before.atMs) / 1_000) * eventsPerSecond);
      const needed = Math.min(events, burst);
      const ok = events === 0 || tokens >= needed;
      const left = ok ? tokens - events : tokens;
      buckets.set(keyId, { tokens: left, atMs });
      return {
        ok,
        limit: Math.floor(burst),
        remaining: Math.max(0, Math.floor(left)),
        resetSeconds: Math.ceil((burst - left) / eventsPerSecond),
        retryAfterSeconds: ok ? 0 : Math.max(1, Math.ceil((needed - tokens) / eventsPerSecond)),
      };
    },
  };
}
