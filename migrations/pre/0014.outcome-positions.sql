-- Outcomes in the order of commit (ADR 43). Every statement may be repeated.
-- depends: 0012.access

CREATE TABLE IF NOT EXISTS outcome_positions (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    ahead    bigint NOT NULL
);
COMMENT ON TABLE outcome_positions IS 'Makes positions from numbers of transactions, which another server counts anew.';
COMMENT ON COLUMN outcome_positions.only_one IS 'True: there is one row.';
COMMENT ON COLUMN outcome_positions.ahead IS 'A position is the number of its transaction, and this.';
INSERT INTO outcome_positions (ahead) VALUES (0) ON CONFLICT DO NOTHING;

ALTER TABLE stats ADD COLUMN IF NOT EXISTS position bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN stats.position IS 'The transaction that wrote it, made greater than all before it; 0: before there were positions.';
CREATE INDEX IF NOT EXISTS stats_by_position ON stats (domain, position);

CREATE OR REPLACE FUNCTION outcome_horizon() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + ahead FROM outcome_positions
$$;
COMMENT ON FUNCTION outcome_horizon IS 'No Outcome will be committed any more that has a position below this.';

CREATE OR REPLACE FUNCTION number_outcomes() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('ALTER TABLE stats ALTER COLUMN position SET DEFAULT pg_current_xact_id()::text::bigint + %s',
                   (SELECT ahead FROM outcome_positions));
END $$;
COMMENT ON FUNCTION number_outcomes IS 'Has every row that is written get its position, whoever writes it: a number in a default costs nothing.';

CREATE OR REPLACE FUNCTION keep_positions_growing() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    known bigint := (SELECT max(latest.position) FROM domains d CROSS JOIN LATERAL
                     (SELECT position FROM stats WHERE domain = d.name ORDER BY position DESC LIMIT 1) AS latest);
    next  bigint := pg_current_xact_id()::text::bigint;
BEGIN
    UPDATE outcome_positions SET ahead = known + 1 - next WHERE known >= next + ahead;
    IF FOUND THEN PERFORM number_outcomes(); END IF;
END $$;
COMMENT ON FUNCTION keep_positions_growing IS 'To be called when the tables may have come from another server, which had counted more transactions.';

DO $$ BEGIN  -- not SELECT: what that gives would be printed
    PERFORM number_outcomes(), keep_positions_growing();
END $$;
