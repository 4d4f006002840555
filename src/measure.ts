import { MillraceError } from './errors.ts';
import type { ErrorCode } from './errors.ts';
import type { Metrics } from './metrics.ts';
import type { ReconcileResult } from './sink/reconcile.ts';
import type { StoreResult } from './sink/store-events.ts';
import type { Gap } from './topic/subscribe.ts';

/* What happens in a role, and which metrics that moves. The roles know callbacks only; compose.ts joins the two. */

const milliseconds = 1_000;

export interface SinkMeter {
  onStored: (result: StoreResult) => void;
  onPass: (result: ReconcileResult) => void;
  /** `error` while a batch of the partition waits to be tried again, null when none does any more. */
  onWaiting: (topic: string, partition: number, error: Error | null) => void;
  onGap: (gap: Gap) => void;
  /** Null: this sink holds the partition no more. */
  onLag: (topic: string, partition: number, lag: number | null) => void;
  /** Counts the values of a batch as long as `work` takes. */
  during: <T>(records: readonly { value: Buffer | null }[], work: () => Promise<T>) => Promise<T>;
}

export function measureSink(metrics: Metrics, sink: { eventTopics: readonly string[]; joined: () => boolean; nowMs?: () => number }): SinkMeter {
  const { eventTopics, joined, nowMs = Date.now } = sink;
  const waiting = new Map<string, string>();
  let batchBytes = 0;
  metrics.enable('sink');
  // A series that begins at 0 shows its first increase.
  for (const topic of eventTopics) for (const outcome of ['stored', 'duplicate', 'conflict', 'dead_lettered', 'suppressed', 'present']) metrics.count('millrace_sink_records_total', { topic, outcome }, 0);
  metrics.beforeScrape(() => {
    metrics.set('millrace_sink_joined', {}, joined() ? 1 : 0);
    metrics.set('millrace_sink_batch_bytes', {}, batchBytes);
  });

  return {
    onStored({ topic, stored, duplicate, conflict, deadLettered, suppressed, present, replay, deadLetterCodes, lookUpMs, insertMs, oldestReceivedAtMs }) {
      const outcomes = { stored, duplicate, conflict, dead_lettered: deadLettered, suppressed, present };
      for (const [outcome, count] of Object.entries(outcomes)) metrics.count('millrace_sink_records_total', { topic, outcome }, count);
      metrics.count('millrace_conflicts_total', {}, conflict);
      for (const [code, count] of Object.entries(deadLetterCodes)) metrics.count('millrace_dead_letters_total', { code }, count);
      if (replay) metrics.count('millrace_sink_replays_total', {});
      if (stored + duplicate + conflict + suppressed + present > 0) metrics.observe('millrace_sink_lookup_seconds', {}, lookUpMs / milliseconds);
      if (stored > 0) {
        metrics.observe('millrace_sink_batch_rows', {}, stored);
        metrics.observe('millrace_sink_insert_seconds', {}, insertMs / milliseconds);
      }
      if (oldestReceivedAtMs !== null) metrics.observe('millrace_sink_freshness_seconds', {}, Math.max(0, nowMs() - oldestReceivedAtMs) / milliseconds);
    },
    onPass({ removed, corrected }) {
      metrics.count('millrace_reconciled_total', {}, removed);
      metrics.count('millrace_outcomes_corrected_total', {}, corrected);
    },
    onWaiting(topic, partition, error) {
      const place = `${topic}/${partition}`;
      const codes = new Set(waiting.values());
      if (error === null) waiting.delete(place);
      else waiting.set(place, codeOf(error));
      for (const code of new Set([...codes, ...waiting.values()])) {
        metrics.set('millrace_sink_waiting_batches', { code }, [...waiting.values()].filter(each => each === code).length);
      }
    },
    onGap: ({ topic, reason }) => metrics.count('millrace_offset_gaps_total', { topic, reason }),
    onLag(topic, partition, lag) {
      const labels = { topic, partition: String(partition) };
      if (lag === null) metrics.remove('millrace_sink_lag', labels);
      else metrics.set('millrace_sink_lag', labels, lag);
    },
    async during(records, work) {
      const bytes = records.reduce((sum, { value }) => sum + (value?.length ?? 0), 0);
      batchBytes += bytes;
      try {
        return await work();
      } finally {
        batchBytes -= bytes;
      }
    },
  };
}

export interface DoorMeter {
  onEvents: (dialect: string, result: 'accepted' | ErrorCode, count: number) => void;
  onResponse: (status: number) => void;
  /** Of refused events: kept as dead letters, dropped as too many of one key, or failed on the way. */
  onLetters: (result: 'kept' | 'dropped' | 'failed', count: number) => void;
}

export function measureDoor(metrics: Metrics, door: { dialects: readonly string[]; inFlightBytes: () => number }): DoorMeter {
  metrics.enable('door');
  for (const dialect of door.dialects) metrics.count('millrace_door_events_total', { dialect, result: 'accepted' }, 0);
  metrics.beforeScrape(() => metrics.set('millrace_door_in_flight_bytes', {}, door.inFlightBytes()));
  return {
    onEvents: (dialect, result, count) => metrics.count('millrace_door_events_total', { dialect, result }, count),
    onResponse: status => metrics.count('millrace_door_requests_total', { status: String(status) }),
    onLetters: (result, count) => metrics.count('millrace_door_letters_total', { result }, count),
  };
}

function codeOf(error: Error): ErrorCode {
  return error instanceof MillraceError ? error.code : 'internal';
}
