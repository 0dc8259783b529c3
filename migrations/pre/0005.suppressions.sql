-- Addresses that a Domain does not send to. Every statement may be repeated.
-- depends: 0001.initial

CREATE TABLE IF NOT EXISTS suppressions (
    domain     text NOT NULL REFERENCES domains (name),
    address    text COLLATE "C" NOT NULL,
    reason     text NOT NULL CHECK (reason IN ('complaint', 'unsubscribe', 'manual', 'hard_bounce', 'soft_bounce')),
    source     text NOT NULL CHECK (source IN ('transmission', 'report', 'recipient', 'operator')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    message_id text NOT NULL DEFAULT '',
    detail     text NOT NULL DEFAULT '',
    PRIMARY KEY (domain, address)
);
COMMENT ON TABLE suppressions IS 'Addresses that a Domain does not send to.';
COMMENT ON COLUMN suppressions.domain IS 'The tenant.';
COMMENT ON COLUMN suppressions.address IS 'In canonical form: the domain in A-labels, all in lower case.';
COMMENT ON COLUMN suppressions.reason IS 'The strongest one there was: complaint, unsubscribe, manual, hard_bounce, soft_bounce.';
COMMENT ON COLUMN suppressions.source IS 'Who told: transmission, report, recipient, operator.';
COMMENT ON COLUMN suppressions.created_at IS 'When that happened for which it is suppressed.';
COMMENT ON COLUMN suppressions.expires_at IS 'From then on the row counts for nothing; null: never.';
COMMENT ON COLUMN suppressions.message_id IS 'The Batch that brought it about; empty: none.';
COMMENT ON COLUMN suppressions.detail IS 'For people, such as the reply of an exchanger.';

CREATE TABLE IF NOT EXISTS soft_bounces (
    domain  text NOT NULL,
    address text COLLATE "C" NOT NULL,
    batch   bigint NOT NULL,
    seq     integer NOT NULL,
    at      timestamptz NOT NULL,
    PRIMARY KEY (domain, address, batch, seq)
);
COMMENT ON TABLE soft_bounces IS 'Deliveries that bounced, not for good: so many within a while suppress their address.';
COMMENT ON COLUMN soft_bounces.domain IS 'The tenant.';
COMMENT ON COLUMN soft_bounces.address IS 'In canonical form.';
COMMENT ON COLUMN soft_bounces.batch IS 'Number of the Batch.';
COMMENT ON COLUMN soft_bounces.seq IS 'The Delivery within it.';
COMMENT ON COLUMN soft_bounces.at IS 'When it bounced.';
COMMENT ON COLUMN outbox.outcome IS 'Their kind; suppression.added and suppression.removed are no Outcomes.';
