-- Work on Deliveries. Rows are locked in the order of (batch, seq) wherever several may be locked by two
-- transactions at once, so that none waits for the other in a circle.

-- name: reach_rows_by_index
-- Plans of prepared statements are kept. One that was made while the table was small reads all of it, and
-- would do so long after it has grown (until autovacuum analyses it): 75 ms instead of 1 for 100 rows.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true)

-- name: lock_accepted
SELECT d.batch, d.seq, d.status, d.attempts, d.emission, d.email, d.fields, d.due_at, d.expires_at,
       d.answered, d.edge, d.first_emitted_at, d.tracking, m.message_id, m.domain
FROM deliveries d JOIN messages m ON m.number = d.batch
WHERE d.batch = %(batch)s AND d.seq = ANY(%(seqs)s::integer[]) AND d.status = 'accepted' AND m.cancelled_at IS NULL
ORDER BY d.batch, d.seq
FOR UPDATE OF d

-- name: lock
-- LATERAL, so that each row is reached by its key, and is locked in the order in which it is asked for.
SELECT d.batch, d.seq, d.status, d.attempts, d.emission, d.email, NULL AS fields, d.due_at, d.expires_at,
       d.answered, d.edge, d.first_emitted_at, d.tracking, m.message_id, m.domain
FROM jsonb_array_elements(%(wanted)s::jsonb) AS wanted
CROSS JOIN LATERAL
    (SELECT * FROM deliveries WHERE batch = (wanted ->> 0)::bigint AND seq = (wanted ->> 1)::integer FOR UPDATE) AS d
JOIN messages m ON m.number = d.batch

-- name: claim_fairly
-- Each tenant gets an equal share of a claim, and within a tenant each Batch. Batches are visited by number, some
-- at a time, from where the last claim ended; one probe of the index each, however long they are. Of a cancelled
-- Batch only that is claimed which may be out: its result is still to be learnt (ADR 20).
WITH RECURSIVE visited (batch, place) AS (
    (SELECT batch, 1 FROM deliveries WHERE status = 'scheduled' AND batch > %(after)s AND batch <= %(until)s
     ORDER BY batch, due_at LIMIT 1)
    UNION ALL
    SELECT next.batch, place + 1 FROM visited CROSS JOIN LATERAL
        (SELECT batch FROM deliveries
         WHERE status = 'scheduled' AND batch > visited.batch AND batch <= %(until)s
         ORDER BY batch, due_at LIMIT 1) AS next
    WHERE place < %(batches)s
), live AS (
    SELECT m.number, m.domain, m.message_id, m.cancelled_at FROM visited JOIN messages m ON m.number = visited.batch
    WHERE EXISTS (SELECT 1 FROM deliveries d
                  WHERE d.status = 'scheduled' AND d.batch = m.number AND d.due_at <= %(now)s
                    AND (m.cancelled_at IS NULL OR d.first_emitted_at IS NOT NULL))
), shares AS (
    SELECT number, domain, message_id, cancelled_at, greatest(1, %(limit)s / (
        (SELECT count(DISTINCT domain) FROM live) * count(*) OVER (PARTITION BY domain))) AS share
    FROM live ORDER BY number
)
SELECT d.batch, d.seq, d.status, d.attempts, d.emission, d.email, d.fields, d.due_at, d.expires_at,
       d.answered, d.edge, d.first_emitted_at, d.tracking, shares.message_id, shares.domain
FROM shares CROSS JOIN LATERAL
    (SELECT * FROM deliveries
     WHERE status = 'scheduled' AND batch = shares.number AND due_at <= %(now)s
       AND (shares.cancelled_at IS NULL OR first_emitted_at IS NOT NULL)
     ORDER BY due_at, seq LIMIT shares.share FOR UPDATE SKIP LOCKED) AS d
ORDER BY shares.number
LIMIT %(limit)s

-- name: claim
-- What fair shares left of a claim goes to what is due longest.
SELECT d.batch, d.seq, d.status, d.attempts, d.emission, d.email, d.fields, d.due_at, d.expires_at,
       d.answered, d.edge, d.first_emitted_at, d.tracking, m.message_id, m.domain
