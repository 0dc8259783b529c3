-- Statistics of a Domain. Ranges are half-open: the start is in, the end is not. What machines opened and clicked is
-- left out.

-- name: total
SELECT count(*) AS total FROM stats
WHERE domain = %(domain)s AND timestamp >= %(start)s AND timestamp < %(end)s AND machine = ''

-- name: rows
-- Outcomes of one moment in the order of their primary key, so that pages never overlap.
SELECT message_id, domain, email, timestamp AS at, type, data, mode FROM stats
WHERE domain = %(domain)s AND timestamp >= %(start)s AND timestamp < %(end)s AND machine = ''
ORDER BY timestamp, batch, seq, type, attempt, id
LIMIT %(take)s OFFSET %(skip)s

-- name: counts
-- What is in the rollups, and what is still to come to them.
WITH known AS (
    SELECT each.type, r.start AS hour, each.count FROM rollups r CROSS JOIN LATERAL (VALUES
        ('accepted', accepted), ('rejected', rejected), ('delivered', delivered), ('error', deferred), ('bounced', bounced),
        ('failed', failed), ('complained', complained), ('opened', opened), ('clicked', clicked)) AS each (type, count)
    WHERE domain = %(domain)s AND dimension = 'all' AND grain = 'hour' AND start >= %(start)s AND start < %(end)s
    UNION ALL
    SELECT split_part(measure, '_', 1), hour, count FROM rollup_deltas
    WHERE domain = %(domain)s AND hour >= %(start)s AND hour < %(end)s AND right(measure, 8) <> '_machine'
)
SELECT type, hour, sum(count)::bigint AS count FROM known
GROUP BY type, hour HAVING sum(count) > 0
ORDER BY hour, type COLLATE "C"
