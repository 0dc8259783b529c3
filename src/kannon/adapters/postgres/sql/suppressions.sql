-- Addresses that a Domain does not send to.

-- name: suppress
-- The caller gives each address once, and in the order of (domain, address): so none waits for another in a circle.
-- The stronger reason stays, and lasts as long as either does; what has expired counts for nothing. What changes by
-- that is put into the outbox, as many to an event as it may hold.
WITH written AS (
    INSERT INTO suppressions AS known (domain, address, reason, source, created_at, expires_at, message_id, detail)
    SELECT n ->> 0, n ->> 1, n ->> 2, n ->> 3, (n ->> 4)::timestamptz, (n ->> 5)::timestamptz, n ->> 6, n ->> 7
    FROM jsonb_array_elements(%(suppressions)s::jsonb) AS n
    ON CONFLICT (domain, address) DO UPDATE SET
        (reason, source, created_at, message_id, detail) = (
            SELECT stays.reason, stays.source, stays.created_at, stays.message_id, stays.detail
            FROM (VALUES
                (true, EXCLUDED.reason, EXCLUDED.source, EXCLUDED.created_at, EXCLUDED.message_id, EXCLUDED.detail),
                (false, known.reason, known.source, known.created_at, known.message_id, known.detail)
            ) AS stays (is_new, reason, source, created_at, message_id, detail)
            WHERE stays.is_new = (
                coalesce(known.expires_at <= %(now)s, false)
                OR array_position(%(weakest_first)s::text[], EXCLUDED.reason)
                   > array_position(%(weakest_first)s::text[], known.reason))),
        expires_at = CASE
            WHEN known.expires_at <= %(now)s THEN EXCLUDED.expires_at
            WHEN known.expires_at IS NULL OR EXCLUDED.expires_at IS NULL THEN NULL
            ELSE greatest(known.expires_at, EXCLUDED.expires_at) END
    WHERE known.expires_at <= %(now)s
       OR array_position(%(weakest_first)s::text[], EXCLUDED.reason)
          > array_position(%(weakest_first)s::text[], known.reason)
       OR coalesce(EXCLUDED.expires_at, 'infinity') > coalesce(known.expires_at, 'infinity')
    RETURNING *
), told AS (
    INSERT INTO outbox (outcome, facts)
    SELECT 'suppression.added', jsonb_agg(jsonb_build_object(
        'domain', domain, 'address', address, 'reason', reason, 'source', source, 'created_at', created_at,
        'expires_at', expires_at, 'message_id', message_id, 'detail', detail) ORDER BY domain, address)
    FROM (SELECT *, (row_number() OVER (ORDER BY domain, address) - 1) / %(per_event)s AS event FROM written) AS numbered
    GROUP BY event ORDER BY event
)
SELECT count(*) AS written FROM written

-- name: note_soft_bounces
INSERT INTO soft_bounces (domain, address, batch, seq, at)
SELECT n ->> 0, n ->> 1, (n ->> 2)::bigint, (n ->> 3)::integer, (n ->> 4)::timestamptz
FROM jsonb_array_elements(%(bounces)s::jsonb) AS n
ON CONFLICT DO NOTHING

-- name: count_soft_bounces
SELECT (SELECT count(*) FROM soft_bounces s
        WHERE s.domain = n ->> 0 AND s.address = n ->> 1
          AND s.at <= (n ->> 4)::timestamptz AND s.at > (n ->> 4)::timestamptz - %(window)s::interval) AS count
FROM jsonb_array_elements(%(bounces)s::jsonb) WITH ORDINALITY AS asked (n, place)
ORDER BY place

-- name: remove
-- Its soft bounces, too: else the next one would suppress it again.
WITH removed AS (
    DELETE FROM suppressions
    WHERE domain = %(domain)s AND address = %(address)s AND (expires_at IS NULL OR expires_at > %(now)s)
    RETURNING *
), forgotten AS (
    DELETE FROM soft_bounces WHERE domain = %(domain)s AND address = %(address)s
), told AS (
    INSERT INTO outbox (outcome, facts)
    SELECT 'suppression.removed', jsonb_agg(jsonb_build_object(
        'domain', domain, 'address', address, 'reason', reason, 'source', source, 'created_at', created_at,
        'expires_at', expires_at, 'message_id', message_id, 'detail', detail))
    FROM removed HAVING count(*) > 0
)
SELECT * FROM removed

-- name: suppression
SELECT * FROM suppressions
WHERE domain = %(domain)s AND address = %(address)s AND (expires_at IS NULL OR expires_at > %(now)s)

-- name: any
SELECT EXISTS (SELECT 1 FROM suppressions WHERE domain = %(domain)s) AS found

-- name: reasons
SELECT address, reason FROM suppressions
WHERE domain = %(domain)s AND address = ANY(ARRAY(SELECT jsonb_array_elements_text(%(addresses)s::jsonb)))
  AND (expires_at IS NULL OR expires_at > %(now)s)

-- name: go_by_key
-- A table that was not analysed yet, after a large import, would be read whole and sorted for each page.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
       set_config('enable_sort', 'off', true)

-- name: page
-- In the order of the primary key; of what a filter leaves out no more than so many are looked at.
SELECT * FROM (
    SELECT * FROM suppressions
    WHERE domain = %(domain)s AND address > %(after)s AND address >= %(first)s AND address < %(end)s
    ORDER BY address LIMIT %(looked_at)s) AS looked
WHERE (expires_at IS NULL OR expires_at > %(now)s) AND created_at >= %(since)s
  AND (%(reason)s::text IS NULL OR reason = %(reason)s)
ORDER BY address LIMIT %(limit)s

-- name: last_looked_at
SELECT address FROM suppressions
WHERE domain = %(domain)s AND address > %(after)s AND address >= %(first)s AND address < %(end)s
ORDER BY address OFFSET %(looked_at)s - 1 LIMIT 1
