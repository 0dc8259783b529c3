-- Looks at Deliveries. Nothing is locked. Addresses have no index (ADR 17).

-- name: snapshot
-- Ledger and statistics as they were at one moment: they are written together.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: reach_rows_by_index
-- Plans are kept: one that was made while the partition of a month was empty would read all of it later.
SELECT set_config('enable_seqscan', 'off', true)

-- name: batch
SELECT number FROM messages WHERE message_id = %(message_id)s AND domain = %(domain)s

-- name: extent
SELECT number AS batch, recipients FROM messages WHERE number = %(batch)s AND domain = %(domain)s

-- name: extents
-- Batches of a Domain, newest first, from the one where the last look ended; if that is gone, so are older ones.
SELECT number AS batch, recipients FROM messages
WHERE domain = %(domain)s AND created_at >= %(since)s
  AND (created_at, number) <= (
      CASE WHEN %(start)s::bigint IS NULL THEN 'infinity'
           ELSE coalesce((SELECT created_at FROM messages WHERE number = %(start)s AND domain = %(domain)s), '-infinity')
      END, coalesce(%(start)s::bigint, 0))
ORDER BY created_at DESC, number DESC
LIMIT %(limit)s

-- name: page
-- By primary key: of each slice no more than the page may hold, and none is looked at beyond its end.
SELECT d.batch, d.seq, d.email, d.status, d.attempts, d.due_at, d.expires_at,
       (SELECT message_id FROM messages WHERE number = d.batch) AS message_id,
       (SELECT cancelled_at FROM messages WHERE number = d.batch AND d.status = 'cancelled') AS cancelled_at
FROM unnest(%(batches)s::bigint[], %(firsts)s::integer[], %(ends)s::integer[])
     WITH ORDINALITY AS slice (batch, first, "end", place)
CROSS JOIN LATERAL
    (SELECT * FROM deliveries
     WHERE batch = slice.batch AND seq >= slice.first AND seq < slice."end"
       AND (%(email)s::text IS NULL OR email = %(email)s) AND (%(status)s::text IS NULL OR status = %(status)s)
     ORDER BY seq LIMIT %(limit)s) AS d
ORDER BY slice.place, d.seq
LIMIT %(limit)s

-- name: outcomes
-- Of each Delivery the last ones: who opens a mail every day must not make an answer that is too large to read.
SELECT s.batch, s.seq, s.message_id, s.domain, s.email, s.timestamp AS at, s.type, s.data, s.mode
FROM unnest(%(batches)s::bigint[], %(seqs)s::integer[]) AS wanted (batch, seq)
CROSS JOIN LATERAL
    (SELECT * FROM stats WHERE batch = wanted.batch AND seq = wanted.seq AND machine = ''
     ORDER BY timestamp DESC, attempt DESC, type DESC LIMIT %(each)s) AS s
ORDER BY s.timestamp, s.attempt, s.type

-- name: total
SELECT count(*) AS total FROM deliveries
WHERE batch = (SELECT number FROM messages WHERE number = %(batch)s AND domain = %(domain)s)
  AND (%(email)s::text IS NULL OR email = %(email)s) AND (%(status)s::text IS NULL OR status = %(status)s)