FROM deliveries d JOIN messages m ON m.number = d.batch
WHERE d.status = 'scheduled' AND d.due_at <= %(now)s
  AND (m.cancelled_at IS NULL OR d.first_emitted_at IS NOT NULL)
  AND (d.batch, d.seq) NOT IN (SELECT * FROM unnest(%(batches)s::bigint[], %(seqs)s::integer[]))
ORDER BY d.due_at, d.batch, d.seq
LIMIT %(limit)s
FOR UPDATE OF d SKIP LOCKED

-- name: stranded
-- In hand, but the streams that held the Envelope or its result lost data since (or do not know its sequence),
-- or no result came for a whole lease. `emitted_at` is when its transaction began: by the time that one looked at the
-- stream it may not have been published yet.
SELECT d.batch, d.seq, d.status, d.attempts, d.emission, d.email, d.fields, d.due_at, d.expires_at,
       d.answered, d.edge, d.first_emitted_at, d.tracking, m.message_id, m.domain
FROM deliveries d JOIN messages m ON m.number = d.batch
WHERE d.status = 'sending'
  AND (d.emitted_at < %(now)s - %(lease)s
       OR d.emitted_at <= (SELECT max(lost_at) FROM streams WHERE name = ANY(%(after_dispatch)s))
       OR EXISTS (SELECT 1 FROM streams s WHERE s.name = %(envelopes)s
                  AND d.published_seq > s.last_seq AND d.emitted_at < s.seen_at - %(publishing)s))
ORDER BY d.emitted_at
LIMIT %(limit)s
FOR UPDATE OF d SKIP LOCKED

-- name: in_hand
SELECT count(*) AS in_hand FROM (SELECT 1 FROM deliveries WHERE status = 'sending' LIMIT %(limit)s) AS sending

-- name: anything_due
SELECT EXISTS (SELECT 1 FROM deliveries WHERE status = 'scheduled' AND due_at <= %(now)s) AS due

-- name: move
-- What the edge has not taken, and never had by an earlier emission either, is out nowhere.
UPDATE deliveries d SET
    status = moved.status,
    attempts = moved.attempts,
    emission = moved.emission,
    due_at = moved.due_at,
    answered = d.answered OR moved.answered,
    edge = coalesce(moved.edge, d.edge),
    published_seq = coalesce(moved.published_seq, d.published_seq),
    first_emitted_at = CASE WHEN moved.emission = 0 THEN NULL
                            WHEN moved.untaken AND d.first_emitted_at = d.emitted_at THEN NULL
                            WHEN moved.emission > d.emission THEN coalesce(d.first_emitted_at, %(now)s)
                            ELSE d.first_emitted_at END,
    emitted_at = CASE WHEN moved.emission > d.emission THEN %(now)s ELSE d.emitted_at END
FROM (SELECT (m ->> 0)::bigint AS batch, (m ->> 1)::integer AS seq, m ->> 2 AS status, (m ->> 3)::smallint AS attempts,
             (m ->> 4)::integer AS emission, (m ->> 5)::timestamptz AS due_at, m ->> 6 AS edge,
             (m ->> 7)::bigint AS published_seq, (m ->> 8)::boolean AS answered, (m ->> 9)::boolean AS untaken
      FROM jsonb_array_elements(%(moves)s::jsonb) AS m) AS moved
WHERE d.batch = moved.batch AND d.seq = moved.seq

-- name: end_cancelled
-- What came back from the edge and would be tried again, but its Batch was cancelled meanwhile.
UPDATE deliveries d SET status = 'cancelled'
FROM jsonb_array_elements(%(wanted)s::jsonb) AS wanted, messages m
WHERE d.batch = (wanted ->> 0)::bigint AND d.seq = (wanted ->> 1)::integer
  AND m.number = d.batch AND m.cancelled_at IS NOT NULL
  AND d.status = ANY(%(waiting)s::text[]) AND d.first_emitted_at IS NULL

