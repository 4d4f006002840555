-- What became of an event, asked by its id alone: among tens of millions of outcomes and letters in a tenth of a second, where a scan takes seconds.
ALTER TABLE outcomes ADD INDEX event_ids event_id TYPE bloom_filter GRANULARITY 1;
-- A letter's id is its own; the event's is a function of tenant and message id (src/event/identity.ts). Queries must spell it so.
ALTER TABLE dead_letters ADD INDEX event_ids substring(SHA256(concat(tenant, '\0', message_id)), 1, 16) TYPE bloom_filter GRANULARITY 1;
ALTER TABLE outcomes MATERIALIZE INDEX event_ids;
ALTER TABLE dead_letters MATERIALIZE INDEX event_ids;
