#!/bin/sh
# One event, a batch, and both read back, with nothing but curl. Ends non-zero where anything but 200 comes back.
#   MILLRACE_URL, MILLRACE_KEY, CLICKHOUSE_URL, CLICKHOUSE_DATABASE, CLICKHOUSE_USER and CLICKHOUSE_PASSWORD say where; without them: what `npm start` runs.
set -eu

door=${MILLRACE_URL:-http://127.0.0.1:8080}
key=${MILLRACE_KEY:-dev}
clickhouse=${CLICKHOUSE_URL:-http://127.0.0.1:8123}
database=${CLICKHOUSE_DATABASE:-millrace}
# New for each run, so that its events can be told apart.
order="order-$(date +%s)-$$"

# --fail-with-body: exit 22 on 400 and above. --retry: after 429, 503 and the like, as Retry-After says; a messageId makes that safe.
post() {
  curl --silent --show-error --fail-with-body --retry 5 --user "$key:" --header 'content-type: application/json' "$door$1" --data-binary "$2"
  echo
}

ask() {
  curl --silent --show-error --fail-with-body --user "${CLICKHOUSE_USER:-default}:${CLICKHOUSE_PASSWORD:-}" "$clickhouse/?database=$database" --data-binary "$1"
}

echo 'One event:'
post /api/v1/events '{
  "type": "track", "event": "Order Completed", "userId": "ada", "messageId": "'"$order"'-1",
  "properties": { "order_id": "'"$order"'", "total": 99.5, "currency": "EUR" }
}'

echo 'A batch of three, the last of which has no name and is refused:'
post /api/v1/events/batch '{ "batch": [
  { "type": "identify", "userId": "ada", "messageId": "'"$order"'-2", "traits": { "email": "ada@mail.example", "plan": "plus" } },
  { "type": "page", "anonymousId": "anon-1", "messageId": "'"$order"'-3", "name": "Thanks" },
  { "type": "track", "userId": "ada", "messageId": "'"$order"'-4" }
] }'

echo 'The first event again, as a retry would send it:'
post /api/v1/events '{
  "type": "track", "event": "Order Completed", "userId": "ada", "messageId": "'"$order"'-1",
  "properties": { "order_id": "'"$order"'", "total": 99.5, "currency": "EUR" }
}'

echo 'What ClickHouse has of it, a moment later:'
tries=0
while [ "$(ask "SELECT count() FROM events WHERE startsWith(message_id, '$order-')")" -lt 3 ]; do
  tries=$((tries + 1))
  if [ "$tries" -gt 60 ]; then
    echo 'the events did not arrive' >&2
    exit 1
  fi
  sleep 0.5
done
ask "SELECT type, event, user_key, properties.total, message_id FROM events WHERE startsWith(message_id, '$order-') ORDER BY message_id FORMAT TSVWithNames"