-- name: record
-- Each Outcome once, some only if they are the first of their type, and those that are told once once of a Delivery;
-- what is new is counted and put into the outbox, all or nothing.
WITH given AS MATERIALIZED (
    SELECT (o ->> 0)::bigint AS batch, (o ->> 1)::integer AS seq, o ->> 2 AS type, (o ->> 3)::smallint AS attempt,
           (o ->> 4)::timestamptz AS timestamp, o ->> 5 AS message_id, o ->> 6 AS domain, o ->> 7 AS email, o -> 8 AS data,
           (o ->> 9)::boolean AS only_first
    FROM jsonb_array_elements(%(outcomes)s::jsonb) AS o
), once AS (
    INSERT INTO stats_firsts (batch, seq, type, attempt, timestamp)
    SELECT batch, seq, type, attempt, timestamp FROM given WHERE type = ANY(%(told_once)s::text[]) ORDER BY batch, seq, type
    ON CONFLICT DO NOTHING
    RETURNING batch, seq, type, attempt, timestamp
), fresh AS (
    INSERT INTO stats (batch, seq, type, attempt, timestamp, message_id, domain, email, data)
    SELECT batch, seq, type, attempt, timestamp, message_id, domain, email, data FROM given
    WHERE CASE
        WHEN type = ANY(%(told_once)s::text[])
        THEN (batch, seq, type, attempt, timestamp) IN (SELECT batch, seq, type, attempt, timestamp FROM once)
        WHEN only_first
        THEN NOT EXISTS (SELECT 1 FROM stats s WHERE s.batch = given.batch AND s.seq = given.seq AND s.type = given.type)
        ELSE true END
    ON CONFLICT DO NOTHING
    RETURNING *
), counted AS (
    INSERT INTO rollup_deltas (domain, hour, batch, recipient_domain, provider, category, measure, bucket, count)
    SELECT f.domain, date_trunc('hour', f.timestamp, 'UTC'), f.batch, split_part(f.email, '@', -1),
           coalesce(%(providers)s::jsonb ->> (f.data ->> 'exchanger'), ''),
           coalesce(f.data ->> 'category', f.data ->> 'reason', ''),
           CASE WHEN f.type = 'bounced' AND f.data ->> 'late' = 'true' THEN 'bounced_late' ELSE f.type END,
           CASE WHEN f.type = 'delivered' THEN
               (SELECT latency_bucket(f.timestamp - greatest(m.created_at, m.scheduled_at))
                FROM messages m WHERE m.number = f.batch) END,
           count(*)
    FROM fresh f GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
)
INSERT INTO outbox (outcome, facts)
SELECT CASE type WHEN 'error' THEN 'deferred' ELSE type END,
       jsonb_agg(jsonb_build_object(
           'delivery', batch || '.' || seq, 'message_id', message_id, 'domain', domain, 'recipient', email,
           'attempt', attempt, 'at', timestamp, 'data', data,
           'traceparent', coalesce((SELECT m.traceparent FROM messages m WHERE m.number = fresh.batch), '')) ORDER BY batch, seq)
FROM fresh GROUP BY type

