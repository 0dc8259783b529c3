-- All that is kept of one Recipient of a Domain: shown, and erased. Addresses have no index (ADR 17), so the Domain's
-- Batches are walked through, oldest first.

-- name: batches
SELECT number, recipients, created_at FROM messages
WHERE domain = %(domain)s AND (created_at, number) > (%(after_time)s, %(after)s)
ORDER BY created_at, number LIMIT %(limit)s

-- name: deliveries
SELECT d.batch, d.seq, m.message_id, d.email, d.status, d.attempts, d.fields, d.due_at, d.expires_at
FROM deliveries d JOIN messages m ON m.number = d.batch
WHERE d.batch = ANY(%(batches)s) AND lower(d.email) = ANY(%(spellings)s)
ORDER BY d.batch, d.seq

-- name: outcomes
SELECT s.batch, s.seq, s.message_id, s.email, s.timestamp AS at, s.type, s.attempt, s.data, s.machine
FROM unnest(%(batches)s::bigint[], %(seqs)s::integer[]) AS wanted (batch, seq)
JOIN stats s ON s.batch = wanted.batch AND s.seq = wanted.seq
ORDER BY s.batch, s.seq, s.timestamp

-- name: hold
SELECT batch, seq, status, first_emitted_at IS NULL AS untouched FROM deliveries
WHERE batch = ANY(%(batches)s) AND lower(email) = ANY(%(spellings)s)
ORDER BY batch, seq FOR UPDATE

-- name: erase_deliveries
UPDATE deliveries d SET email = %(erased)s, fields = NULL,
    status = CASE WHEN d.status = ANY(%(waiting)s::text[]) THEN 'cancelled' ELSE d.status END
FROM unnest(%(batches)s::bigint[], %(seqs)s::integer[]) AS gone (batch, seq)
WHERE d.batch = gone.batch AND d.seq = gone.seq

-- name: erase_outcomes
UPDATE stats s SET email = %(erased)s, data = s.data - %(personal)s::text[]
FROM unnest(%(batches)s::bigint[], %(seqs)s::integer[]) AS gone (batch, seq)
WHERE s.batch = gone.batch AND s.seq = gone.seq

-- name: reports
-- What is told in them is a stranger's, so spellings may differ in more than is looked for here.
SELECT number, at, kind, domain, told, sender FROM reports
WHERE domain = %(domain)s AND (
    EXISTS (SELECT 1 FROM jsonb_array_elements(told) AS one WHERE lower(one ->> 'address') = ANY(%(spellings)s))
    OR EXISTS (SELECT 1 FROM jsonb_array_elements(deliveries) AS one
               JOIN unnest(%(batches)s::bigint[], %(seqs)s::integer[]) AS gone (batch, seq)
               ON gone.batch = (one ->> 'batch')::bigint AND gone.seq = (one ->> 'seq')::integer))
ORDER BY number

-- name: drop_reports
DELETE FROM reports WHERE number = ANY(%(numbers)s)

-- name: webhook_deliveries
SELECT d.number, d.webhook, d.event_id, d.type, d.recipient, d.body, d.created_at, d.state
FROM webhooks w JOIN webhook_deliveries d ON d.webhook = w.id
WHERE w.domain = %(domain)s AND lower(d.recipient) = ANY(%(spellings)s)
ORDER BY d.number

-- name: drop_webhook_deliveries
DELETE FROM webhook_deliveries d USING webhooks w
WHERE d.webhook = w.id AND w.domain = %(domain)s AND lower(d.recipient) = ANY(%(spellings)s)

-- name: suppressions
SELECT * FROM suppressions WHERE domain = %(domain)s AND address = ANY(%(addresses)s)

-- name: drop_suppression
DELETE FROM suppressions WHERE domain = %(domain)s AND address = %(address)s

-- name: soft_bounces
SELECT batch, seq, at FROM soft_bounces WHERE domain = %(domain)s AND address = %(address)s ORDER BY at

-- name: drop_soft_bounces
DELETE FROM soft_bounces WHERE domain = %(domain)s AND address = %(address)s
