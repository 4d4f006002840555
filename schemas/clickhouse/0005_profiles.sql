-- Profiles: what `identify`, `group`, `alias` and the ids of all events say about users and groups. See docs/adr/0003-profiles.md.
-- A *node* is one id: tenant, 0x00, `u` (user), `a` (anonymous) or `g` (group), id. A link leads from a node to a user.
-- All states are idempotent: the same event again, in any order, changes nothing.
-- What views join by `direct` has no Tuple: with several threads 26.7 fails on those now and then (PARAMETER_OUT_OF_BOUND).

ALTER TABLE events ADD COLUMN IF NOT EXISTS trait_values Map(String, String) COMMENT 'identify and group: the JSON text of each trait, null included' CODEC(ZSTD(1));

-- Where profiles get their events from. Holds nothing: inserting here events that are stored already heals or rebuilds.
CREATE TABLE profile_feed
(
    tenant LowCardinality(String),
    event_id UUID,
    type LowCardinality(String),
    user_id String,
    anonymous_id String,
    previous_id String,
    email String,
    group_id String,
    timestamp DateTime64(3, 'UTC'),
    received_at DateTime64(3, 'UTC'),
    offset UInt64,
    trait_values Map(String, String)
)
ENGINE = Null;

-- What is known of a node. event: it happened. trait: its newest value. email: an address. link: an event that leads to a user. settled: what
-- several links come to. The greatest `latest` of links and settled names the user that the node counts to.
CREATE TABLE profile_facts
(
    node String,
    kind Enum8('event' = 1, 'trait' = 2, 'email' = 3, 'link' = 4, 'settled' = 5),
    name String COMMENT 'the trait, the address, or the kind of link',
    event_id UUID COMMENT 'of an event or a link',
    first SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    latest SimpleAggregateFunction(max, String) COMMENT 'of a trait: timestamp, received_at and offset in 16 hex digits each, then the value; of a link: its weight in 16 hex digits, then the user'
)
ENGINE = AggregatingMergeTree
ORDER BY (node, kind, name, event_id)
SETTINGS index_granularity = 1024;

