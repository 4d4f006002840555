import { AggregatorRegistry, Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import type { MetricObject } from 'prom-client';

/** The parts of a process that have metrics; one that does not run shows none. */
export type Role = 'door' | 'workers' | 'sink' | 'process';

interface Entry {
  role: Role;
  type: 'counter' | 'gauge' | 'histogram';
  /** Never from what users send: topics, partitions, HTTP statuses, codes of errors.ts, names of notices.ts, ids of configured keys only. */
  labels: readonly string[];
  /** Upper bounds of a histogram, in its unit. */
  buckets?: readonly number[];
  help: string;
}

const secondsOfCalls = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Every metric of millrace, beside those that prom-client has for any Node process. docs/metrics.md lists the same; a test holds the two equal. */
export const catalogue = {
  millrace_notices_total: { role: 'process', type: 'counter', labels: ['notice'], help: 'what the log tells by name, also where the line is below its level or held back' },

  millrace_door_requests_total: { role: 'door', type: 'counter', labels: ['dialect', 'key', 'status', 'result'], help: 'requests answered: ok, or the code that refused the whole' },
  millrace_door_events_total: { role: 'door', type: 'counter', labels: ['dialect', 'key', 'result'], help: 'events of readable requests: accepted, or the code that refused them' },
  millrace_door_letters_total: { role: 'door', type: 'counter', labels: ['result'], help: 'events refused inside batches: kept as dead letters, dropped as too many of one key, or failed on the way' },
  millrace_door_produce_seconds: { role: 'door', type: 'histogram', labels: [], buckets: [0.001, 0.0025, ...secondsOfCalls], help: 'from handing the events of a request to the producer until Kafka has answered for each' },
  millrace_door_held_bytes: { role: 'door', type: 'gauge', labels: [], help: 'bytes of bodies that are on their way in, or at work' },
  millrace_door_in_flight_bytes: { role: 'door', type: 'gauge', labels: [], help: 'bytes of records that wait for Kafka to acknowledge them' },

  millrace_workers: { role: 'workers', type: 'gauge', labels: [], help: 'door processes that serve, where there are several' },
  millrace_worker_restarts_total: { role: 'workers', type: 'counter', labels: [], help: 'door processes that had ended and were started again' },

  millrace_sink_records_total: { role: 'sink', type: 'counter', labels: ['topic', 'outcome'], help: 'records settled: stored, duplicate, conflict, dead_lettered, suppressed, or present where a replay found its row in place' },
  millrace_conflicts_total: { role: 'sink', type: 'counter', labels: [], help: 'records whose message id was stored before with other content' },
  millrace_dead_letters_total: { role: 'sink', type: 'counter', labels: ['code'], help: 'records put on the dead-letter topic, by code' },
  millrace_sink_batch_rows: { role: 'sink', type: 'histogram', labels: [], buckets: [1, 10, 100, 500, 1_000, 5_000, 10_000, 25_000, 50_000], help: 'events that one insert stored' },
  millrace_sink_insert_seconds: { role: 'sink', type: 'histogram', labels: [], buckets: secondsOfCalls, help: 'time to insert a batch into events, a replay with its reading back' },
  millrace_sink_lookup_seconds: { role: 'sink', type: 'histogram', labels: [], buckets: secondsOfCalls, help: 'time to look up the event ids of a batch' },
  millrace_sink_freshness_seconds: { role: 'sink', type: 'histogram', labels: [], buckets: [0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1_800, 7_200], help: 'from received_at of the oldest event of a batch until the batch is stored' },
  millrace_sink_replays_total: { role: 'sink', type: 'counter', labels: [], help: 'batches of which some may have been stored before: after a crash, a rewind or a failed try' },
  millrace_sink_lag: { role: 'sink', type: 'gauge', labels: ['topic', 'partition'], help: 'offsets between what is settled and the end of a partition that this sink holds' },
  millrace_sink_joined: { role: 'sink', type: 'gauge', labels: [], help: '1 while the sink is a member of its consumer groups' },
  millrace_sink_waiting_batches: { role: 'sink', type: 'gauge', labels: ['code'], help: 'batches that wait to be tried again, by the code of what failed' },
  millrace_sink_batch_bytes: { role: 'sink', type: 'gauge', labels: [], help: 'bytes of record values in the batches under way' },
  millrace_offset_gaps_total: { role: 'sink', type: 'counter', labels: ['topic', 'reason'], help: 'times that records were passed by or a position was lost: deleted, truncated, reset or skipped; the log names the offsets' },
  millrace_reconciled_total: { role: 'sink', type: 'counter', labels: [], help: 'rows removed since the same event was stored from another place first' },
  millrace_outcomes_corrected_total: { role: 'sink', type: 'counter', labels: [], help: 'outcomes removed since their record is in events after all' },
} as const satisfies Record<string, Entry>;

type Catalogue = typeof catalogue;
type NameOf<T extends Entry['type']> = { [N in keyof Catalogue]: Catalogue[N]['type'] extends T ? N : never }[keyof Catalogue];
type LabelsOf<N extends keyof Catalogue> = Readonly<Record<Catalogue[N]['labels'][number], string>>;

/** What answers a scrape: Prometheus' text format. */
export interface Exposition {
  contentType: string;
  body: string;
}

/** The metrics of one process. A metric may be used once its role is enabled. */
export interface Metrics {
  /** From now on the role's metrics are shown, those without labels as 0. False where they were before. */
  enable(role: Role): boolean;
  count<N extends NameOf<'counter'>>(name: N, labels: LabelsOf<N>, by?: number): void;
  observe<N extends NameOf<'histogram'>>(name: N, labels: LabelsOf<N>, value: number): void;
  set<N extends NameOf<'gauge'>>(name: N, labels: LabelsOf<N>, value: number): void;
  /** The series with these labels is shown no more. */
  remove<N extends NameOf<'gauge'>>(name: N, labels: LabelsOf<N>): void;
  /** `ask` runs before every scrape, for what is cheaper asked for than followed. */
  beforeScrape(ask: () => void): void;
  exposition: () => Promise<Exposition>;
  /** The same as plain JSON, to be added to that of other processes. */
  snapshot: () => Promise<Snapshot>;
}

export type Snapshot = readonly MetricObject[];

/** A registry of its own, so that several systems fit into one process. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const counters = new Map<string, Counter>();
  const gauges = new Map<string, Gauge>();
  const histograms = new Map<string, Histogram>();
  const asks: (() => void)[] = [];

  const register = (name: string, { type, labels, help, buckets }: Entry): void => {
    const common = { name, help, labelNames: [...labels], registers: [registry] };
    if (type === 'counter') counters.set(name, new Counter(common));
    else if (type === 'gauge') gauges.set(name, new Gauge(common));
    else histograms.set(name, new Histogram({ ...common, ...(buckets && { buckets: [...buckets] }) }));
  };
  const find = <M>(metrics: ReadonlyMap<string, M>, name: string): M => {
    const metric = metrics.get(name);
    if (metric === undefined) throw new RangeError(`the role of ${name} is not enabled`);
    return metric;
  };

  const all = (): Registry => {
    for (const ask of asks) ask();
    return registry;
  };
  return {
    enable(role) {
      const missing = Object.entries<Entry>(catalogue).filter(([name, entry]) => entry.role === role && registry.getSingleMetric(name) === undefined);
      for (const [name, entry] of missing) register(name, entry);
      return missing.length > 0;
    },
    count: (name, labels, by = 1) => find(counters, name).inc(labels, by),
    observe: (name, labels, value) => find(histograms, name).observe(labels, value),
    set: (name, labels, value) => find(gauges, name).set(labels, value),
    remove: (name, labels) => find(gauges, name).remove(labels),
    beforeScrape: ask => void asks.push(ask),
    exposition: () => expose(all()),
    snapshot: () => all().getMetricsAsJSON(),
  };
}

async function expose(registry: Registry): Promise<Exposition> {
  return { contentType: registry.contentType, body: await registry.metrics() };
}

/** What several processes have counted, as one. */
export interface MetricSum {
  of(snapshots: readonly Snapshot[]): Promise<Exposition>;
  /** A process has ended: from now on what it had counted when it was last asked stays in the sum, which would else seem to start over. */
  gone(last: Snapshot): void;
}

export function createMetricSum(): MetricSum {
  let past: Snapshot[] = [];
  let merging = Promise.resolve();
  /** All that has ended as one, so that it does not grow. */
  const merge = async (): Promise<void> => {
    const merged = [...past];
    const one = await AggregatorRegistry.aggregate(merged).getMetricsAsJSON();
    past = [one, ...past.slice(merged.length)];
  };
  return {
    of: snapshots => expose(AggregatorRegistry.aggregate([...past, ...snapshots])),
    gone(last) {
      past.push(last.filter(({ type }) => ['counter', 'histogram'].includes(String(type))));
      merging = merging.then(merge);
    },
  };
}
