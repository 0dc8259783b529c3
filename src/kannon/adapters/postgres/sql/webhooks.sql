-- Webhooks, and what is owed to them: the ledger is the queue. Those that are deleted are gone for everyone but `forget`.

-- name: add
-- Not more than a Domain may have, also by calls that come at once.
WITH domain AS MATERIALIZED (
    SELECT name FROM domains WHERE name = %(domain)s FOR NO KEY UPDATE
)
INSERT INTO webhooks (id, domain, url, types, description, created_at, secret)
SELECT %(id)s, name, %(url)s, %(types)s::text[], %(description)s, %(now)s, %(secret)s FROM domain
WHERE (SELECT count(*) FROM webhooks WHERE domain = %(domain)s AND deleted_at IS NULL) < %(most)s
RETURNING *

-- name: webhook
SELECT * FROM webhooks WHERE id = %(id)s AND domain = %(domain)s AND deleted_at IS NULL

-- name: of_domain
SELECT * FROM webhooks WHERE domain = %(domain)s AND deleted_at IS NULL ORDER BY created_at, id

-- name: delete
UPDATE webhooks SET deleted_at = %(now)s
WHERE id = %(id)s AND domain = %(domain)s AND deleted_at IS NULL
RETURNING *

-- name: rotate
UPDATE webhooks SET old_secret = secret, old_secret_until = %(old_until)s, secret = %(secret)s
WHERE id = %(id)s AND domain = %(domain)s AND deleted_at IS NULL
RETURNING *

-- name: wake
-- Someone asked for a post: it is made now, whatever is known of the endpoint.
UPDATE webhooks SET suspended_at = NULL, suspended_for = '', rest_until = %(now)s
WHERE id = %(id)s AND domain = %(domain)s AND deleted_at IS NULL
RETURNING *

-- name: owe_one
-- In front of all else that is due.
INSERT INTO webhook_deliveries (webhook, event_id, type, recipient, body, created_at, due_at, give_up_at)
VALUES (%(webhook)s, %(event_id)s, %(type)s, '', %(body)s, %(now)s, %(first)s, %(give_up_at)s)
RETURNING *

-- name: redeliver
UPDATE webhook_deliveries SET state = 'owed', due_at = %(first)s, give_up_at = %(give_up_at)s
WHERE webhook = %(webhook)s AND number = %(number)s
RETURNING *

-- name: redeliver_failed
WITH chosen AS (
    SELECT number FROM webhook_deliveries
    WHERE webhook = %(webhook)s AND state = 'failed' AND created_at >= %(since)s
    ORDER BY number LIMIT %(most)s FOR UPDATE SKIP LOCKED
)
UPDATE webhook_deliveries d SET state = 'owed', due_at = %(now)s, give_up_at = %(give_up_at)s
FROM chosen WHERE d.number = chosen.number

-- name: log
SELECT * FROM webhook_deliveries
WHERE webhook = %(webhook)s AND number < %(before)s AND (%(state)s = '' OR state = %(state)s)
ORDER BY number DESC LIMIT %(limit)s

-- name: wanting
-- Which of these Domains have a webhook for this type: mostly none.
SELECT DISTINCT domain FROM webhooks
WHERE domain = ANY(%(domains)s) AND deleted_at IS NULL AND suspended_at IS NULL
  AND (types = '{}' OR %(type)s = ANY(types))

-- name: owe
-- Each event once for each webhook that wants it, of what happened since that was made; clocks may differ a little.
INSERT INTO webhook_deliveries (webhook, event_id, type, recipient, body, created_at, due_at, give_up_at)
SELECT w.id, e ->> 1, %(type)s, e ->> 2, e ->> 3, %(now)s, %(now)s, %(give_up_at)s
FROM jsonb_array_elements(%(events)s::jsonb) AS e JOIN webhooks w ON w.domain = e ->> 0
WHERE w.deleted_at IS NULL AND w.suspended_at IS NULL AND (w.types = '{}' OR %(type)s = ANY(w.types))
  AND (e ->> 4)::timestamptz >= w.created_at - interval '1 minute'
ORDER BY w.id, e ->> 1
ON CONFLICT DO NOTHING

