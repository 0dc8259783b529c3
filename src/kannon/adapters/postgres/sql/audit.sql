-- Decisions about calls.

-- name: write
INSERT INTO audit_records (at, procedure, decision, reason, domain, key_id, role, client, attribution, trace, count)
SELECT at, procedure, decision, reason, domain, key_id, role, client, attribution, trace, count
FROM jsonb_to_recordset(%(records)s::jsonb) AS given (
    at timestamptz, procedure text, decision text, reason text, domain text, key_id text, role text, client text,
    attribution text, trace text, count integer)

-- name: page
-- Newest first, by the index of the Domain or the primary key; of what a filter leaves out no more than so many are
-- looked at.
SELECT * FROM (
    SELECT * FROM audit_records
    WHERE (at, number) < (%(before_at)s, %(before_number)s) AND at >= %(since)s AND at < %(until)s
      AND (%(domain)s = '' OR domain = %(domain)s)
    ORDER BY at DESC, number DESC LIMIT %(looked_at)s) AS looked
WHERE (%(procedure)s = '' OR right(procedure, length(%(procedure)s)) = %(procedure)s)
  AND (%(decision)s = '' OR decision = %(decision)s)
  AND (%(key_id)s = '' OR key_id = %(key_id)s) AND (%(client)s = '' OR client = %(client)s)
ORDER BY at DESC, number DESC LIMIT %(limit)s

-- name: last_looked_at
SELECT at, number FROM audit_records
WHERE (at, number) < (%(before_at)s, %(before_number)s) AND at >= %(since)s AND at < %(until)s
  AND (%(domain)s = '' OR domain = %(domain)s)
ORDER BY at DESC, number DESC OFFSET %(looked_at)s - 1 LIMIT 1

-- name: forget
-- Several gateways do this at the same time.
DELETE FROM audit_records WHERE (at, number) IN (
    SELECT at, number FROM audit_records WHERE at < %(before)s
    ORDER BY at, number LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
