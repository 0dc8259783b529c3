-- Statistics of a Domain. Ranges are half-open: the start is in, the end is not. What machines opened and clicked is
-- left out.

-- name: snapshot
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: reach_rows_by_index
-- Plans are kept: one that was made while the partition of a month was empty would read all of it later.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)

-- name: kept_since
-- When the oldest month begins that is still there; older rows are few, and in no month.
SELECT min(to_timestamp(right(c.relname, 7), 'YYYY_MM')::timestamp AT TIME ZONE 'UTC') AS since
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'stats'::regclass AND c.relname ~ '^stats_[0-9]{4}_[0-9]{2}$'

-- name: total
SELECT count(*) AS total FROM stats
WHERE domain = %(domain)s AND timestamp >= %(start)s AND timestamp < %(end)s AND machine = ''

-- name: total_of_hours
-- What whole hours have in rows, by the rollups.
SELECT (SELECT coalesce(sum(accepted + rejected + delivered + deferred + bounced + failed + complained
                            + opened - opened_rowless + clicked - clicked_rowless), 0)
        FROM unnest(%(grains)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS piece (grain, first, last)
        JOIN rollups r ON r.domain = %(domain)s AND r.dimension = 'all' AND r.grain = piece.grain
                          AND r.start >= piece.first AND r.start < piece.last)::bigint
     + (SELECT coalesce(sum(count), 0) FROM rollup_deltas
        WHERE domain = %(domain)s AND hour >= %(start)s AND hour < %(end)s
          AND right(measure, 8) NOT IN ('_machine', '_rowless'))::bigint AS total

-- name: hour_at
-- The hour that the row is in before which there are so many, and how many there are before that hour.
WITH hours AS (
    SELECT hour, sum(count) AS count FROM (
        SELECT start AS hour, accepted + rejected + delivered + deferred + bounced + failed + complained
                              + opened - opened_rowless + clicked - clicked_rowless AS count
        FROM rollups
        WHERE domain = %(domain)s AND dimension = 'all' AND grain = 'hour' AND start >= %(start)s AND start < %(end)s
        UNION ALL
        SELECT hour, count FROM rollup_deltas
        WHERE domain = %(domain)s AND hour >= %(start)s AND hour < %(end)s
          AND right(measure, 8) NOT IN ('_machine', '_rowless')) AS known
    GROUP BY hour
), running AS (
    SELECT hour, (sum(count) OVER (ORDER BY hour) - count)::bigint AS before FROM hours
)
SELECT hour, before FROM running WHERE before <= %(skip)s ORDER BY hour DESC LIMIT 1

-- name: rows
-- Outcomes of one moment in the order of their primary key, so that pages never overlap.
SELECT message_id, domain, email, timestamp AS at, type, data, mode FROM stats
WHERE domain = %(domain)s AND timestamp >= %(start)s AND timestamp < %(end)s AND machine = ''
ORDER BY timestamp, batch, seq, type, attempt, id
LIMIT %(take)s OFFSET %(skip)s

-- name: counts
-- What is in the rollups, and what is still to come to them; a column for each type, in their order.
WITH known AS (
    SELECT start AS hour, accepted, bounced, clicked, complained, delivered, deferred, failed, opened, rejected
    FROM rollups
    WHERE domain = %(domain)s AND dimension = 'all' AND grain = 'hour' AND start >= %(start)s AND start < %(end)s
    UNION ALL
    SELECT hour, accepted, bounced, clicked, complained, delivered, deferred, failed, opened, rejected
    FROM waiting_counts(%(domain)s, 'all') WHERE hour >= %(start)s AND hour < %(end)s
)
SELECT hour, sum(accepted)::bigint AS accepted, sum(bounced)::bigint AS bounced, sum(clicked)::bigint AS clicked,
       sum(complained)::bigint AS complained, sum(delivered)::bigint AS delivered, sum(deferred)::bigint AS error,
       sum(failed)::bigint AS failed, sum(opened)::bigint AS opened, sum(rejected)::bigint AS rejected
FROM known GROUP BY hour ORDER BY hour
