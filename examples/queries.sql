-- Questions to the tables that millrace fills. Each statement stands alone:
--   curl 'http://127.0.0.1:8123/?database=millrace' --data-binary "<statement> FORMAT PrettyCompact"
-- or, with ClickHouse's own client, all at once: clickhouse client --database millrace --queries-file examples/queries.sql
--
-- properties, traits and context are JSON columns: properties.total is the path "total", of whatever type each event sent.
--   properties.total.:Float64                       only values that came as fractions: 99.5, but not 99
--   properties.total::Float64                       converts each value, and fails at "n/a"
--   accurateCastOrNull(properties.total, 'Float64') converts each value; what is no number is NULL

-- Active people by day. user_key is the user id, or the anonymous id before there was one.
SELECT toDate(timestamp) AS day, uniqExact(user_key) AS people, uniqExactIf(user_key, user_id != '') AS signed_in, count() AS events
FROM events
GROUP BY day
ORDER BY day DESC
LIMIT 30;

-- Revenue by day and currency. events holds every event once: no FINAL, no distinct.
SELECT
    toDate(timestamp) AS day,
    properties.currency.:String AS currency,
    count() AS orders,
    round(sum(accurateCastOrNull(properties.total, 'Float64')), 2) AS revenue,
    round(revenue / orders, 2) AS average
FROM events
WHERE type = 'track' AND event = 'Order Completed'
GROUP BY day, currency
ORDER BY day DESC, revenue DESC
LIMIT 100;

-- How far people get within an hour, from the product to the order: the number that reached each step.
SELECT
    ['1 Product Viewed', '2 Product Added', '3 Checkout Started', '4 Order Completed'][step] AS reached,
    countIf(furthest >= step) AS people,
    round(100 * people / max(people) OVER (), 1) AS percent
FROM
(
    SELECT user_key, windowFunnel(3600)(toDateTime(timestamp), event = 'Product Viewed', event = 'Product Added', event = 'Checkout Started', event = 'Order Completed') AS furthest
    FROM events
    WHERE type = 'track'
    GROUP BY user_key
)
ARRAY JOIN [1, 2, 3, 4] AS step
GROUP BY step
ORDER BY step;

-- Best-selling products: properties.products is an array of objects, one row for each of which ARRAY JOIN makes.
SELECT
    line.name.:String AS product,
    sum(accurateCastOrNull(line.quantity, 'UInt32')) AS pieces,
    round(sum(accurateCastOrNull(line.quantity, 'Float64') * accurateCastOrNull(line.price, 'Float64')), 2) AS revenue
FROM events
ARRAY JOIN properties.products[] AS line
WHERE type = 'track' AND event = 'Order Completed'
GROUP BY product
ORDER BY revenue DESC
LIMIT 20;

-- What could not be stored, and why. payload has the exact bytes that came.
SELECT code, source, topic, count() AS letters, max(at) AS last, any(detail) AS for_example, substring(any(payload), 1, 80) AS begins
FROM dead_letters
WHERE status = 'open'
GROUP BY code, source, topic
ORDER BY letters DESC;

-- Duplicates by hour: records whose event was there already, because a client or a network sent it again.
SELECT toStartOfHour(at) AS hour, countIf(outcome = 'duplicate') AS duplicates, countIf(outcome = 'conflict') AS same_id_other_content, uniqExact(event_id) AS events
FROM outcomes
WHERE outcome IN ('duplicate', 'conflict')
GROUP BY hour
ORDER BY hour DESC
LIMIT 48;

-- How long events took from the door to the table, by minute.
SELECT
    toStartOfMinute(received_at) AS minute,
    count() AS events,
    quantiles(0.5, 0.95, 1)(dateDiff('millisecond', received_at, stored_at)) AS half_most_all_ms
FROM events
GROUP BY minute
ORDER BY minute DESC
LIMIT 60;
