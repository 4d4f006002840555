import { MillraceError } from './errors.ts';
import type { Answered } from './door/server.ts';
import type { OnEvents } from './door/ingest.ts';
import type { ErrorCode } from './errors.ts';
import type { Metrics } from './metrics.ts';
import { notices } from './notices.ts';
import type { ReconcileResult } from './sink/reconcile.ts';
import type { StoreResult } from './sink/store-events.ts';
import { note, onNotice } from './telemetry.ts';
import type { Log } from './telemetry.ts';
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
  onEvents: OnEvents;
  onResponse: (answer: Answered) => void;
  onHeld: (bytes: number) => void;
  /** Of refused events: kept as dead letters, dropped as too many of one key, or failed on the way. */
  onLetters: (result: 'kept' | 'dropped' | 'failed', count: number) => void;
  /** From handing events to the producer until Kafka has answered for each. */
  onProduced: (ms: number) => void;
}

export function measureDoor(metrics: Metrics, door: { log: Log; dialects: readonly string[]; keys: readonly string[]; inFlightBytes: () => number }): DoorMeter {
  const { log, dialects, keys } = door;
  let heldBytes = 0;
  const events = tally<{ dialect: string; key: string; result: string }>(labels => [labels.dialect, labels.key, labels.result], (labels, by) => metrics.count('millrace_door_events_total', labels, by));
  const requests = tally<{ dialect: string; key: string; status: string; result: string }>(labels => [labels.dialect, labels.key, labels.status, labels.result], (labels, by) => metrics.count('millrace_door_requests_total', labels, by));
  metrics.enable('door');
  for (const dialect of dialects) for (const key of keys) metrics.count('millrace_door_events_total', { dialect, key, result: 'accepted' }, 0);
  metrics.beforeScrape(() => {
    events.flush();
    requests.flush();
    metrics.set('millrace_door_in_flight_bytes', {}, door.inFlightBytes());
    metrics.set('millrace_door_held_bytes', {}, heldBytes);
  });
  return {
    onEvents({ dialect, key, result, count, requestId }) {
      events.add({ dialect, key, result }, count);
      if (result !== 'accepted') note(log, 'events_refused', { dialect, key, code: result, requestId }, count);
    },
    onResponse({ dialect, key, status, code, told, requestId }) {
      requests.add({ dialect, key, status: String(status), result: code ?? 'ok' }, 1);
      if (code !== null && !told) note(log, 'request_refused', { dialect, key, code, requestId });
    },
    onHeld: bytes => void (heldBytes = bytes),
    onLetters: (result, count) => metrics.count('millrace_door_letters_total', { result }, count),
    onProduced: ms => metrics.observe('millrace_door_produce_seconds', {}, ms / milliseconds),
  };
}

/** Counts that are handed over at a scrape: looking for the series at each request costs more than the counting. */
function tally<Labels>(namesOf: (labels: Labels) => string[], count: (labels: Labels, by: number) => void): { add: (labels: Labels, by: number) => void; flush: () => void } {
  const sums = new Map<string, { labels: Labels; by: number }>();
  return {
    add(labels, by) {
      const name = namesOf(labels).join('\n');
      const sum = sums.get(name);
      if (sum === undefined) sums.set(name, { labels, by });
      else sum.by += by;
    },
    flush() {
      for (const { labels, by } of sums.values()) count(labels, by);
      sums.clear();
    },
  };
}

/** Counts the notices of a process; its roles may share one log and one set of metrics, or not. */
export function measureNotices(metrics: Metrics, log: Log): void {
  if (!metrics.enable('process')) return;
  for (const notice of Object.keys(notices)) metrics.count('millrace_notices_total', { notice }, 0);
  onNotice(log, (notice, times) => metrics.count('millrace_notices_total', { notice }, times));
}

function codeOf(error: Error): ErrorCode {
  return error instanceof MillraceError ? error.code : 'internal';
}
