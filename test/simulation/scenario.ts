import type { Random } from './scheduler.ts';

/** What may happen in a schedule. */
export interface Scenario {
  sinks: number;
  partitions: number;
  records: number;
  /** Steps with faults, before everything drains. */
  steps: number;
  maxRows: number;
  /** Records that a fetch brings at most. */
  fetchSize: number;
  /** How likely a step is a fault, and one right after something was stored or committed. */
  faultRate: number;
  hotFaultRate: number;
  /** How likely a single request fails, is answered into the void, or times out. */
  requestFaultRate: number;
  /** How likely an insert fails between `events` and `event_ids`. */
  halfInsertRate: number;
  /** One message id in two partitions. */
  crossPartition: boolean;
  /** A request lands although its sender gave up or died. */
  lateRequests: boolean;
  /** Sinks are stopped past their session and go on. */
  stops: boolean;
  compaction: boolean;
  /** A fetch brings less than was there. */
  shortFetches: boolean;
  rewinds: boolean;
  suppressions: boolean;
  /** Tokens that a table remembers. */
  tokenWindow: number;
  reconciliation: boolean;
  /**
   * Twenty minutes may pass while a row of `events` lacks its id, or a sink is in the middle of a batch. Without effect where records are
   * compacted away: a row that lacks its id, and whose record is gone before a replay comes upon it, is not found (README.md).
   */
  longGaps: boolean;
}

export function drawScenario(random: Random): Scenario {
  return {
    sinks: random.int(1, 3),
    partitions: random.int(1, 3),
    records: random.int(4, 14),
    steps: random.int(60, 200),
    maxRows: random.int(1, 5),
    fetchSize: random.int(2, 7),
    faultRate: random.pick([0, 0.02, 0.05, 0.1]),
    hotFaultRate: random.pick([0, 0.1, 0.3]),
    requestFaultRate: random.pick([0, 0.02, 0.05, 0.1]),
    halfInsertRate: random.pick([0, 0.1, 0.4]),
    crossPartition: random.chance(0.5),
    lateRequests: random.chance(0.5),
    stops: random.chance(0.5),
    compaction: random.chance(0.25),
    shortFetches: random.chance(0.25),
    rewinds: random.chance(0.2),
    suppressions: random.chance(0.2),
    tokenWindow: random.chance(0.2) ? random.int(1, 4) : 10_000,
    reconciliation: random.chance(0.6),
    longGaps: random.chance(0.5),
  };
}

/** Whether an insert may land late whose plan has given way to another, or whose token is forgotten. */
function mayLandAfterItsToken({ lateRequests, stops, compaction, shortFetches, rewinds, tokenWindow }: Scenario): boolean {
  const plansChange = compaction || shortFetches || rewinds || tokenWindow < 100;
  return plansChange && (lateRequests || stops);
}

/** Whether a row may stay out of profiles: where nobody reads a record again whose row came late. */
export function mayLackProfiles({ compaction }: Scenario): boolean {
  return compaction;
}

/**
 * Whether planned batches alone keep `events` exact at every moment, without the reconciliation. Not where one id comes in two
 * partitions; nor where an insert outlives its token; nor where a record whose row lacks its id is compacted away, so that no
 * replay comes upon it.
 */
export function isExactAlways(scenario: Scenario): boolean {
  const { crossPartition, compaction, halfInsertRate } = scenario;
  return !crossPartition && !mayLandAfterItsToken(scenario) && !(compaction && halfInsertRate > 0);
}
