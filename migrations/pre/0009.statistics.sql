-- Statistics by month, opens and clicks among them, and rollups that answer for years. Every statement may be repeated.
-- depends: 0007.emissions

-- Each table below is made beside the old `stats`, whose rows move into it.
DO $$ BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = to_regclass('stats')) = 'r' THEN
        DROP INDEX IF EXISTS stats_told_once;
        DROP INDEX IF EXISTS stats_of_domain;
        ALTER TABLE stats RENAME TO stats_before;
        ALTER INDEX stats_pkey RENAME TO stats_before_pkey;
    END IF;
END $$;

CREATE TABLE IF NOT EXISTS stats (
    batch      bigint NOT NULL,
    seq        integer NOT NULL,
    type       text NOT NULL,
    attempt    smallint NOT NULL,
    timestamp  timestamptz NOT NULL,
    message_id text NOT NULL,
    domain     text NOT NULL,
    email      text NOT NULL,
    data       jsonb NOT NULL DEFAULT '{}',
    id         text NOT NULL DEFAULT '',
    machine    text NOT NULL DEFAULT '',
    mode       smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (batch, seq, type, attempt, timestamp, id)
) PARTITION BY RANGE (timestamp);
COMMENT ON TABLE stats IS 'Every Outcome, once; a partition for each month, dropped as a whole when its time is over.';
COMMENT ON COLUMN stats.batch IS 'Number of the Batch.';
COMMENT ON COLUMN stats.seq IS 'The Delivery within it; -1 where it is not known.';
COMMENT ON COLUMN stats.type IS 'accepted, rejected, delivered, bounced, failed, error, complained, opened, clicked.';
COMMENT ON COLUMN stats.attempt IS 'The Attempt it is about; 0 before the first, and for opens and clicks.';
COMMENT ON COLUMN stats.timestamp IS 'The event''s own time.';
COMMENT ON COLUMN stats.message_id IS 'The Batch''s name on the wire.';
COMMENT ON COLUMN stats.domain IS 'The tenant.';
COMMENT ON COLUMN stats.email IS 'The Recipient, or a pseudonym.';
COMMENT ON COLUMN stats.data IS 'What this kind of Outcome knows.';
COMMENT ON COLUMN stats.id IS 'Of an open or a click: the request; empty for other types.';
COMMENT ON COLUMN stats.machine IS 'Of an open or a click: the rule by which no person did it; empty: a person.';
COMMENT ON COLUMN stats.mode IS 'Of an open or a click: the tracking mode; 0 for other types.';
CREATE INDEX IF NOT EXISTS stats_of_domain ON stats (domain, timestamp) INCLUDE (machine);
CREATE INDEX IF NOT EXISTS stats_of_type ON stats (domain, type, timestamp);
CREATE INDEX IF NOT EXISTS stats_of_recipient ON stats (email, timestamp);

CREATE TABLE IF NOT EXISTS stats_elsewhen PARTITION OF stats DEFAULT;
COMMENT ON TABLE stats_elsewhen IS 'Outcomes of months that have no partition (yet).';

