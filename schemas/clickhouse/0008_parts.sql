-- A wide part of events is some 500 files, most of them for JSON columns: for a block of 10,000 events they take as long as half of the rows do.
-- A path of a JSON column takes up to 1.6 times as long to read from a compact part, so what merges make of blocks, beyond 32 MiB, is wide.
ALTER TABLE events MODIFY SETTING min_bytes_for_wide_part = 33554432;

-- Ids are spread evenly, so each one that is looked up is in a granule of its own once there are many: then the size of granules, and of the
-- blocks in which they are compressed, is what a look-up costs. That of granules cannot be altered, so the table is made again, in one step.
CREATE OR REPLACE TABLE event_ids
(
    event_id UUID SETTINGS (min_compress_block_size = 8192, max_compress_block_size = 16384),
    topic LowCardinality(String),
    partition UInt32,
    offset UInt64,
    stored_at DateTime64(3, 'UTC'),
    content_hash UInt64 CODEC(NONE)
)
ENGINE = MergeTree
ORDER BY event_id
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 10000
AS SELECT event_id, topic, partition, offset, stored_at, content_hash FROM event_ids;

-- What other sinks stored meanwhile; whoever runs this waits before for their inserts that were under way.
INSERT INTO event_ids (event_id, topic, partition, offset, stored_at, content_hash)
SELECT event_id, topic, partition, offset, stored_at, content_hash FROM events
WHERE stored_at > now() - INTERVAL 2 HOUR AND (event_id, topic, partition, offset) NOT IN (SELECT event_id, topic, partition, offset FROM event_ids WHERE stored_at > now() - INTERVAL 3 HOUR)
SETTINGS insert_deduplicate = 0;