-- name: record_engagements
-- What is of a Delivery, or has a pseudonym, is a row with the request's id in its key; of the rest the id is
-- remembered, and so where the Recipient was erased. A first is one by a person. In the order of keys, so that none waits for another in a circle.
WITH given AS MATERIALIZED (
    SELECT e ->> 0 AS id, e ->> 1 AS type, (e ->> 2)::smallint AS mode, e ->> 3 AS domain, (e ->> 4)::bigint AS batch,
           (e ->> 5)::timestamptz AS timestamp, coalesce((e ->> 6)::integer, -1) AS seq, e ->> 7 AS pseudonym,
           e ->> 8 AS machine, e -> 9 AS data
    FROM jsonb_array_elements(%(engagements)s::jsonb) AS e
), known AS MATERIALIZED (
    SELECT given.*, coalesce(m.message_id, '') AS message_id, d.email AS address,
           coalesce(d.email, nullif(given.pseudonym, '')) AS email
    FROM given LEFT JOIN messages m ON m.number = given.batch
    LEFT JOIN deliveries d ON d.batch = given.batch AND d.seq = given.seq AND d.email <> %(erased)s
), written AS (
    INSERT INTO stats (batch, seq, type, attempt, timestamp, message_id, domain, email, data, id, machine, mode)
    SELECT batch, seq, type, 0, timestamp, message_id, domain, email, data, id, machine, mode FROM known
    WHERE email IS NOT NULL ORDER BY batch, seq, type, timestamp, id
    ON CONFLICT DO NOTHING
    RETURNING *
), noted AS (
    INSERT INTO engagements_seen (id, seen_at) SELECT id, %(now)s FROM known WHERE email IS NULL ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id
), fresh AS MATERIALIZED (
    SELECT w.batch, w.seq, w.type, w.timestamp, w.domain, w.id, w.machine, false AS rowless,
           CASE WHEN w.seq < 0 THEN w.email ELSE '' END AS pseudonym,
           CASE WHEN w.seq < 0 THEN '' ELSE split_part(w.email, '@', -1) END AS recipient_domain
    FROM written w
    UNION ALL
    SELECT DISTINCT ON (k.id) k.batch, k.seq, k.type, k.timestamp, k.domain, k.id, k.machine, true, '', ''
    FROM known k WHERE k.email IS NULL AND k.id IN (SELECT id FROM noted)
), firsts AS (
    INSERT INTO stats_firsts (batch, seq, pseudonym, type, timestamp, id)
    SELECT batch, seq, pseudonym, type, timestamp, id FROM fresh WHERE machine = '' AND NOT rowless
    ORDER BY batch, seq, pseudonym, type, timestamp
    ON CONFLICT DO NOTHING
    RETURNING id
), counted AS (
    INSERT INTO rollup_deltas (domain, hour, batch, recipient_domain, provider, category, measure, count)
    SELECT domain, date_trunc('hour', timestamp, 'UTC'), batch, recipient_domain, '', '',
           type || CASE WHEN machine <> '' THEN '_machine' WHEN rowless THEN '_rowless'
                        WHEN id IN (SELECT id FROM firsts) THEN '_first' ELSE '' END, count(*)
    FROM fresh GROUP BY 1, 2, 3, 4, 7
), told AS (
    INSERT INTO outbox (outcome, facts)
    SELECT type, jsonb_agg(jsonb_build_object(
        'delivery', CASE WHEN seq < 0 THEN '' ELSE batch || '.' || seq END, 'message_id', message_id, 'domain', domain,
        'recipient', email, 'attempt', 0, 'at', timestamp,
        'data', data || jsonb_build_object('id', id, 'mode', %(modes)s::jsonb -> mode::text, 'machine', machine),
        'traceparent', coalesce((SELECT m.traceparent FROM messages m WHERE m.number = written.batch), ''))
        ORDER BY batch, seq, timestamp)
    FROM written GROUP BY type
)
SELECT count(*) AS fresh FROM fresh

-- name: remember_engagements
INSERT INTO engagements_seen (id, seen_at) SELECT id, %(now)s FROM unnest(%(ids)s::text[]) AS id ORDER BY id
ON CONFLICT DO NOTHING
RETURNING id

-- name: reported
SELECT s.batch, s.seq, s.type FROM jsonb_array_elements(%(wanted)s::jsonb) AS wanted
CROSS JOIN LATERAL (SELECT * FROM stats_firsts WHERE batch = (wanted ->> 0)::bigint AND seq = (wanted ->> 1)::integer
                                          AND type = ANY(%(told_once)s::text[])) AS s

-- name: keep_report
WITH fresh AS (
    INSERT INTO reports (identity, at, kind, reason, domain, recipients, deliveries, told, sender, client, size, head)
    VALUES (%(identity)s, %(at)s, %(kind)s, %(reason)s, %(domain)s, %(recipients)s::jsonb, %(deliveries)s::jsonb,
            %(told)s::jsonb, %(sender)s, %(client)s, %(size)s, %(head)s)
    ON CONFLICT (identity) DO NOTHING
    RETURNING at, domain, kind
)
INSERT INTO report_counts (hour, domain, kind, count) SELECT date_trunc('hour', at, 'UTC'), domain, kind, 1 FROM fresh
ON CONFLICT (hour, domain, kind) DO UPDATE SET count = report_counts.count + 1
RETURNING 1 AS counted

-- name: batch
-- Until a Batch is moved for the first time, all its Deliveries expire at the same time.
SELECT m.number, m.message_id, m.domain, m.sender_email, m.sender_alias, m.subject, m.global_fields, m.traceparent,
       m.created_at, m.tracking, m.attachments, m.options, b.html, b.text, b.syntax, s.dkim_private_key,
       coalesce(m.retry_budget, (SELECT expires_at FROM deliveries WHERE batch = m.number ORDER BY seq LIMIT 1)
                                - m.scheduled_at, interval '0') AS retry_budget
