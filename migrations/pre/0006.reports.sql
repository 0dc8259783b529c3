-- Reports that came back: kept for people, counted, and one Outcome of a kind at the most. Every statement may
-- be repeated.
-- depends: 0001.initial

CREATE TABLE IF NOT EXISTS reports (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    identity   text NOT NULL UNIQUE,
    at         timestamptz NOT NULL,
    kind       text NOT NULL,
    reason     text NOT NULL,
    domain     text NOT NULL,
    recipients jsonb NOT NULL,
    deliveries jsonb NOT NULL,
    told       jsonb NOT NULL,
    sender     text NOT NULL,
    client     text NOT NULL,
    size       integer NOT NULL,
    head       bytea NOT NULL,
    kept_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE reports IS 'What came back, for people to look at: the newest of each kind.';
COMMENT ON COLUMN reports.number IS 'Its name; later ones have greater numbers.';
COMMENT ON COLUMN reports.identity IS 'Hash of the message, and to whom it came; the same report comes again under the same.';
COMMENT ON COLUMN reports.at IS 'When the edge took it.';
COMMENT ON COLUMN reports.kind IS 'bounce, delayed, complaint, auto-reply, unrecognised.';
COMMENT ON COLUMN reports.reason IS 'Why it is of this kind, where that is not plain; may be empty.';
COMMENT ON COLUMN reports.domain IS 'The tenant that it concerns, or the domain that it came to.';
COMMENT ON COLUMN reports.recipients IS 'To whom it came: role, domain, and the Delivery of a return path.';
COMMENT ON COLUMN reports.deliveries IS 'Those that it is about, by signed return paths.';
COMMENT ON COLUMN reports.told IS 'What it says of whom. Hearsay.';
COMMENT ON COLUMN reports.sender IS 'Of the SMTP envelope; empty for the null one.';
COMMENT ON COLUMN reports.client IS 'The address that the connection came from.';
COMMENT ON COLUMN reports.size IS 'Octets of all of it.';
COMMENT ON COLUMN reports.head IS 'Its octets from the beginning, 64,000 at the most.';
COMMENT ON COLUMN reports.kept_at IS 'When it was written here; it goes by age, too.';
CREATE INDEX IF NOT EXISTS reports_of_kind ON reports (kind, number);
CREATE INDEX IF NOT EXISTS reports_by_age ON reports (kept_at);

CREATE TABLE IF NOT EXISTS report_counts (
    hour   timestamptz NOT NULL,
    domain text NOT NULL,
    kind   text NOT NULL,
    count  bigint NOT NULL,
    PRIMARY KEY (hour, domain, kind)
);
COMMENT ON TABLE report_counts IS 'Reports counted by hour; written in the transaction that keeps the report.';
COMMENT ON COLUMN report_counts.hour IS 'Its start, UTC.';
COMMENT ON COLUMN report_counts.domain IS 'As reports.domain.';
COMMENT ON COLUMN report_counts.kind IS 'As reports.kind.';
COMMENT ON COLUMN report_counts.count IS 'How many.';

-- A Delivery bounces once, at the exchanger or later, and is complained of once, in whatever order that comes.
DO $$ BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'stats'::regclass) = 'r' THEN -- later it is partitioned
        CREATE UNIQUE INDEX IF NOT EXISTS stats_told_once ON stats (batch, seq, type) WHERE type IN ('bounced', 'complained');
    END IF;
END $$;
COMMENT ON COLUMN stats.type IS 'accepted, rejected, delivered, bounced, failed, error, complained, opened, clicked.';
