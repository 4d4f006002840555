/**
 * What millrace notes: each is one line of the log and one count of `millrace_notices_total`, by its name. docs/log.md lists the same;
 * a test holds the two equal. telemetry.ts writes the line; details for debugging alone have no name.
 */

interface Entry {
  level: 'info' | 'warn' | 'error';
  /** The line's message. */
  is: string;
  /** What the line has besides, in order. Nothing of what users send in values, and no keys. */
  fields: readonly string[];
  /**
   * Of what a client alone can bring about, ten thousand times a second: one line for each different set of these fields, and then one in
   * ten seconds with how many there were (`times`). They are bounded, by the configuration and by errors.ts.
   */
  limitBy?: readonly string[];
}

export const notices = {
  // The door.
  events_refused: { level: 'warn', is: 'events of readable requests were refused', fields: ['dialect', 'key', 'code', 'requestId'], limitBy: ['dialect', 'key', 'code'] },
  request_refused: { level: 'warn', is: 'requests were refused as a whole', fields: ['dialect', 'key', 'code', 'requestId'], limitBy: ['dialect', 'key', 'code'] },
  request_failed: { level: 'error', is: 'a request failed', fields: ['err', 'requestId'] },
  letters_lost: { level: 'warn', is: 'refused events could not be kept', fields: ['letters', 'error'] },
  config_reloaded: { level: 'info', is: 'the changed configuration is in force', fields: ['writeKeys'] },
  contracts_reloaded: { level: 'info', is: 'the changed contracts are in force in the sink', fields: ['contracts'] },
  config_refused: { level: 'error', is: 'the changed configuration has faults; the old one stays in force', fields: ['path', 'faults'] },
  config_needs_restart: { level: 'warn', is: 'these have changed, and count from the next start on', fields: ['keys'] },
  worker_serves: { level: 'info', is: 'a worker serves', fields: ['worker', 'pid'] },
  worker_ended: { level: 'error', is: 'a worker has ended and is started again; what it had acknowledged is on the topic', fields: ['worker', 'why', 'delayMs'] },
  worker_killed: { level: 'error', is: 'a worker does not come to an end, and is killed', fields: ['worker'] },

  // Kafka, for all.
  topic_made: { level: 'info', is: 'topic made', fields: ['topic', 'partitions'] },
  topic_deletes_early: { level: 'warn', is: 'Kafka keeps records of this topic by their producers’ times, so one that is dated long ago may be deleted before it is read: set message.timestamp.type=LogAppendTime', fields: ['topic', 'retentionMs'] },
  retention_unknown: { level: 'info', is: 'how long Kafka keeps the records of topics cannot be asked', fields: ['error'] },
  kafka_silent: { level: 'warn', is: 'no Kafka broker answers', fields: ['error'] },
  broker_unreachable: { level: 'info', is: 'no connection to a Kafka broker', fields: ['broker', 'error'] },
  metadata_failed: { level: 'error', is: 'metadata of Kafka could not be applied', fields: ['err'] },
  records_refused: { level: 'warn', is: 'Kafka refused records', fields: ['topic', 'partition', 'records', 'kafka'] },
  records_expired: { level: 'warn', is: 'Kafka did not acknowledge records in time', fields: ['records'] },
  kafkajs_complains: { level: 'info', is: 'kafkajs says something: of a rebalance or a lost connection that is ordinary', fields: ['kafkajs', 'message', 'details'] },

  // Consumer groups.
  group_joined: { level: 'info', is: 'consumer group joined', fields: ['groupId', 'topic', 'partitions'] },
  group_begins_late: { level: 'warn', is: 'the group begins where the topic does: what was deleted before cannot be read', fields: ['groupId', 'topic', 'partitions'] },
  session_ended: { level: 'info', is: 'session of the consumer group ended', fields: ['groupId', 'topic', 'cause'] },
  offset_gap: { level: 'error', is: 'records were not read: their offsets are gone', fields: ['groupId', 'topic', 'partition', 'reason', 'from', 'to', 'count'] },
  topic_awaited: { level: 'warn', is: 'the topic does not exist yet; waiting for it', fields: ['topic'] },
  topic_gone: { level: 'warn', is: 'the topic is gone; waiting for it', fields: ['topic'] },
  topic_there: { level: 'warn', is: 'the topic is there now', fields: ['topic'] },
  topic_unknown: { level: 'info', is: 'could not ask for the topic; asking again', fields: ['topic', 'error'] },
  topic_remade: { level: 'error', is: 'the topic was deleted and made again: it is read from its earliest offset', fields: ['groupId', 'topic', 'partitions', 'oldTopicId', 'newTopicId'] },
  consumer_stuck: { level: 'error', is: 'brokers answer, but kafkajs shows no sign of life: it is started again', fields: ['groupId', 'topic', 'quietMs'] },
  partition_stuck: { level: 'error', is: 'kafkajs reads nothing of a partition that has records: it is started again', fields: ['groupId', 'topic', 'partition', 'position'] },
  watch_failed: { level: 'error', is: 'looking at the topic failed', fields: ['err'] },
  lag_unknown: { level: 'info', is: 'Kafka did not say how far the sink is behind; asking again', fields: ['error'] },
  batch_failed: { level: 'error', is: 'a batch failed; it will be read again', fields: ['topic', 'partition', 'err'] },
  commit_failed: { level: 'info', is: 'commit failed, trying again', fields: ['topic', 'partition', 'attempt', 'error'] },

  // The sink.
  plan_short_fetch: { level: 'info', is: 'a fetch brought less than its plan; fetching again', fields: ['topic', 'partition', 'plan', 'got'] },
  plan_changed: { level: 'warn', is: 'the records of a plan have changed; a new plan takes its place', fields: ['topic', 'partition', 'plan'] },
  reading_failed: { level: 'error', is: 'a fault of millrace in reading a record; it becomes a dead letter', fields: ['topic', 'partition', 'offset', 'err'] },
  ids_added: { level: 'info', is: 'events were stored without their ids; adding those', fields: ['topic', 'partition', 'ids'] },
  doubles_removed: { level: 'info', is: 'events lacked their ids while they were stored from elsewhere; leaving one row of each', fields: ['topic', 'partition', 'ids'] },
  rows_inserted_again: { level: 'info', is: 'rows were dropped under a token that was used; inserting them under their own', fields: ['topic', 'partition', 'rows'] },
  doubles_reconciled: { level: 'warn', is: 'events that were stored twice are single again', fields: ['events', 'rows', 'places'] },
  repeats_removed: { level: 'info', is: 'what became of records stood there more than once; it stands there once now', fields: ['table', 'rows'] },
  outcomes_corrected: { level: 'warn', is: 'outcomes of records that are in events after all were removed', fields: ['outcomes'] },
  reconciliation_failed: { level: 'warn', is: 'a pass of the reconciliation failed; the next one makes it again', fields: ['error'] },
  migration_applied: { level: 'info', is: 'migration applied', fields: ['migration', 'database'] },
  id_retention_changed: { level: 'info', is: 'retention of event ids changed', fields: ['before', 'days'] },
  profiles_wait: { level: 'warn', is: 'profiles could not be given what is stored; it is tried again', fields: ['error'] },
  profiles_rebuilt: { level: 'info', is: 'profiles rebuilt from a month of events', fields: ['month', 'events'] },
  replay_copying: { level: 'info', is: 'copying the rows that were not made anew', fields: ['table', 'month'] },
  replay_exchanged: { level: 'info', is: 'the fresh table has taken the place of events', fields: ['table'] },
  replay_resumed: { level: 'warn', is: 'a replay was killed after its fresh table had taken the place of events: the rows that it had still to copy follow', fields: ['table'] },
  replay_table_dropped: { level: 'warn', is: 'a table that a killed replay was filling is dropped', fields: ['table'] },

  // The embedded stack, and the process.
  part_ready: { level: 'info', is: 'part is ready', fields: ['part', 'pid', 'tookMs'] },
  part_restarted: { level: 'warn', is: 'part stopped, starting it again', fields: ['part', 'why', 'failures', 'delayMs'] },
  part_silent: { level: 'warn', is: 'part does not answer, ending it', fields: ['part', 'pid'] },
  part_killed: { level: 'warn', is: 'part does not stop, killing it', fields: ['part', 'pid'] },
  part_log_uncut: { level: 'warn', is: 'log could not be cut', fields: ['part', 'err'] },
  orphan_stopped: { level: 'warn', is: 'stopping a part that an earlier run left behind', fields: ['pid', 'command'] },
  class_data_failed: { level: 'warn', is: 'Java class data could not be archived; starts take longer', fields: ['err'] },
  stack_close_failed: { level: 'error', is: 'stopping the embedded stack failed', fields: ['err'] },
  close_failed: { level: 'error', is: 'closing failed', fields: ['err'] },
  ended_by_fault: { level: 'error', is: 'ended by a fault', fields: ['err'] },
} as const satisfies Record<string, Entry>;

export type NoticeName = keyof typeof notices;
export type NoticeFields<N extends NoticeName> = Readonly<Record<(typeof notices)[N]['fields'][number], unknown>>;

export const limitedNotices: ReadonlyMap<NoticeName, readonly string[]> = new Map(
  Object.entries<Entry>(notices).flatMap(([name, { limitBy }]) => (limitBy === undefined ? [] : [[name as NoticeName, limitBy]])),
);