FROM messages m JOIN bodies b ON b.number = m.body JOIN domains s ON s.name = m.domain
WHERE m.number = %(number)s

-- name: notice
-- A stream that is another one, or that went back, has lost what was published before.
INSERT INTO streams (name, created, last_seq, seen_at)
SELECT *, %(seen_at)s FROM unnest(%(names)s::text[], %(created)s::text[], %(last_seqs)s::bigint[])
ON CONFLICT (name) DO UPDATE SET
    seen_at = EXCLUDED.seen_at,
    created = EXCLUDED.created,
    last_seq = EXCLUDED.last_seq,
    lost_at = CASE WHEN streams.created <> EXCLUDED.created OR EXCLUDED.last_seq < streams.last_seq
                   THEN %(now)s ELSE streams.lost_at END

-- name: repeat_lost_announcements
-- Batches with Recipients that still wait for a verdict though the announcement was lost or is a lease old
-- begin a new announcement at the first of them.
WITH RECURSIVE waiting (batch, seq) AS (
    (SELECT batch, seq FROM deliveries WHERE status = 'accepted' ORDER BY batch, seq LIMIT 1)
    UNION ALL
    SELECT next.batch, next.seq FROM waiting CROSS JOIN LATERAL
        (SELECT batch, seq FROM deliveries WHERE status = 'accepted' AND batch > waiting.batch
         ORDER BY batch, seq LIMIT 1) AS next
)
UPDATE messages m SET announcement = greatest(m.announcement, 1) + 1, announced_seq = waiting.seq, announced_at = %(now)s,
    announcing_since = %(now)s
FROM waiting
WHERE m.number = waiting.batch AND m.announced_seq >= m.recipients AND m.cancelled_at IS NULL
  AND (m.announced_at < %(now)s - %(lease)s
       OR m.announcing_since <= (SELECT max(lost_at) FROM streams WHERE name = ANY(%(before_dispatch)s)))

-- name: unannounced
-- The gateway announces what it accepts; what it did not come back to was left over.
SELECT d.batch, greatest(m.announcement, 1) AS announcement, d.seq, d.email, m.traceparent
FROM messages m JOIN deliveries d ON d.batch = m.number AND d.seq >= m.announced_seq AND d.status = 'accepted'
WHERE m.announced_seq < m.recipients AND m.left_alone_until < %(now)s AND m.cancelled_at IS NULL
ORDER BY m.number, d.seq
LIMIT %(limit)s

-- name: nothing_left_to_announce
-- All that was still to be announced got a verdict meanwhile.
UPDATE messages m SET announced_seq = recipients, announcement = greatest(announcement, 1), announced_at = %(now)s
WHERE m.announced_seq < m.recipients AND m.left_alone_until < %(now)s
  AND NOT EXISTS (SELECT 1 FROM deliveries d
                  WHERE d.batch = m.number AND d.seq >= m.announced_seq AND d.status = 'accepted')

-- name: announced
UPDATE messages SET announced_seq = %(next_seq)s, announcement = %(announcement)s, announced_at = %(now)s
WHERE number = %(batch)s AND announced_seq < %(next_seq)s AND greatest(announcement, 1) = %(announcement)s

-- name: forget_keys
DELETE FROM idempotency_keys WHERE (domain, key) IN (
    SELECT domain, key FROM idempotency_keys WHERE created_at <= %(over)s
    ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)

-- name: forget_reports
WITH over AS (
    (SELECT number FROM reports WHERE kept_at <= %(over)s ORDER BY kept_at LIMIT %(limit)s)
    UNION ALL
    SELECT beyond.number FROM unnest(%(kinds)s::text[]) AS kinds (kind) CROSS JOIN LATERAL
        (SELECT number FROM reports WHERE kind = kinds.kind ORDER BY number DESC OFFSET %(kept)s LIMIT %(limit)s) AS beyond
)
DELETE FROM reports WHERE number IN (
    SELECT number FROM reports WHERE number IN (SELECT number FROM over) FOR UPDATE SKIP LOCKED)
