-- What the tick does for the statistics.

-- name: alone
SELECT pg_try_advisory_xact_lock(hashtext('kannon rollups')) AS got

-- name: learn_providers
-- Of opens and clicks, and of what was only accepted, nobody knows the exchanger: it is the one that took the mail.
INSERT INTO providers (recipient_domain, provider)
SELECT DISTINCT ON (recipient_domain) recipient_domain, provider
FROM (SELECT * FROM rollup_deltas LIMIT %(limit)s) AS waiting
WHERE provider <> '' AND recipient_domain <> ''
ORDER BY recipient_domain, provider
ON CONFLICT (recipient_domain) DO UPDATE SET provider = EXCLUDED.provider WHERE providers.provider <> EXCLUDED.provider

-- name: merge
-- Days and months that are summed up already take what comes late.
WITH grains AS (
    SELECT 'hour' AS grain, timestamptz 'infinity' AS until UNION ALL SELECT grain, until FROM rollup_grains
), taken AS (
    DELETE FROM rollup_deltas WHERE ctid = ANY(ARRAY(SELECT ctid FROM rollup_deltas LIMIT %(limit)s))
    RETURNING *
), known AS MATERIALIZED (
    SELECT t.domain, t.hour, t.batch, coalesce(m.template_id, '') AS template, t.recipient_domain,
           coalesce(nullif(t.provider, ''), p.provider, '') AS provider, t.category, t.measure, t.bucket,
           sum(t.count) AS count
    FROM taken t LEFT JOIN messages m ON m.number = t.batch
    LEFT JOIN providers p ON p.recipient_domain = t.recipient_domain
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
), by_value AS MATERIALIZED (
    SELECT k.domain, each.dimension, k.hour, each.value, k.measure, sum(k.count) AS count
    FROM known k CROSS JOIN LATERAL (VALUES
        ('all', ''), ('template', k.template), ('recipient_domain', k.recipient_domain), ('provider', k.provider),
        ('category', k.category)) AS each (dimension, value)
    WHERE each.dimension <> 'category' OR each.value <> ''
    GROUP BY 1, 2, 3, 4, 5
), values_merged AS (
    INSERT INTO rollups AS r (domain, dimension, grain, start, value,
        accepted, rejected, delivered, deferred, bounced, bounced_late, failed, complained,
        opened, opened_first, opened_rowless, opened_machine, clicked, clicked_first, clicked_rowless, clicked_machine)
    SELECT domain, dimension, grain, date_trunc(grain, hour, 'UTC'), value, 
           coalesce(sum(count) FILTER (WHERE measure = 'accepted'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'rejected'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'delivered'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'error'), 0),
           coalesce(sum(count) FILTER (WHERE measure IN ('bounced', 'bounced_late')), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'bounced_late'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'failed'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'complained'), 0),
           coalesce(sum(count) FILTER (WHERE measure IN ('opened', 'opened_first', 'opened_rowless')), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'opened_first'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'opened_rowless'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'opened_machine'), 0),
           coalesce(sum(count) FILTER (WHERE measure IN ('clicked', 'clicked_first', 'clicked_rowless')), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'clicked_first'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'clicked_rowless'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'clicked_machine'), 0)
    FROM by_value JOIN grains ON hour < until
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (domain, dimension, grain, start, value) DO UPDATE SET 
        accepted = r.accepted + EXCLUDED.accepted, rejected = r.rejected + EXCLUDED.rejected,
        delivered = r.delivered + EXCLUDED.delivered, deferred = r.deferred + EXCLUDED.deferred,
        bounced = r.bounced + EXCLUDED.bounced, bounced_late = r.bounced_late + EXCLUDED.bounced_late,
        failed = r.failed + EXCLUDED.failed, complained = r.complained + EXCLUDED.complained,
        opened = r.opened + EXCLUDED.opened, opened_first = r.opened_first + EXCLUDED.opened_first,
        opened_rowless = r.opened_rowless + EXCLUDED.opened_rowless, opened_machine = r.opened_machine + EXCLUDED.opened_machine,
        clicked = r.clicked + EXCLUDED.clicked, clicked_first = r.clicked_first + EXCLUDED.clicked_first,
        clicked_rowless = r.clicked_rowless + EXCLUDED.clicked_rowless, clicked_machine = r.clicked_machine + EXCLUDED.clicked_machine
), batches_merged AS (
    INSERT INTO batch_rollups AS r (batch, start,
        accepted, rejected, delivered, deferred, bounced, bounced_late, failed, complained,
        opened, opened_first, opened_rowless, opened_machine, clicked, clicked_first, clicked_rowless, clicked_machine)
    SELECT batch, hour, 
           coalesce(sum(count) FILTER (WHERE measure = 'accepted'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'rejected'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'delivered'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'error'), 0),
           coalesce(sum(count) FILTER (WHERE measure IN ('bounced', 'bounced_late')), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'bounced_late'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'failed'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'complained'), 0),
           coalesce(sum(count) FILTER (WHERE measure IN ('opened', 'opened_first', 'opened_rowless')), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'opened_first'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'opened_rowless'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'opened_machine'), 0),
           coalesce(sum(count) FILTER (WHERE measure IN ('clicked', 'clicked_first', 'clicked_rowless')), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'clicked_first'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'clicked_rowless'), 0),
           coalesce(sum(count) FILTER (WHERE measure = 'clicked_machine'), 0)
    FROM known GROUP BY 1, 2
    ON CONFLICT (batch, start) DO UPDATE SET 
        accepted = r.accepted + EXCLUDED.accepted, rejected = r.rejected + EXCLUDED.rejected,
        delivered = r.delivered + EXCLUDED.delivered, deferred = r.deferred + EXCLUDED.deferred,
        bounced = r.bounced + EXCLUDED.bounced, bounced_late = r.bounced_late + EXCLUDED.bounced_late,
        failed = r.failed + EXCLUDED.failed, complained = r.complained + EXCLUDED.complained,
        opened = r.opened + EXCLUDED.opened, opened_first = r.opened_first + EXCLUDED.opened_first,
        opened_rowless = r.opened_rowless + EXCLUDED.opened_rowless, opened_machine = r.opened_machine + EXCLUDED.opened_machine,
        clicked = r.clicked + EXCLUDED.clicked, clicked_first = r.clicked_first + EXCLUDED.clicked_first,
        clicked_rowless = r.clicked_rowless + EXCLUDED.clicked_rowless, clicked_machine = r.clicked_machine + EXCLUDED.clicked_machine
), latencies_merged AS (
    INSERT INTO rollup_latencies AS r (domain, dimension, grain, start, value, bucket, count)
    SELECT k.domain, each.dimension, grain, date_trunc(grain, k.hour, 'UTC'), each.value, k.bucket, sum(k.count)
    FROM known k CROSS JOIN LATERAL (VALUES ('all', ''), ('template', k.template), ('provider', k.provider))
         AS each (dimension, value)
    JOIN grains ON k.hour < until
    WHERE k.bucket IS NOT NULL
    GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (domain, dimension, grain, start, value, bucket) DO UPDATE SET count = r.count + EXCLUDED.count
), batch_latencies_merged AS (
    INSERT INTO batch_latencies AS r (batch, bucket, count)
    SELECT batch, bucket, sum(count) FROM known WHERE bucket IS NOT NULL GROUP BY 1, 2
    ON CONFLICT (batch, bucket) DO UPDATE SET count = r.count + EXCLUDED.count
)
SELECT count(*) AS merged FROM taken

