-- Ids whose profiles are to be made anew, since rows of theirs go: written before the rows go, removed when it is done. What is left behind by a crash is done by a later pass of the reconciliation.
CREATE TABLE profile_rebuilds
(
    tenant LowCardinality(String),
    id String COMMENT 'a user, anonymous or group id, or an e-mail address',
    at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
ORDER BY (tenant, id);
