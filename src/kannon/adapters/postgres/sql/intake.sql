-- What the gateway accepts.

-- name: take_key
-- Whoever takes a key second waits here until the first has ended, and gets no row. A key whose time is over is
-- free, though it was not deleted yet.
INSERT INTO idempotency_keys (domain, key, content_hash, answer, created_at)
VALUES (%(domain)s, %(key)s, %(content_hash)s, %(answer)b, %(at)s)
ON CONFLICT (domain, key) DO UPDATE SET
    content_hash = EXCLUDED.content_hash, answer = EXCLUDED.answer, created_at = EXCLUDED.created_at
WHERE idempotency_keys.created_at <= %(over)s
RETURNING key

-- name: answered
SELECT domain, key, content_hash, answer, created_at AS at FROM idempotency_keys
WHERE domain = %(domain)s AND key = %(key)s AND created_at > %(over)s

-- name: accept
-- A Batch; its body and transient Template only where a body came with the call, its Deliveries where they are few
-- (two round trips less than with COPY).
WITH new_body AS (
    INSERT INTO bodies (domain, html, text, syntax, css_inlined)
    SELECT %(domain)s, %(html)s::text, %(text)s::text, %(syntax)s, %(css_inlined)s WHERE %(html)s::text IS NOT NULL
    RETURNING number
), template AS (
    INSERT INTO templates (template_id, domain, type, body)
    SELECT %(template_id)s, %(domain)s, 'transient', number FROM new_body
), message AS (
    INSERT INTO messages (message_id, domain, sender_email, sender_alias, subject, template_id, body, global_fields,
                          recipients, scheduled_at, traceparent, tracking, attachments, options)
    VALUES (%(message_id)s, %(domain)s, %(sender_email)s, %(sender_alias)s, %(subject)s, %(template_id)s,
            coalesce(%(body)s::bigint, (SELECT number FROM new_body)), %(global_fields)s, %(recipients)s,
            %(scheduled_at)s, %(traceparent)s, %(tracking)s, %(attachments)s, %(options)s)
    RETURNING number
), few AS (
    INSERT INTO deliveries (batch, seq, email, fields, due_at, expires_at, tracking)
    SELECT message.number, recipient.place - 1, recipient.email, recipient.fields, %(scheduled_at)s, %(expires_at)s,
           recipient.tracking
    FROM message, unnest(%(emails)s::text[], %(fields)s::jsonb[], %(trackings)s::smallint[])
         WITH ORDINALITY AS recipient (email, fields, tracking, place)
)
SELECT number FROM message

-- name: many_deliveries
COPY deliveries (batch, seq, email, fields, due_at, expires_at, tracking) FROM STDIN

-- name: announced
-- The tick may have begun a later announcement meanwhile: that one stands.
UPDATE messages m SET announcement = 1, announced_seq = marked.announced_seq, announced_at = now(),
    left_alone_until = now() + interval '30 seconds'
FROM unnest(%(batches)s::bigint[], %(announced_seqs)s::integer[]) AS marked (number, announced_seq)
WHERE m.number = marked.number AND m.announcement <= 1 AND m.announced_seq < marked.announced_seq