CREATE OR REPLACE FUNCTION make_stats_month(at timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    first timestamp := date_trunc('month', at AT TIME ZONE 'UTC');
    name  text := 'stats_' || to_char(first, 'YYYY_MM');
    since timestamptz := first AT TIME ZONE 'UTC';
    until timestamptz := (first + interval '1 month') AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass(name) IS NOT NULL THEN RETURN false; END IF;
    PERFORM pg_advisory_xact_lock(hashtext('kannon stats months'));
    IF to_regclass(name) IS NOT NULL THEN RETURN false; END IF;
    LOCK TABLE stats_elsewhen IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE %I (LIKE stats INCLUDING ALL)', name);
    EXECUTE format('WITH moved AS (DELETE FROM stats_elsewhen WHERE timestamp >= %L AND timestamp < %L RETURNING *) '
                   'INSERT INTO %I SELECT * FROM moved', since, until, name);
    EXECUTE format('ALTER TABLE stats ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, since, until);
    RETURN true;
END $$;
COMMENT ON FUNCTION make_stats_month IS 'Makes the partition of a month (UTC), and moves its rows there; false if it is there.';

CREATE OR REPLACE FUNCTION drop_stats_month(over timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    SELECT c.relname INTO name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'stats'::regclass AND c.relname ~ '^stats_[0-9]{4}_[0-9]{2}$'
      AND (to_timestamp(right(c.relname, 7), 'YYYY_MM')::date + interval '1 month') AT TIME ZONE 'UTC' <= over
    ORDER BY c.relname LIMIT 1;
    IF name IS NOT NULL THEN EXECUTE format('DROP TABLE %I', name); END IF;
    RETURN name;
END $$;
COMMENT ON FUNCTION drop_stats_month IS 'Drops the oldest partition if its month was over by then; its name, or null.';

CREATE TABLE IF NOT EXISTS stats_firsts (
    batch     bigint NOT NULL,
    seq       integer NOT NULL,
    pseudonym text NOT NULL DEFAULT '',
    type      text NOT NULL,
    attempt   smallint NOT NULL DEFAULT 0,
    timestamp timestamptz NOT NULL,
    id        text NOT NULL DEFAULT '',
    PRIMARY KEY (batch, seq, pseudonym, type)
);
COMMENT ON TABLE stats_firsts IS 'Which Outcome of a type was a Delivery''s first: it bounces once and is complained of once, at the exchanger or later, in whatever order that comes; and the first open and click by a person count as unique.';
COMMENT ON COLUMN stats_firsts.batch IS 'As stats.batch.';
COMMENT ON COLUMN stats_firsts.seq IS 'As stats.seq.';
COMMENT ON COLUMN stats_firsts.pseudonym IS 'Instead of the Delivery, where that is not known; else empty.';
COMMENT ON COLUMN stats_firsts.type IS 'bounced, complained, opened, clicked.';
COMMENT ON COLUMN stats_firsts.attempt IS 'As stats.attempt.';
COMMENT ON COLUMN stats_firsts.timestamp IS 'As stats.timestamp; the row goes when that is too long ago.';
COMMENT ON COLUMN stats_firsts.id IS 'As stats.id.';
CREATE INDEX IF NOT EXISTS stats_firsts_by_age ON stats_firsts (timestamp);

CREATE TABLE IF NOT EXISTS engagements_seen (
    id      text PRIMARY KEY,
    seen_at timestamptz NOT NULL
);
COMMENT ON TABLE engagements_seen IS 'Opens and clicks that were counted and left no row, so that a repeat is not counted.';
COMMENT ON COLUMN engagements_seen.id IS 'Of the request.';
COMMENT ON COLUMN engagements_seen.seen_at IS 'When it was counted; it goes by age.';
CREATE INDEX IF NOT EXISTS engagements_seen_by_age ON engagements_seen (seen_at);

CREATE TABLE IF NOT EXISTS rollup_deltas (
    domain           text NOT NULL,
    hour             timestamptz NOT NULL,
    batch            bigint NOT NULL,
    recipient_domain text NOT NULL,
    provider         text NOT NULL,
    category         text NOT NULL,
    measure          text NOT NULL,
    bucket           smallint,
    count            integer NOT NULL
);
COMMENT ON TABLE rollup_deltas IS 'Counts that are not in the rollups yet; written with what they count, never changed, so nobody waits for anybody.';
COMMENT ON COLUMN rollup_deltas.domain IS 'The tenant.';
COMMENT ON COLUMN rollup_deltas.hour IS 'Its start, UTC.';
COMMENT ON COLUMN rollup_deltas.batch IS 'Number of the Batch.';
COMMENT ON COLUMN rollup_deltas.recipient_domain IS 'Of the Recipient''s address; empty where that is not known.';
COMMENT ON COLUMN rollup_deltas.provider IS 'Who runs the exchanger; empty: whoever last did for this recipient_domain.';
COMMENT ON COLUMN rollup_deltas.category IS 'Why, for what was not delivered; empty for the rest.';
COMMENT ON COLUMN rollup_deltas.measure IS 'As stats.type, or with _late (bounced), _first, _machine, _rowless (opened, clicked).';
COMMENT ON COLUMN rollup_deltas.bucket IS 'Of what was delivered: how long it took, in steps of a half power of two from 0.05 s.';
COMMENT ON COLUMN rollup_deltas.count IS 'How many.';

CREATE OR REPLACE FUNCTION latency_bucket(took interval) RETURNS smallint LANGUAGE sql IMMUTABLE AS $$
    SELECT least(48, greatest(0, ceil(2 * ln(greatest(0.001, extract(epoch FROM took)::float8) / 0.05) / ln(2::float8))))::smallint
$$;
COMMENT ON FUNCTION latency_bucket IS 'The number of the bucket: n holds what took up to 0.05 s times the root of two to the n.';

CREATE TABLE IF NOT EXISTS providers (
    recipient_domain text PRIMARY KEY,
    provider         text NOT NULL
);
COMMENT ON TABLE providers IS 'Who last ran the exchanger that took or refused mail for a recipient''s domain.';
COMMENT ON COLUMN providers.recipient_domain IS 'The domain of addresses.';
COMMENT ON COLUMN providers.provider IS 'The name of the provider.';

CREATE OR REPLACE FUNCTION waiting_counts(of_domain text, by_dimension text) RETURNS TABLE (
    hour timestamptz, batch bigint, value text, bucket smallint,
    accepted integer, rejected integer, delivered integer, deferred integer, bounced integer,
    bounced_late integer, failed integer, complained integer, opened integer, opened_first integer,
    opened_machine integer, clicked integer, clicked_first integer, clicked_machine integer
) LANGUAGE sql STABLE AS $$
    SELECT d.hour, d.batch,
           CASE by_dimension
               WHEN 'template' THEN coalesce((SELECT m.template_id FROM messages m WHERE m.number = d.batch), '')
               WHEN 'recipient_domain' THEN d.recipient_domain
               WHEN 'provider' THEN coalesce(nullif(d.provider, ''), (
                   SELECT p.provider FROM providers p WHERE p.recipient_domain = d.recipient_domain), '')
               WHEN 'category' THEN d.category
               ELSE '' END,
           d.bucket,
           CASE WHEN d.measure = 'accepted' THEN d.count ELSE 0 END,
           CASE WHEN d.measure = 'rejected' THEN d.count ELSE 0 END,
           CASE WHEN d.measure = 'delivered' THEN d.count ELSE 0 END,
           CASE WHEN d.measure = 'error' THEN d.count ELSE 0 END,
           CASE WHEN d.measure IN ('bounced', 'bounced_late') THEN d.count ELSE 0 END,
           CASE WHEN d.measure = 'bounced_late' THEN d.count ELSE 0 END,
           CASE WHEN d.measure = 'failed' THEN d.count ELSE 0 END,
           CASE WHEN d.measure = 'complained' THEN d.count ELSE 0 END,
           CASE WHEN d.measure IN ('opened', 'opened_first', 'opened_rowless') THEN d.count ELSE 0 END,
           CASE WHEN d.measure = 'opened_first' THEN d.count ELSE 0 END,
           CASE WHEN d.measure = 'opened_machine' THEN d.count ELSE 0 END,
           CASE WHEN d.measure IN ('clicked', 'clicked_first', 'clicked_rowless') THEN d.count ELSE 0 END,
           CASE WHEN d.measure = 'clicked_first' THEN d.count ELSE 0 END,
           CASE WHEN d.measure = 'clicked_machine' THEN d.count ELSE 0 END
    FROM rollup_deltas d WHERE d.domain = of_domain AND (by_dimension <> 'category' OR d.category <> '')
$$;
COMMENT ON FUNCTION waiting_counts IS 'What is still to come to the rollups of a dimension, with their columns.';

CREATE TABLE IF NOT EXISTS rollups (
    domain          text NOT NULL,
    dimension       text NOT NULL,
    grain           text NOT NULL,
    start           timestamptz NOT NULL,
    value           text NOT NULL,
    accepted        bigint NOT NULL DEFAULT 0,
    rejected        bigint NOT NULL DEFAULT 0,
    delivered       bigint NOT NULL DEFAULT 0,
    deferred        bigint NOT NULL DEFAULT 0,
    bounced         bigint NOT NULL DEFAULT 0,
    bounced_late    bigint NOT NULL DEFAULT 0,
    failed          bigint NOT NULL DEFAULT 0,
    complained      bigint NOT NULL DEFAULT 0,
    opened          bigint NOT NULL DEFAULT 0,
    opened_first    bigint NOT NULL DEFAULT 0,
    opened_rowless  bigint NOT NULL DEFAULT 0,
    opened_machine  bigint NOT NULL DEFAULT 0,
    clicked         bigint NOT NULL DEFAULT 0,
    clicked_first   bigint NOT NULL DEFAULT 0,
    clicked_rowless bigint NOT NULL DEFAULT 0,
    clicked_machine bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (domain, dimension, grain, start, value)
) PARTITION BY LIST (grain);
-- Each by itself, so that rows that are read together lie together: those of all values are few among the others.
CREATE TABLE IF NOT EXISTS rollups_of_months PARTITION OF rollups FOR VALUES IN ('month');
CREATE TABLE IF NOT EXISTS rollups_of_days PARTITION OF rollups FOR VALUES IN ('day');
CREATE TABLE IF NOT EXISTS rollups_of_hours PARTITION OF rollups FOR VALUES IN ('hour') PARTITION BY LIST (dimension);
CREATE TABLE IF NOT EXISTS rollups_of_hours_all PARTITION OF rollups_of_hours FOR VALUES IN ('all') WITH (fillfactor = 70);
CREATE TABLE IF NOT EXISTS rollups_of_hours_others PARTITION OF rollups_of_hours DEFAULT WITH (fillfactor = 80);
COMMENT ON TABLE rollups IS 'Counts by a dimension and an hour, day or month, UTC; never pruned. What is in rollup_deltas comes to it.';
COMMENT ON COLUMN rollups.domain IS 'The tenant.';
COMMENT ON COLUMN rollups.dimension IS 'By what: all, template, recipient_domain, provider, category.';
COMMENT ON COLUMN rollups.grain IS 'hour, day or month, UTC.';
COMMENT ON COLUMN rollups.start IS 'Of the hour, day or month.';
COMMENT ON COLUMN rollups.value IS 'Of the dimension; empty where it is all, or where it is not known.';
COMMENT ON COLUMN rollups.accepted IS 'Verified.';
COMMENT ON COLUMN rollups.rejected IS 'Refused before anything was sent.';
COMMENT ON COLUMN rollups.delivered IS 'Taken by an exchanger.';
COMMENT ON COLUMN rollups.deferred IS 'Tries that failed for now.';
COMMENT ON COLUMN rollups.bounced IS 'Refused for good, at the exchanger or by a report that came later.';
COMMENT ON COLUMN rollups.bounced_late IS 'Of these, by a report: they are among the delivered, too.';
COMMENT ON COLUMN rollups.failed IS 'Given up.';
COMMENT ON COLUMN rollups.complained IS 'Complained of.';
COMMENT ON COLUMN rollups.opened IS 'Opens by persons.';
COMMENT ON COLUMN rollups.opened_first IS 'Of these, a Delivery''s first, where Deliveries are told apart.';
COMMENT ON COLUMN rollups.opened_rowless IS 'Of these, those that left no row.';
COMMENT ON COLUMN rollups.opened_machine IS 'Opens by machines; not among the others.';
COMMENT ON COLUMN rollups.clicked IS 'Clicks by persons.';
COMMENT ON COLUMN rollups.clicked_first IS 'Of these, a Delivery''s first, where Deliveries are told apart.';
COMMENT ON COLUMN rollups.clicked_rowless IS 'Of these, those that left no row.';
COMMENT ON COLUMN rollups.clicked_machine IS 'Clicks by machines; not among the others.';

CREATE TABLE IF NOT EXISTS batch_rollups (
    batch           bigint NOT NULL,
    start           timestamptz NOT NULL,
    accepted        bigint NOT NULL DEFAULT 0,
    rejected        bigint NOT NULL DEFAULT 0,
    delivered       bigint NOT NULL DEFAULT 0,
    deferred        bigint NOT NULL DEFAULT 0,
    bounced         bigint NOT NULL DEFAULT 0,
    bounced_late    bigint NOT NULL DEFAULT 0,
    failed          bigint NOT NULL DEFAULT 0,
    complained      bigint NOT NULL DEFAULT 0,
    opened          bigint NOT NULL DEFAULT 0,
    opened_first    bigint NOT NULL DEFAULT 0,
    opened_rowless  bigint NOT NULL DEFAULT 0,
    opened_machine  bigint NOT NULL DEFAULT 0,
    clicked         bigint NOT NULL DEFAULT 0,
    clicked_first   bigint NOT NULL DEFAULT 0,
    clicked_rowless bigint NOT NULL DEFAULT 0,
    clicked_machine bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (batch, start)
) WITH (fillfactor = 80);
COMMENT ON TABLE batch_rollups IS 'Counts of a Batch by the hour; never pruned. What is in rollup_deltas comes to it.';
COMMENT ON COLUMN batch_rollups.batch IS 'Number of the Batch.';
COMMENT ON COLUMN batch_rollups.start IS 'Of the hour, UTC.';
COMMENT ON COLUMN batch_rollups.accepted IS 'Verified.';
COMMENT ON COLUMN batch_rollups.rejected IS 'Refused before anything was sent.';
COMMENT ON COLUMN batch_rollups.delivered IS 'Taken by an exchanger.';
COMMENT ON COLUMN batch_rollups.deferred IS 'Tries that failed for now.';
COMMENT ON COLUMN batch_rollups.bounced IS 'Refused for good, at the exchanger or by a report that came later.';
COMMENT ON COLUMN batch_rollups.bounced_late IS 'Of these, by a report: they are among the delivered, too.';
COMMENT ON COLUMN batch_rollups.failed IS 'Given up.';
COMMENT ON COLUMN batch_rollups.complained IS 'Complained of.';
COMMENT ON COLUMN batch_rollups.opened IS 'Opens by persons.';
COMMENT ON COLUMN batch_rollups.opened_first IS 'Of these, a Delivery''s first, where Deliveries are told apart.';
COMMENT ON COLUMN batch_rollups.opened_rowless IS 'Of these, those that left no row.';
COMMENT ON COLUMN batch_rollups.opened_machine IS 'Opens by machines; not among the others.';
COMMENT ON COLUMN batch_rollups.clicked IS 'Clicks by persons.';
COMMENT ON COLUMN batch_rollups.clicked_first IS 'Of these, a Delivery''s first, where Deliveries are told apart.';
COMMENT ON COLUMN batch_rollups.clicked_rowless IS 'Of these, those that left no row.';
COMMENT ON COLUMN batch_rollups.clicked_machine IS 'Clicks by machines; not among the others.';

CREATE TABLE IF NOT EXISTS rollup_latencies (
    domain    text NOT NULL,
    dimension text NOT NULL,
    grain     text NOT NULL,
    start     timestamptz NOT NULL,
    value     text NOT NULL,
    bucket    smallint NOT NULL,
    count     bigint NOT NULL,
    PRIMARY KEY (domain, dimension, grain, start, value, bucket)
) PARTITION BY LIST (grain);
CREATE TABLE IF NOT EXISTS rollup_latencies_of_months PARTITION OF rollup_latencies FOR VALUES IN ('month');
CREATE TABLE IF NOT EXISTS rollup_latencies_of_days PARTITION OF rollup_latencies FOR VALUES IN ('day');
CREATE TABLE IF NOT EXISTS rollup_latencies_of_hours PARTITION OF rollup_latencies FOR VALUES IN ('hour')
    WITH (fillfactor = 80);
COMMENT ON TABLE rollup_latencies IS 'How long it took to deliver, by all, template and provider; never pruned.';
COMMENT ON COLUMN rollup_latencies.domain IS 'The tenant.';
COMMENT ON COLUMN rollup_latencies.dimension IS 'By what: all, template, recipient_domain, provider, category.';
COMMENT ON COLUMN rollup_latencies.grain IS 'hour, day or month, UTC.';
COMMENT ON COLUMN rollup_latencies.start IS 'Of the hour, day or month.';
COMMENT ON COLUMN rollup_latencies.value IS 'Of the dimension; empty where it is all, or where it is not known.';
COMMENT ON COLUMN rollup_latencies.bucket IS 'As rollup_deltas.bucket.';
COMMENT ON COLUMN rollup_latencies.count IS 'Deliveries.';

CREATE TABLE IF NOT EXISTS batch_latencies (
    batch     bigint NOT NULL,
    bucket    smallint NOT NULL,
    count     bigint NOT NULL,
    PRIMARY KEY (batch, bucket)
) WITH (fillfactor = 80);
COMMENT ON TABLE batch_latencies IS 'How long it took to deliver, of a Batch; never pruned.';
COMMENT ON COLUMN batch_latencies.batch IS 'Number of the Batch.';
COMMENT ON COLUMN batch_latencies.bucket IS 'As rollup_deltas.bucket.';
COMMENT ON COLUMN batch_latencies.count IS 'Deliveries.';

CREATE TABLE IF NOT EXISTS rollup_grains (
    grain text PRIMARY KEY,
    until timestamptz NOT NULL
);
COMMENT ON TABLE rollup_grains IS 'How far days and months are summed up: what is counted later for before goes to hour, day and month, the rest to the hour alone.';
COMMENT ON COLUMN rollup_grains.grain IS 'day or month.';
COMMENT ON COLUMN rollup_grains.until IS 'Rows of this grain are there, and complete, for all that begin before.';
INSERT INTO rollup_grains VALUES ('day', '1970-01-01 00:00Z'), ('month', '1970-01-01 00:00Z') ON CONFLICT DO NOTHING;

-- What there was: rows move, and are counted anew. aggregated_stats said the same by hour and type.
DO $$ DECLARE month timestamptz; BEGIN
    IF to_regclass('stats_before') IS NOT NULL THEN
        FOR month IN SELECT DISTINCT date_trunc('month', timestamp, 'UTC') FROM stats_before LOOP
            PERFORM make_stats_month(month);
        END LOOP;
        INSERT INTO stats (batch, seq, type, attempt, timestamp, message_id, domain, email, data)
        SELECT batch, seq, type, attempt, timestamp, message_id, domain, email, data FROM stats_before;
        INSERT INTO stats_firsts (batch, seq, type, attempt, timestamp)
        SELECT batch, seq, type, attempt, timestamp FROM stats_before WHERE type IN ('bounced', 'complained')
        ON CONFLICT DO NOTHING;
        INSERT INTO rollup_deltas (domain, hour, batch, recipient_domain, provider, category, measure, count)
        SELECT domain, date_trunc('hour', timestamp, 'UTC'), batch, split_part(email, '@', -1), '',
               coalesce(data ->> 'category', data ->> 'reason', ''),
               CASE WHEN data ->> 'late' = 'true' AND type = 'bounced' THEN 'bounced_late' ELSE type END, count(*)
        FROM stats_before GROUP BY 1, 2, 3, 4, 6, 7;
        DROP TABLE stats_before;
    END IF;
END $$;
DROP TABLE IF EXISTS aggregated_stats;

-- The partitions that are needed next; the tick makes further ones.
DO $$ BEGIN
    PERFORM make_stats_month(now()), make_stats_month(now() + interval '28 days');
END $$;
