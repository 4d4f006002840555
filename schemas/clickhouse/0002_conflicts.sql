-- What an event says, as 64 bits: a duplicate that says something else is a conflict. 0: not known.
ALTER TABLE events ADD COLUMN content_hash UInt64 COMMENT 'what the event says, without what sending adds; 0: not known' CODEC(NONE);
ALTER TABLE event_ids ADD COLUMN content_hash UInt64 CODEC(NONE);
ALTER TABLE event_ids_of_events MODIFY QUERY SELECT event_id, topic, partition, offset, stored_at, content_hash FROM events;

-- Lets the reconciliation read what was stored lately, and no more.
ALTER TABLE events ADD INDEX stored_at_range stored_at TYPE minmax GRANULARITY 1;

-- A record whose message id was stored before with other content. The first stays in events, this one only here.
CREATE TABLE conflicts
(
    tenant LowCardinality(String),
    event_id UUID,
    message_id String,
    at DateTime64(3, 'UTC') DEFAULT now64(3),
    stored_topic LowCardinality(String) COMMENT 'where the record stood that is in events',
    stored_partition UInt32,
    stored_offset UInt64,
    topic LowCardinality(String) COMMENT 'where this record stood',
    partition UInt32,
    offset UInt64,
    raw String COMMENT 'the JSON text as it came' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (tenant, at, event_id)
SETTINGS non_replicated_deduplication_window = 10000;

-- A user whose events are dropped, if they were received before a moment.
CREATE TABLE suppressions
(
    tenant LowCardinality(String),
    user_id String COMMENT 'a user id or an anonymous id',
    received_before DateTime64(3, 'UTC'),
    at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
ORDER BY (tenant, user_id);

-- Passes of the reconciliation: up to when what was stored has been looked through for events that are there twice.
CREATE TABLE reconciliations
(
    at DateTime64(3, 'UTC') DEFAULT now64(3),
    checked_until DateTime64(3, 'UTC'),
    removed UInt64 COMMENT 'rows of events that were removed, since the same event was stored from another place first',
    corrected UInt64 COMMENT 'outcomes that were removed, since their record is in events after all'
)
ENGINE = MergeTree
ORDER BY at
TTL toDateTime(at) + INTERVAL 30 DAY;
