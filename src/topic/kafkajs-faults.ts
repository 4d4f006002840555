/** Thrown into kafkajs to make it rejoin: it knows a rebalance by the `type`. */
export class Rejoin extends Error {
  readonly type = 'REBALANCE_IN_PROGRESS';
}

/** kafkajs forgets its memberId on UNKNOWN_MEMBER_ID by itself; anything else is made a plain rejoin. */
export function rejoinError(cause: Error | null): Error {
  if (cause !== null && 'type' in cause && cause.type === 'UNKNOWN_MEMBER_ID') return cause;
  return new Rejoin(cause?.message ?? 'no session');
}

const ownershipFaults = new Set(['ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID', 'REBALANCE_IN_PROGRESS', 'FENCED_INSTANCE_ID']);

/** Whether Kafka said that a partition may be somebody else's by now. */
export function isOwnershipFault(error: Error): boolean {
  return 'type' in error && ownershipFaults.has(String(error.type));
}

/**
 * Whether a fault of kafkajs stands until somebody changes something: a refused login or permission, a setting that Kafka
 * does not take. Everything else passes, or is worth another try. (kafkajs' own `retriable` says no for a coordinator that is
 * away for longer than its retries, tulios/kafkajs#1630.)
 */
export function fatalKafkaFault(error: unknown): boolean {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 10; at = at.cause, depth++) {
    const type = 'type' in at && typeof at.type === 'string' ? at.type : '';
    if (/AUTHORIZATION_FAILED|SASL_AUTHENTICATION|UNSUPPORTED_SASL|ILLEGAL_SASL|POLICY_VIOLATION|INVALID_(?!FETCH|COMMIT)|INCONSISTENT_GROUP_PROTOCOL|GROUP_MAX_SIZE|FENCED_INSTANCE|UNSUPPORTED_VERSION/.test(type)) return true;
    if (/^(?:KafkaJSSASLAuthenticationError|KafkaJSNotImplemented|KafkaJSServerDoesNotSupportApiKey|KafkaJSUnsupportedMagicByteInMessageSet|TypeError|RangeError|ReferenceError|SyntaxError)$/.test(at.name)) return true;
  }
  return false;
}
