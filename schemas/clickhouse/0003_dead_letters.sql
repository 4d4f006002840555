-- What publishing a dead letter again needs besides its value. Letters of before have key_encoding '' and no headers.
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS tombstone Bool DEFAULT false COMMENT 'the record had no value at all';
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS key String COMMENT 'of the record' CODEC(ZSTD(1));
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS key_encoding LowCardinality(String) COMMENT 'utf8, base64, none (a record without a key), or empty: not kept';
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS headers Array(Tuple(name String, value String, encoding String)) COMMENT 'of the record; encoding is utf8, base64, or none: a header without a value';
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS timestamp_ms Int64 DEFAULT toUnixTimestamp64Milli(at) COMMENT 'of the record, as Kafka has it';
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS attempts Array(UUID) COMMENT 'ids in dead_letter_attempts: redriven records that failed again';
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS changed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when status was last set';

-- A record that was redriven from a dead letter and became one again, with its bytes. The letter itself is open again.
CREATE TABLE dead_letter_attempts
(
    id UUID,
    letter_id UUID COMMENT 'the id in dead_letters',
    tenant LowCardinality(String),
    at DateTime64(3, 'UTC'),
    code LowCardinality(String),
    detail String,
    payload String CODEC(ZSTD(1)),
    payload_encoding LowCardinality(String) COMMENT 'utf8 or base64',
    source LowCardinality(String) COMMENT 'http or kafka',
    write_key_id LowCardinality(String),
    message_id String,
    topic LowCardinality(String) COMMENT 'where the redriven record stood',
    partition UInt32,
    offset UInt64,
    tombstone Bool,
    key String CODEC(ZSTD(1)),
    key_encoding LowCardinality(String) COMMENT 'utf8, base64 or none',
    headers Array(Tuple(name String, value String, encoding String)),
    timestamp_ms Int64,
    INDEX ids id TYPE bloom_filter GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (letter_id, at)
SETTINGS non_replicated_deduplication_window = 10000;
