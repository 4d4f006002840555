import { protocolErrors, protocolErrorsCodesById } from '@platformatic/kafka';

export interface KafkaFault {
  /** Kafka's name of the error, MESSAGE_TOO_LARGE for instance. */
  id: string;
  message: string;
  /** The same batch may be taken later. */
  retryable: boolean;
  /** One record of the batch may have brought it upon all of them. */
  oneRecords: boolean;
}

/** What an error code of a partition's result means. Codes unknown here, or to the broker (-1), may pass and are tried again. */
export function kafkaFault(code: number): KafkaFault {
  const id = protocolErrorsCodesById[code];
  const known = id === undefined ? undefined : protocolErrors[id];
  if (id === undefined || known === undefined) return { id: `error ${code}`, message: 'unknown to this client', retryable: true, oneRecords: false };
  return { id, message: known.message, retryable: known.canRetry || code === -1, oneRecords: oneRecordsFaults.has(id) };
}

const oneRecordsFaults = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE', 'INVALID_RECORD', 'INVALID_TIMESTAMP']);
