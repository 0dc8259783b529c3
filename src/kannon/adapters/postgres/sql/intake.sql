-- What the gateway accepts.

-- name: accept
-- A Batch; its transient Template only where a body came with the call, its Deliveries where they are few
-- (two round trips less than with COPY).
WITH template AS (
    INSERT INTO templates (template_id, domain, type, html)
    SELECT %(template_id)s, %(domain)s, 'transient', %(template_html)s::text
    WHERE %(template_html)s::text IS NOT NULL
), message AS (
    INSERT INTO messages (message_id, domain, sender_email, sender_alias, subject, template_id, global_fields,
                          recipients, scheduled_at, traceparent)
    VALUES (%(message_id)s, %(domain)s, %(sender_email)s, %(sender_alias)s, %(subject)s, %(template_id)s,
            %(global_fields)s, %(recipients)s, %(scheduled_at)s, %(traceparent)s)
    RETURNING number
), few AS (
    INSERT INTO deliveries (batch, seq, email, fields, due_at, expires_at)
    SELECT message.number, recipient.place - 1, recipient.email, recipient.fields, %(scheduled_at)s, %(expires_at)s
    FROM message, unnest(%(emails)s::text[], %(fields)s::jsonb[]) WITH ORDINALITY AS recipient (email, fields, place)
)
SELECT number FROM message

-- name: many_deliveries
COPY deliveries (batch, seq, email, fields, due_at, expires_at) FROM STDIN

-- name: announced
-- The tick may have begun a later announcement meanwhile: that one stands.
UPDATE messages SET announcement = 1, announced_seq = recipients, announced_at = now()
WHERE number = ANY(%(batches)s::bigint[]) AND announcement <= 1 AND announced_seq < recipients
