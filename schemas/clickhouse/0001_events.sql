-- An event, once: exact without FINAL. Sorted for "this tenant's events of this name in this time".
CREATE TABLE events
(
    tenant LowCardinality(String),
    event_id UUID,
    message_id String CODEC(ZSTD(1)),
    dialect LowCardinality(String),
    source LowCardinality(String) COMMENT 'http or kafka',
    write_key_id LowCardinality(String),
    type LowCardinality(String) COMMENT 'track, identify, page, screen, group or alias',
    event LowCardinality(String) COMMENT 'the name of a track event',
    user_key String COMMENT 'the Kafka key',
    user_id String,
    anonymous_id String,
    previous_id String COMMENT 'what an alias event renames',
    email String,
    group_id String,
    name String,
    category String,
    timestamp DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    sent_at Nullable(DateTime64(3, 'UTC')),
    received_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(DoubleDelta, ZSTD(1)),
    properties JSON(max_dynamic_paths = 16),
    traits JSON(max_dynamic_paths = 16),
    context JSON(max_dynamic_paths = 16),
    integrations JSON(max_dynamic_paths = 16),
    violations Array(LowCardinality(String)),
    topic LowCardinality(String),
    partition UInt32,
    offset UInt64 CODEC(DoubleDelta, ZSTD(1)),
    raw String COMMENT 'the JSON text as it came' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (tenant, event, timestamp)
SETTINGS non_replicated_deduplication_window = 10000;

-- Where each event id was stored first: what the sink asks before it inserts.
CREATE TABLE event_ids
(
    event_id UUID,
    topic LowCardinality(String),
    partition UInt32,
    offset UInt64,
    stored_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY event_id
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW event_ids_of_events TO event_ids
AS SELECT event_id, topic, partition, offset, stored_at FROM events;

-- A record that was not stored as an event, and why.
CREATE TABLE outcomes
(
    topic LowCardinality(String),
    partition UInt32,
    offset UInt64 CODEC(DoubleDelta, ZSTD(1)),
    tenant LowCardinality(String),
    event_id UUID COMMENT 'of a dead letter, its id there',
    outcome LowCardinality(String) COMMENT 'duplicate, conflict, dead_lettered, dropped or suppressed',
    reason String,
    at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (topic, partition, offset)
SETTINGS non_replicated_deduplication_window = 10000;

-- A refused or unreadable record, with its exact bytes.
CREATE TABLE dead_letters
(
    id UUID,
    tenant LowCardinality(String),
    at DateTime64(3, 'UTC'),
    code LowCardinality(String),
    detail String,
    payload String CODEC(ZSTD(1)),
    payload_encoding LowCardinality(String) COMMENT 'utf8 or base64',
    source LowCardinality(String) COMMENT 'http or kafka',
    write_key_id LowCardinality(String),
    message_id String,
    topic LowCardinality(String) COMMENT 'where the record stood, if it came from a topic',
    partition UInt32,
    offset UInt64,
    status LowCardinality(String) DEFAULT 'open' COMMENT 'open, redriven or dismissed',
    INDEX ids id TYPE bloom_filter GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (tenant, at, id)
SETTINGS non_replicated_deduplication_window = 10000;
