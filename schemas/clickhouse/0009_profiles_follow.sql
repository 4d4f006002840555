-- Profiles are fed by the sink, a second after the rows, for all partitions at once: as a view on `events` that cost as much as a small insert itself.
-- Their rows are found by place; offsets grow with time, so parts and granules that hold none of them are not read. Look-ups of replays use it too.
ALTER TABLE events ADD INDEX offset_range offset TYPE minmax GRANULARITY 1;
ALTER TABLE events MATERIALIZE INDEX offset_range;
DROP VIEW IF EXISTS profile_feed_of_events;