-- name: claim
-- What is due, of each endpoint no more than may be under way at once, and in turns: who has much of it delays nobody.
-- Endpoints in trouble are claimed for by themselves. Only webhooks to which something is owed are looked at, from one to
-- the next by index, and no more of them locked than can get something.
WITH RECURSIVE owing AS (
    (SELECT webhook FROM webhook_deliveries WHERE due_at IS NOT NULL ORDER BY webhook LIMIT 1)
    UNION ALL
    SELECT (SELECT d.webhook FROM webhook_deliveries d WHERE d.due_at IS NOT NULL AND d.webhook > owing.webhook
            ORDER BY d.webhook LIMIT 1)
    FROM owing WHERE owing.webhook IS NOT NULL
), open AS MATERIALIZED (
    SELECT w.id, coalesce((%(under_way)s::jsonb ->> w.id)::integer, 0) AS under_way
    FROM owing JOIN webhooks w ON w.id = owing.webhook
    WHERE w.deleted_at IS NULL AND w.suspended_at IS NULL AND w.rest_until <= %(now)s
      AND (w.is_slow OR w.failures >= %(troubled_from)s) = %(troubled)s
      AND EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.webhook = w.id AND d.due_at <= %(now)s)
    ORDER BY under_way, random() LIMIT %(limit)s
), held AS MATERIALIZED (
    SELECT due.number, open.under_way + row_number() OVER (PARTITION BY open.id ORDER BY due.due_at) AS turn
    FROM open CROSS JOIN LATERAL (
        SELECT number, due_at FROM webhook_deliveries
        WHERE webhook = open.id AND due_at <= %(now)s
        ORDER BY due_at LIMIT greatest(%(per_endpoint)s - open.under_way, 0) FOR UPDATE SKIP LOCKED
    ) AS due
), chosen AS (
    SELECT number FROM held ORDER BY turn LIMIT %(limit)s
), claimed AS (
    UPDATE webhook_deliveries d
    SET attempts = d.attempts + 1, due_at = %(lease_end)s
    FROM chosen WHERE d.number = chosen.number
    RETURNING d.number, d.webhook, d.event_id, d.body, d.attempts, d.give_up_at
)
SELECT claimed.*, w.url, w.domain, w.secret,
       CASE WHEN w.old_secret_until > %(now)s THEN w.old_secret END AS old_secret
FROM claimed JOIN webhooks w ON w.id = claimed.webhook

-- name: hold
-- Writing to the log goes on meanwhile.
SELECT * FROM webhooks WHERE id = ANY(%(ids)s::text[]) ORDER BY id FOR NO KEY UPDATE

-- name: note_health
UPDATE webhooks w SET failures = (h ->> 1)::integer, failing_since = (h ->> 2)::timestamptz,
    rest_until = (h ->> 3)::timestamptz, is_slow = (h ->> 4)::boolean, suspended_at = (h ->> 5)::timestamptz,
    suspended_for = h ->> 6
FROM jsonb_array_elements(%(healths)s::jsonb) AS h WHERE w.id = h ->> 0

-- name: note_results
-- A try that counted as lost says nothing against a later one; that it arrived it does say.
UPDATE webhook_deliveries d SET state = r ->> 2, due_at = (r ->> 3)::timestamptz,
    last_attempt_at = %(now)s, status = (r ->> 4)::integer, error = r ->> 5, milliseconds = (r ->> 6)::integer
FROM jsonb_array_elements(%(results)s::jsonb) AS r
WHERE d.number = (r ->> 0)::bigint AND (d.attempts = (r ->> 1)::integer OR (r ->> 2) = 'delivered')

-- name: give_up
-- What was tried for long enough, or waits for an endpoint that was given up. A try under way may still say that it arrived.
WITH over AS (
    SELECT number FROM webhook_deliveries
    WHERE due_at IS NOT NULL AND give_up_at <= %(now)s
    ORDER BY give_up_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), lost AS (
    SELECT waiting.number FROM webhooks w CROSS JOIN LATERAL (
        SELECT number FROM webhook_deliveries
        WHERE webhook = w.id AND due_at IS NOT NULL
        ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) AS waiting
    WHERE w.suspended_at IS NOT NULL AND w.deleted_at IS NULL
)
UPDATE webhook_deliveries d SET state = 'failed', due_at = NULL,
    error = CASE WHEN d.number IN (SELECT number FROM lost) THEN 'suspended' WHEN error = '' THEN 'expired' ELSE error END
WHERE d.number IN (SELECT number FROM over UNION SELECT number FROM lost)

-- name: forget
-- What is older than it may be, and what is left of webhooks that were deleted.
DELETE FROM webhook_deliveries WHERE number IN (
    SELECT number FROM (
        SELECT number FROM webhook_deliveries WHERE created_at < %(before)s AND due_at IS NULL
        ORDER BY created_at LIMIT %(limit)s
    ) AS old
    UNION ALL
    SELECT number FROM (
        SELECT d.number FROM webhooks w JOIN webhook_deliveries d ON d.webhook = w.id
        WHERE w.deleted_at IS NOT NULL LIMIT %(limit)s
    ) AS orphaned
)

-- name: drop
DELETE FROM webhooks w WHERE deleted_at IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.webhook = w.id)
