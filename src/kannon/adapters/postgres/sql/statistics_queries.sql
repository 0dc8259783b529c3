-- Counts from the rollups and from what is still to come to them, in one statement each: so nothing is missed or
-- counted twice while it is merged. Single Events from the partitions.

-- name: snapshot
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: reach_rows_by_index
-- Plans are kept: one that was made while the partition of a month was empty would read all of it later.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true)

-- name: numbers
SELECT number, message_id FROM messages WHERE message_id = ANY(%(values)s::text[]) AND domain = %(domain)s

-- name: grains
SELECT grain, until FROM rollup_grains

-- name: span
-- Outside of it there is nothing to count.
SELECT least((SELECT min(start) FROM rollups WHERE domain = %(domain)s AND dimension = 'all' AND grain = 'hour'),
             (SELECT min(hour) FROM rollup_deltas WHERE domain = %(domain)s)) AS first,
       greatest((SELECT max(start) FROM rollups WHERE domain = %(domain)s AND dimension = 'all' AND grain = 'hour'),
                (SELECT max(hour) FROM rollup_deltas WHERE domain = %(domain)s)) AS last

-- name: breakdown
WITH known AS (
    SELECT r.value, r.accepted, r.rejected, r.delivered, r.deferred, r.bounced, r.bounced_late, r.failed, r.complained,
           r.opened, r.opened_first, r.opened_machine, r.clicked, r.clicked_first, r.clicked_machine
    FROM unnest(%(grains)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS piece (grain, start, "end")
    CROSS JOIN LATERAL
        (SELECT * FROM rollups
         WHERE domain = %(domain)s AND dimension = %(dimension)s AND grain = piece.grain
           AND start >= piece.start AND start < piece."end"
           AND (%(values)s::text[] IS NULL OR value = ANY(%(values)s::text[]))) AS r
    UNION ALL
    SELECT w.value, w.accepted, w.rejected, w.delivered, w.deferred, w.bounced, w.bounced_late, w.failed, w.complained,
           w.opened, w.opened_first, w.opened_machine, w.clicked, w.clicked_first, w.clicked_machine
    FROM waiting_counts(%(domain)s, %(dimension)s) AS w
    WHERE w.hour >= %(first)s AND w.hour < %(last)s
      AND (%(values)s::text[] IS NULL OR w.value = ANY(%(values)s::text[]))
)
SELECT value, sum(accepted)::bigint AS accepted, sum(rejected)::bigint AS rejected, sum(delivered)::bigint AS delivered,
       sum(deferred)::bigint AS deferred, sum(bounced)::bigint AS bounced, sum(bounced_late)::bigint AS late_bounced,
       sum(failed)::bigint AS failed, sum(complained)::bigint AS complained, sum(opened)::bigint AS opened,
       sum(opened_first)::bigint AS unique_opened, sum(opened_machine)::bigint AS machine_opened,
       sum(clicked)::bigint AS clicked, sum(clicked_first)::bigint AS unique_clicked,
       sum(clicked_machine)::bigint AS machine_clicked
FROM known GROUP BY value
ORDER BY sum(delivered + bounced - bounced_late + failed) DESC, value COLLATE "C"
LIMIT %(take)s

-- name: breakdown_of_batches
WITH known AS (
    SELECT r.batch, r.accepted, r.rejected, r.delivered, r.deferred, r.bounced, r.bounced_late, r.failed, r.complained,
           r.opened, r.opened_first, r.opened_machine, r.clicked, r.clicked_first, r.clicked_machine
    FROM unnest(%(batches)s::bigint[]) AS wanted (batch) JOIN batch_rollups r ON r.batch = wanted.batch
    WHERE r.start >= %(first)s AND r.start < %(last)s
    UNION ALL
    SELECT w.batch, w.accepted, w.rejected, w.delivered, w.deferred, w.bounced, w.bounced_late, w.failed, w.complained,
           w.opened, w.opened_first, w.opened_machine, w.clicked, w.clicked_first, w.clicked_machine
    FROM waiting_counts(%(domain)s, 'all') AS w
    WHERE w.batch = ANY(%(batches)s::bigint[]) AND w.hour >= %(first)s AND w.hour < %(last)s
)
SELECT batch, sum(accepted)::bigint AS accepted, sum(rejected)::bigint AS rejected, sum(delivered)::bigint AS delivered,
       sum(deferred)::bigint AS deferred, sum(bounced)::bigint AS bounced, sum(bounced_late)::bigint AS late_bounced,
       sum(failed)::bigint AS failed, sum(complained)::bigint AS complained, sum(opened)::bigint AS opened,
       sum(opened_first)::bigint AS unique_opened, sum(opened_machine)::bigint AS machine_opened,
       sum(clicked)::bigint AS clicked, sum(clicked_first)::bigint AS unique_clicked,
       sum(clicked_machine)::bigint AS machine_clicked
FROM known GROUP BY batch
ORDER BY sum(delivered + bounced - bounced_late + failed) DESC, batch
LIMIT %(take)s

-- name: series
-- Days (UTC) that are summed up and lie in one interval are read as such, the others by the hour. Each value is reached
-- by its key: other values of the same time are many.
WITH days AS (
    SELECT day, date_trunc(%(interval)s, day, %(zone)s) = date_trunc(%(interval)s, day + interval '23 hours', %(zone)s) AS whole
    FROM generate_series(%(days_from)s::timestamptz, %(days_to)s::timestamptz - interval '1 hour', interval '24 hours') AS day
), spans AS (
    SELECT 'day' AS grain, day AS start FROM days WHERE whole
    UNION ALL
    SELECT 'hour', hour FROM days CROSS JOIN generate_series(day, day + interval '23 hours', interval '1 hour') AS hour
    WHERE NOT whole
    UNION ALL
    SELECT 'hour', generate_series(%(first)s::timestamptz, %(days_from)s::timestamptz - interval '1 hour', interval '1 hour')
    UNION ALL
    SELECT 'hour', generate_series(%(days_to)s::timestamptz, %(last)s::timestamptz - interval '1 hour', interval '1 hour')
), known AS (
    SELECT r.start, r.value, r.accepted, r.rejected, r.delivered, r.deferred, r.bounced, r.bounced_late, r.failed,
           r.complained, r.opened, r.opened_first, r.opened_machine, r.clicked, r.clicked_first, r.clicked_machine
    FROM spans AS span
    CROSS JOIN unnest(%(values)s::text[]) AS wanted (value)
    CROSS JOIN LATERAL
        (SELECT * FROM rollups
         WHERE domain = %(domain)s AND dimension = %(dimension)s AND grain = span.grain AND start = span.start
           AND value = wanted.value LIMIT 1) AS r
    UNION ALL
    SELECT w.hour, w.value, w.accepted, w.rejected, w.delivered, w.deferred, w.bounced, w.bounced_late, w.failed,
           w.complained, w.opened, w.opened_first, w.opened_machine, w.clicked, w.clicked_first, w.clicked_machine
    FROM waiting_counts(%(domain)s, %(dimension)s) AS w
    WHERE w.hour >= %(first)s AND w.hour < %(last)s AND w.value = ANY(%(values)s::text[])
)
SELECT date_trunc(%(interval)s, start, %(zone)s) AS start, value,
       sum(accepted)::bigint AS accepted, sum(rejected)::bigint AS rejected, sum(delivered)::bigint AS delivered,
       sum(deferred)::bigint AS deferred, sum(bounced)::bigint AS bounced, sum(bounced_late)::bigint AS late_bounced,
       sum(failed)::bigint AS failed, sum(complained)::bigint AS complained, sum(opened)::bigint AS opened,
       sum(opened_first)::bigint AS unique_opened, sum(opened_machine)::bigint AS machine_opened,
       sum(clicked)::bigint AS clicked, sum(clicked_first)::bigint AS unique_clicked,
       sum(clicked_machine)::bigint AS machine_clicked
FROM known GROUP BY 1, 2 ORDER BY 1, value COLLATE "C"

-- name: series_of_batches
WITH known AS (
    SELECT r.start, r.batch, r.accepted, r.rejected, r.delivered, r.deferred, r.bounced, r.bounced_late, r.failed,
           r.complained, r.opened, r.opened_first, r.opened_machine, r.clicked, r.clicked_first, r.clicked_machine
    FROM unnest(%(batches)s::bigint[]) AS wanted (batch) JOIN batch_rollups r ON r.batch = wanted.batch
    WHERE r.start >= %(first)s AND r.start < %(last)s
    UNION ALL
    SELECT w.hour, w.batch, w.accepted, w.rejected, w.delivered, w.deferred, w.bounced, w.bounced_late, w.failed,
           w.complained, w.opened, w.opened_first, w.opened_machine, w.clicked, w.clicked_first, w.clicked_machine
    FROM waiting_counts(%(domain)s, 'all') AS w
    WHERE w.batch = ANY(%(batches)s::bigint[]) AND w.hour >= %(first)s AND w.hour < %(last)s
)
SELECT date_trunc(%(interval)s, start, %(zone)s) AS start, batch,
       sum(accepted)::bigint AS accepted, sum(rejected)::bigint AS rejected, sum(delivered)::bigint AS delivered,
       sum(deferred)::bigint AS deferred, sum(bounced)::bigint AS bounced, sum(bounced_late)::bigint AS late_bounced,
       sum(failed)::bigint AS failed, sum(complained)::bigint AS complained, sum(opened)::bigint AS opened,
       sum(opened_first)::bigint AS unique_opened, sum(opened_machine)::bigint AS machine_opened,
       sum(clicked)::bigint AS clicked, sum(clicked_first)::bigint AS unique_clicked,
       sum(clicked_machine)::bigint AS machine_clicked
FROM known GROUP BY 1, 2 ORDER BY 1, 2

-- name: latencies
WITH known AS (
    SELECT r.value, r.bucket, r.count
    FROM unnest(%(grains)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS piece (grain, start, "end")
    CROSS JOIN LATERAL
        (SELECT * FROM rollup_latencies
         WHERE domain = %(domain)s AND dimension = %(dimension)s AND grain = piece.grain
           AND start >= piece.start AND start < piece."end"
           AND (%(values)s::text[] IS NULL OR value = ANY(%(values)s::text[]))) AS r
    UNION ALL
    SELECT w.value, w.bucket, w.delivered FROM waiting_counts(%(domain)s, %(dimension)s) AS w
    WHERE w.bucket IS NOT NULL AND w.hour >= %(first)s AND w.hour < %(last)s
      AND (%(values)s::text[] IS NULL OR w.value = ANY(%(values)s::text[]))
), summed AS (
    SELECT value, bucket, sum(count)::bigint AS count FROM known GROUP BY value, bucket
), totalled AS (
    SELECT value, bucket, count, sum(count) OVER (PARTITION BY value) AS total FROM summed
), ranked AS (
    SELECT value, bucket, count, dense_rank() OVER (ORDER BY total DESC, value COLLATE "C") AS rank FROM totalled
)
SELECT value, bucket, count FROM ranked WHERE rank <= %(take)s ORDER BY rank, bucket

-- name: latencies_of_batches
WITH known AS (
    SELECT r.batch, r.bucket, r.count FROM batch_latencies r WHERE r.batch = ANY(%(batches)s::bigint[])
    UNION ALL
    SELECT w.batch, w.bucket, w.delivered FROM waiting_counts(%(domain)s, 'all') AS w
    WHERE w.bucket IS NOT NULL AND w.batch = ANY(%(batches)s::bigint[])
)
SELECT batch, bucket, sum(count)::bigint AS count FROM known GROUP BY 1, 2 ORDER BY 1, 2

-- name: timeline
SELECT batch, seq, message_id, domain, email, timestamp AS at, type, attempt, data, id, machine, mode FROM stats
WHERE batch = %(batch)s AND seq = %(seq)s AND domain = %(domain)s
ORDER BY timestamp DESC, attempt DESC, type DESC, id DESC LIMIT %(take)s

-- name: events
SELECT batch, seq, message_id, domain, email, timestamp AS at, type, attempt, data, id, machine, mode FROM stats
WHERE domain = %(domain)s AND timestamp >= %(start)s AND timestamp < %(end)s AND timestamp <= %(at)s
  AND (timestamp, batch, seq, type, attempt, id)
      < (%(at)s, %(batch)s::bigint, %(seq)s::integer, %(after_type)s, %(attempt)s::smallint, %(id)s)
ORDER BY timestamp DESC, batch DESC, seq DESC, type DESC, attempt DESC, id DESC LIMIT %(take)s

-- name: events_of_type
SELECT batch, seq, message_id, domain, email, timestamp AS at, type, attempt, data, id, machine, mode FROM stats
WHERE domain = %(domain)s AND type = %(type)s
  AND timestamp >= %(start)s AND timestamp < %(end)s AND timestamp <= %(at)s
  AND (timestamp, batch, seq, type, attempt, id)
      < (%(at)s, %(batch)s::bigint, %(seq)s::integer, %(after_type)s, %(attempt)s::smallint, %(id)s)
ORDER BY timestamp DESC, batch DESC, seq DESC, type DESC, attempt DESC, id DESC LIMIT %(take)s

-- name: events_of_recipient
SELECT batch, seq, message_id, domain, email, timestamp AS at, type, attempt, data, id, machine, mode FROM stats
WHERE email = %(email)s AND domain = %(domain)s AND (%(type)s = '' OR type = %(type)s)
  AND (%(message_id)s = '' OR message_id = %(message_id)s)
  AND timestamp >= %(start)s AND timestamp < %(end)s AND timestamp <= %(at)s
  AND (timestamp, batch, seq, type, attempt, id)
      < (%(at)s, %(batch)s::bigint, %(seq)s::integer, %(after_type)s, %(attempt)s::smallint, %(id)s)
ORDER BY timestamp DESC, batch DESC, seq DESC, type DESC, attempt DESC, id DESC LIMIT %(take)s

-- name: events_of_batch
-- By primary key, and no further than so many Deliveries.
SELECT batch, seq, message_id, domain, email, timestamp AS at, type, attempt, data, id, machine, mode FROM stats
WHERE batch = %(of_batch)s AND seq >= %(seq)s::integer AND seq < %(before)s::integer
  AND (seq, type, attempt, timestamp, id)
      > (%(seq)s::integer, %(after_type)s, %(attempt)s::smallint, %(at)s, %(id)s)
  AND (%(type)s = '' OR type = %(type)s) AND timestamp >= %(start)s AND timestamp < %(end)s
ORDER BY seq, type, attempt, timestamp, id LIMIT %(take)s

-- name: batch
SELECT number, recipients FROM messages WHERE message_id = %(message_id)s AND domain = %(domain)s

-- name: batches
SELECT * FROM (
    SELECT number, message_id, subject, template_id, recipients, created_at AS accepted_at FROM messages
    WHERE domain = %(domain)s AND created_at >= %(start)s AND created_at < %(end)s
      AND (%(after)s::bigint IS NULL OR (created_at, number) < (
          SELECT created_at, number FROM messages WHERE number = %(after)s AND domain = %(domain)s))
    ORDER BY created_at DESC, number DESC LIMIT %(looked_at)s) AS looked
WHERE position(lower(%(subject)s) IN lower(subject)) > 0
ORDER BY accepted_at DESC, number DESC LIMIT %(take)s

-- name: last_looked_at
SELECT number FROM messages
WHERE domain = %(domain)s AND created_at >= %(start)s AND created_at < %(end)s
  AND (%(after)s::bigint IS NULL OR (created_at, number) < (
      SELECT created_at, number FROM messages WHERE number = %(after)s AND domain = %(domain)s))
ORDER BY created_at DESC, number DESC OFFSET %(looked_at)s - 1 LIMIT 1