-- name: grains
SELECT grain, until FROM rollup_grains

-- name: sum_up
-- In the order of the key: these rows are read together, and seldom written again.
INSERT INTO rollups (domain, dimension, grain, start, value,
    accepted, rejected, delivered, deferred, bounced, bounced_late, failed, complained, opened, opened_first,
    opened_rowless, opened_machine, clicked, clicked_first, clicked_rowless, clicked_machine)
SELECT domain, dimension, %(grain)s, date_trunc(%(grain)s, start, 'UTC'), value,
       sum(accepted), sum(rejected), sum(delivered), sum(deferred), sum(bounced), sum(bounced_late), sum(failed),
       sum(complained), sum(opened), sum(opened_first), sum(opened_rowless), sum(opened_machine), sum(clicked),
       sum(clicked_first), sum(clicked_rowless), sum(clicked_machine)
FROM domains CROSS JOIN (VALUES ('all'), ('template'), ('recipient_domain'), ('provider'), ('category')) AS each (name)
CROSS JOIN LATERAL
    (SELECT * FROM rollups
     WHERE domain = domains.name AND dimension = each.name AND grain = %(of)s
       AND start >= %(since)s AND start < %(until)s) AS parts
GROUP BY 1, 2, 4, 5 ORDER BY 1, 2, 4, 5

-- name: sum_up_latencies
INSERT INTO rollup_latencies (domain, dimension, grain, start, value, bucket, count)
SELECT domain, dimension, %(grain)s, date_trunc(%(grain)s, start, 'UTC'), value, bucket, sum(count)
FROM domains CROSS JOIN (VALUES ('all'), ('template'), ('provider')) AS each (name)
CROSS JOIN LATERAL
    (SELECT * FROM rollup_latencies
     WHERE domain = domains.name AND dimension = each.name AND grain = %(of)s
       AND start >= %(since)s AND start < %(until)s) AS parts
GROUP BY 1, 2, 4, 5, 6 ORDER BY 1, 2, 4, 5, 6

-- name: summed_up
UPDATE rollup_grains SET until = %(until)s WHERE grain = %(grain)s

-- name: be_quick
-- A partition is made and dropped under locks for which others wait: if they cannot be had soon, then later.
SELECT set_config('lock_timeout', '200ms', true)

-- name: make_month
SELECT make_stats_month(%(at)s)

-- name: drop_month
SELECT drop_stats_month(%(over)s) AS dropped

-- name: forget_elsewhen
DELETE FROM stats_elsewhen WHERE ctid = ANY(ARRAY(SELECT ctid FROM stats_elsewhen WHERE timestamp < %(over)s LIMIT %(limit)s))

-- name: forget_firsts
DELETE FROM stats_firsts WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM stats_firsts WHERE timestamp < %(over)s ORDER BY timestamp LIMIT %(limit)s FOR UPDATE SKIP LOCKED))

-- name: forget_engagements
DELETE FROM engagements_seen WHERE id IN (
    SELECT id FROM engagements_seen WHERE seen_at < %(unremembered)s ORDER BY seen_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED)