-- Which nodes may count to a profile: itself, and all that have a way to it by links; their facts say whether they do. And which are in a group.
CREATE TABLE profile_members
(
    tenant LowCardinality(String),
    id String COMMENT 'of the profile or group',
    space Enum8('user' = 1, 'anonymous' = 2, 'group' = 3) COMMENT 'whose id it is',
    node String COMMENT 'empty: the group itself was seen',
    first SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (tenant, id, space, node)
SETTINGS index_granularity = 1024;

CREATE MATERIALIZED VIEW profile_feed_of_events TO profile_feed
AS SELECT tenant, event_id, type, user_id, anonymous_id, previous_id, email, group_id, timestamp, received_at, offset, trait_values
FROM events
WHERE user_id != '' OR anonymous_id != '' OR email != '' OR group_id != '';

CREATE MATERIALIZED VIEW profile_facts_of_feed TO profile_facts
AS SELECT fact.1 AS node, fact.2 AS kind, fact.3 AS name, fact.4 AS event_id, at AS first, at AS last, fact.5 AS latest
FROM
(
    WITH
        lowerUTF8(trimBoth(email)) AS address,
        toUUID('00000000-0000-0000-0000-000000000000') AS none,
        concat(leftPad(hex(toUInt64(8796093022208 + toUnixTimestamp64Milli(timestamp))), 16, '0'), leftPad(hex(toUInt64(8796093022208 + toUnixTimestamp64Milli(received_at))), 16, '0'), leftPad(hex(offset), 16, '0')) AS rank,
        concat(leftPad(hex(toUInt64(140737488355328 - toUnixTimestamp64Milli(timestamp))), 16, '0'), user_id) AS link_to,
        concat(tenant, '\0', multiIf(user_id != '', concat('u', user_id), anonymous_id != '', concat('a', anonymous_id), address != '', concat('u', address), '')) AS own,
        user_id != '' OR anonymous_id != '' OR address != '' AS known,
        type = 'identify' ? lowerUTF8(trimBoth(JSONExtractString(trait_values['email']))) : '' AS trait_address
    SELECT
        timestamp AS at,
        arrayJoin(arrayConcat(
            known ? [(own, 'event', '', event_id, '')] : [],
            address != '' ? [(own, 'email', address, none, '')] : [],
            known AND position(trait_address, '@') > 0 ? [(own, 'email', trait_address, none, '')] : [],
            known AND type = 'identify' ? arrayMap((trait, text) -> (own, 'trait', trait, none, concat(rank, text)), mapKeys(trait_values), mapValues(trait_values)) : [],
            user_id != '' AND anonymous_id != '' AND type = 'identify' ? [(concat(tenant, '\0a', anonymous_id), 'link', 'anonymous', event_id, link_to)] : [],
            user_id != '' AND address != '' AND address != user_id ? [(concat(tenant, '\0u', address), 'link', 'email', event_id, link_to)] : [],
            user_id != '' AND previous_id != '' AND type = 'alias' ? [(concat(tenant, '\0a', previous_id), 'link', 'alias', event_id, link_to)] : [],
            user_id != '' AND previous_id != '' AND type = 'alias' AND previous_id != user_id ? [(concat(tenant, '\0u', previous_id), 'link', 'alias', event_id, link_to)] : [],
            type = 'group' AND group_id != '' ? arrayPushBack(arrayMap((trait, text) -> (concat(tenant, '\0g', group_id), 'trait', trait, none, concat(rank, text)), mapKeys(trait_values), mapValues(trait_values)), (concat(tenant, '\0g', group_id), 'event', '', none, '')) : []
        )) AS fact
    FROM profile_feed
);

CREATE MATERIALIZED VIEW profile_members_of_feed TO profile_members
AS SELECT tenant, member.1 AS id, member.2 AS space, member.3 = '' ? '' : concat(tenant, '\0', member.3) AS node, at AS first, at AS last
FROM
(
    WITH
        lowerUTF8(trimBoth(email)) AS address,
        multiIf(user_id != '', (user_id, 'user', concat('u', user_id)), anonymous_id != '', (anonymous_id, 'anonymous', concat('a', anonymous_id)), (address, 'user', concat('u', address))) AS own,
        own.1 != '' ? [own] : [] AS always
    SELECT
        tenant,
        timestamp AS at,
        arrayJoin(arrayConcat(multiIf(
            type = 'identify' AND user_id != '' AND anonymous_id != '', arrayPushBack(always, (user_id, 'user', concat('a', anonymous_id))),
            type = 'alias' AND user_id != '' AND previous_id != '', arrayConcat(always, [(user_id, 'user', concat('a', previous_id)), (user_id, 'user', concat('u', previous_id))]),
            type = 'group' AND group_id != '', arrayConcat(always, [(group_id, 'group', ''), (group_id, 'group', own.1 != '' ? own.3 : '')]),
            always), user_id != '' AND address != '' ? [(user_id, 'user', concat('u', address))] : [])) AS member
    FROM profile_feed
);

-- Fast for `WHERE tenant = … AND user_id = …`: members are read by that, and facts by their nodes.
CREATE VIEW users
AS SELECT
    tenant,
    user_id,
    CAST(concat('{', arrayStringConcat(arrayMap((trait, text) -> concat(toJSONString(trait), ':', substring(text, 49)), mapKeys(newest), mapValues(newest)), ','), '}'), 'JSON(max_dynamic_paths = 16)') AS traits,
    anonymous_ids,
    emails,
    first_seen,
    last_seen,
    events
FROM
(
    SELECT
        tenant,
        user_id,
        maxMap(node_traits) AS newest,
        arraySort(groupArrayIf(anonymous_id, anonymous_id != '')) AS anonymous_ids,
        arraySort(groupUniqArrayArray(node_emails)) AS emails,
        minIf(node_first, node_events > 0) AS first_seen,
        maxIf(node_last, node_events > 0) AS last_seen,
        sum(node_events) AS events
    FROM
    (
        SELECT
            members.tenant AS tenant,
            members.id AS user_id,
            members.space = 'anonymous' AS of_anonymous,
            members.node AS member_node,
            maxMapIf(map(facts.name, facts.latest), facts.kind = 'trait') AS node_traits,
            groupUniqArrayIf(facts.name, facts.kind = 'email') AS node_emails,
            minIf(facts.first, facts.kind = 'event') AS node_first,
            maxIf(facts.last, facts.kind = 'event') AS node_last,
            uniqExactIf(facts.event_id, facts.kind = 'event') AS node_events,
            substring(maxIf(facts.latest, facts.kind IN ('link', 'settled')), 17) AS root,
            substring(member_node, length(members.tenant) + 2, 1) = 'a' AND countIf(facts.kind = 'event' OR (facts.kind = 'link' AND facts.name = 'anonymous')) > 0 ? substring(member_node, length(members.tenant) + 3) : '' AS anonymous_id
        FROM profile_members AS members
        INNER JOIN profile_facts AS facts ON members.node = facts.node
        WHERE members.space != 'group'
        GROUP BY tenant, user_id, of_anonymous, member_node
        HAVING root = (of_anonymous ? '' : user_id) OR (root = '' AND member_node = concat(tenant, '\0u', user_id))
    )
    GROUP BY tenant, user_id, of_anonymous
    HAVING events > 0
)
SETTINGS join_algorithm = 'direct', input_format_try_infer_dates = 0, input_format_try_infer_datetimes = 0, input_format_json_read_bools_as_numbers = 0, input_format_json_read_bools_as_strings = 0, input_format_json_read_numbers_as_strings = 0, type_json_skip_duplicated_paths = 1;

CREATE VIEW group_members
AS SELECT tenant, group_id, member_id AS user_id, min(node_first) AS first_seen, max(node_last) AS last_seen
FROM
(
    SELECT
        members.tenant AS tenant,
        members.id AS group_id,
        members.node AS member_node,
        min(members.first) AS node_first,
        max(members.last) AS node_last,
        substring(maxIf(facts.latest, facts.kind IN ('link', 'settled')), 17) AS root,
        root = '' AND substring(member_node, length(members.tenant) + 2, 1) = 'a' AS is_anonymous,
        root != '' ? root : substring(member_node, length(members.tenant) + 3) AS member_id
    FROM profile_members AS members
    LEFT JOIN profile_facts AS facts ON members.node = facts.node
    WHERE members.space = 'group' AND members.node != ''
    GROUP BY tenant, group_id, member_node
)
GROUP BY tenant, group_id, is_anonymous, user_id
SETTINGS join_algorithm = 'direct';

CREATE VIEW groups
AS SELECT
    tenant,
    group_id,
    CAST(concat('{', arrayStringConcat(arrayMap((trait, text) -> concat(toJSONString(trait), ':', substring(text, 49)), mapKeys(newest), mapValues(newest)), ','), '}'), 'JSON(max_dynamic_paths = 16)') AS traits,
    members,
    first_seen,
    last_seen
FROM
(
    SELECT
        counted.tenant AS tenant,
        counted.group_id AS group_id,
        any(counted.members) AS members,
        any(counted.first_seen) AS first_seen,
        any(counted.last_seen) AS last_seen,
        maxMapIf(map(facts.name, facts.latest), facts.kind = 'trait') AS newest
    FROM
    (
        SELECT tenant, group_id, concat(tenant, '\0g', group_id) AS node, uniqExactIf(member, member != '') AS members, min(node_first) AS first_seen, max(node_last) AS last_seen
        FROM
        (
            SELECT
                members.tenant AS tenant,
                members.id AS group_id,
                members.node AS member_node,
                min(members.first) AS node_first,
                max(members.last) AS node_last,
                substring(maxIf(facts.latest, facts.kind IN ('link', 'settled')), 17) AS root,
                root != '' ? concat(tenant, '\0u', root) : member_node AS member
            FROM profile_members AS members
            LEFT JOIN profile_facts AS facts ON members.node = facts.node
            WHERE members.space = 'group'
            GROUP BY tenant, group_id, member_node
        )
        GROUP BY tenant, group_id
    ) AS counted
    INNER JOIN profile_facts AS facts ON counted.node = facts.node
    GROUP BY tenant, group_id
)
SETTINGS join_algorithm = 'direct', input_format_try_infer_dates = 0, input_format_try_infer_datetimes = 0, input_format_json_read_bools_as_numbers = 0, input_format_json_read_bools_as_strings = 0, input_format_json_read_numbers_as_strings = 0, type_json_skip_duplicated_paths = 1;

CREATE VIEW identity_links
AS SELECT
    splitByChar('\0', node)[1] AS tenant,
    name AS kind,
    substring(node, length(tenant) + 3) AS from_id,
    substring(latest, 17) AS user_id,
    min(first) AS at,
    argMin(facts.event_id, (first, facts.event_id)) AS event_id
FROM profile_facts AS facts
WHERE facts.kind = 'link'
GROUP BY tenant, name, from_id, user_id;
