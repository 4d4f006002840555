-- What an event's contract said of it, in the row of the event or of its dead letter: written with it, and gone with it.
ALTER TABLE events ADD COLUMN contract_version UInt32 COMMENT 'of the contract that judged it; 0: none was for it';
ALTER TABLE events ADD COLUMN contract_violations Array(Tuple(kind LowCardinality(String), pointer String, message String)) CODEC(ZSTD(1));
ALTER TABLE events ADD COLUMN contract_violation_count UInt8 DEFAULT length(contract_violations);
ALTER TABLE events ADD INDEX contract_violation_range contract_violation_count TYPE minmax GRANULARITY 1;

ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS event_id UUID COMMENT 'of what a contract refused, as are the next five';
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS type LowCardinality(String);
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS event String COMMENT 'the name of a track event, page or screen';
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS contract_version UInt32;
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS contract_action LowCardinality(String) COMMENT 'reject or dead_letter';
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS contract_violations Array(Tuple(kind LowCardinality(String), pointer String, message String)) CODEC(ZSTD(1));

ALTER TABLE dead_letter_attempts ADD COLUMN IF NOT EXISTS event_id UUID;
ALTER TABLE dead_letter_attempts ADD COLUMN IF NOT EXISTS type LowCardinality(String);
ALTER TABLE dead_letter_attempts ADD COLUMN IF NOT EXISTS event String;
ALTER TABLE dead_letter_attempts ADD COLUMN IF NOT EXISTS contract_version UInt32;
ALTER TABLE dead_letter_attempts ADD COLUMN IF NOT EXISTS contract_action LowCardinality(String);
ALTER TABLE dead_letter_attempts ADD COLUMN IF NOT EXISTS contract_violations Array(Tuple(kind LowCardinality(String), pointer String, message String)) CODEC(ZSTD(1));

-- A place where an event broke its contract. What is stored once is here once: it stands in the rows of events and letters.
-- As subqueries, so that conditions on the view's columns, and the index, are used below the joins.
CREATE VIEW violations AS
SELECT tenant, event_id, message_id, received_at AS at, type, called AS event, contract_version,
    violation.kind AS kind, violation.pointer AS pointer, violation.message AS message, 'flag' AS action
FROM (SELECT tenant, event_id, message_id, received_at, type, if(type IN ('page', 'screen'), name, event) AS called, contract_version, contract_violations FROM events WHERE contract_violation_count > 0)
ARRAY JOIN contract_violations AS violation
UNION ALL
SELECT tenant, event_id, message_id, at, type, event, contract_version, violation.kind, violation.pointer, violation.message, contract_action
FROM (SELECT tenant, event_id, message_id, at, type, event, contract_version, contract_violations, contract_action FROM dead_letters WHERE notEmpty(contract_violations))
ARRAY JOIN contract_violations AS violation
UNION ALL
SELECT tenant, event_id, message_id, at, type, event, contract_version, violation.kind, violation.pointer, violation.message, contract_action
FROM (SELECT tenant, event_id, message_id, at, type, event, contract_version, contract_violations, contract_action FROM dead_letter_attempts WHERE notEmpty(contract_violations))
ARRAY JOIN contract_violations AS violation;
