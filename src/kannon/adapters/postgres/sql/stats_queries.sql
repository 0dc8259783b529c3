-- Statistics of a Domain. Ranges are half-open: the start is in, the end is not.

-- name: total
SELECT count(*) AS total FROM stats
WHERE domain = %(domain)s AND timestamp >= %(start)s AND timestamp < %(end)s

-- name: rows
-- Outcomes of one moment in the order of their primary key, so that pages never overlap.
SELECT message_id, domain, email, timestamp AS at, type, data FROM stats
WHERE domain = %(domain)s AND timestamp >= %(start)s AND timestamp < %(end)s
ORDER BY timestamp, batch, seq, type, attempt
LIMIT %(take)s OFFSET %(skip)s

-- name: counts
SELECT type, timestamp AS hour, count FROM aggregated_stats
WHERE domain = %(domain)s AND timestamp >= %(start)s AND timestamp < %(end)s
ORDER BY timestamp, type COLLATE "C"
