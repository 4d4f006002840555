-- By whose key a record came and when, so that what was not stored can be counted beside what was.
ALTER TABLE outcomes ADD COLUMN write_key_id LowCardinality(String) COMMENT 'empty where no key is known: direct producers, and records that cannot be read';
ALTER TABLE outcomes ADD COLUMN received_at DateTime64(3, 'UTC') DEFAULT at COMMENT 'as in events; of a dead letter the time of its record';

-- What became of the records that sinks have settled, by tenant, key and the hour of receipt.
-- in_flight is not known here: nothing but the topic itself knows of records that no sink has read.
-- An outcome does not count while its record is in events: the reconciliation is about to remove one of the two.
CREATE VIEW ledger AS
SELECT
    tenant,
    write_key_id,
    hour,
    sum(places) AS received,
    sumIf(places, outcome = 'stored') AS stored,
    sumIf(places, outcome IN ('duplicate', 'conflict')) AS duplicate,
    sumIf(places, outcome = 'dead_lettered') AS dead_lettered,
    sumIf(places, outcome = 'dropped') AS dropped,
    sumIf(places, outcome = 'suppressed') AS suppressed,
    CAST(NULL, 'Nullable(Int64)') AS in_flight
FROM
(
    SELECT tenant, write_key_id, toStartOfHour(received_at) AS hour, 'stored' AS outcome, count() AS places
    FROM events
    GROUP BY tenant, write_key_id, hour
    UNION ALL
    SELECT tenant, write_key_id, hour, outcome, count() AS places
    FROM
    (
        SELECT DISTINCT tenant, write_key_id, toStartOfHour(received_at) AS hour, toString(outcome) AS outcome, topic, partition, offset, event_id
        FROM outcomes
        WHERE (event_id, topic, partition, offset) NOT IN (
            SELECT event_id, topic, partition, offset FROM events WHERE event_id IN (SELECT event_id FROM outcomes WHERE outcome IN ('duplicate', 'conflict')))
    )
    GROUP BY tenant, write_key_id, hour, outcome
)
GROUP BY tenant, write_key_id, hour
SETTINGS enable_extended_results_for_datetime_functions = 1;

-- Whether every record of a partition, from the first that was settled to the last, is in events or in outcomes.
CREATE VIEW ledger_gaps AS
SELECT
    topic,
    partition,
    min(offset) AS first_offset,
    max(offset) AS last_offset,
    groupBitmap(offset) AS accounted,
    toUInt64(last_offset - first_offset + 1 - accounted) AS unaccounted
FROM (SELECT topic, partition, offset FROM events UNION ALL SELECT topic, partition, offset FROM outcomes)
GROUP BY topic, partition;
