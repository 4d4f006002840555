import type { CanonicalEvent } from '../event/canonical.ts';
import type { DeadLetter } from '../event/dead-letter.ts';
import type { Place } from '../event/row.ts';

/** How one event fared: durable on the topic, or why not. `retryable` says that the same event may be sent again. */
export type Accepted = { ok: true; place?: Place } | { ok: false; retryable: boolean; message: string };

/** Puts events on the topic; resolves when each is durable or has failed, in order. Filled in by compose.ts. */
export type AcceptEvents = (events: readonly CanonicalEvent[], traceparent: string | null) => Promise<Accepted[]>;

/** Puts what a contract keeps aside on the dead-letter topic; as AcceptEvents. */
export type SetAside = (letters: readonly DeadLetter[]) => Promise<Accepted[]>;
