-- What a key is for, how much a Domain may send, and who called. Every statement may be repeated.
-- depends: 0001.initial

ALTER TABLE api_keys ADD COLUMN IF NOT EXISTS role text NOT NULL DEFAULT 'default'
    CHECK (role IN ('default', 'sender', 'reader', 'owner'));
COMMENT ON COLUMN api_keys.role IS 'default: send, and read templates and statistics; sender, reader: just that; owner: all.';

ALTER TABLE domains ADD COLUMN IF NOT EXISTS mails_per_minute bigint CHECK (mails_per_minute >= 0);
ALTER TABLE domains ADD COLUMN IF NOT EXISTS mails_per_day bigint CHECK (mails_per_day >= 0);
ALTER TABLE domains ADD COLUMN IF NOT EXISTS recipients_per_call bigint CHECK (recipients_per_call >= 0);
COMMENT ON COLUMN domains.mails_per_minute IS 'Mails that may be accepted within a minute; 0: any number; null: as the settings say.';
COMMENT ON COLUMN domains.mails_per_day IS 'Likewise within a day, UTC.';
COMMENT ON COLUMN domains.recipients_per_call IS 'Recipients that a call may have; 0: any number; null: as the settings say.';

CREATE TABLE IF NOT EXISTS mail_counts (
    domain    text PRIMARY KEY REFERENCES domains (name),
    minute    timestamptz NOT NULL,
    in_minute bigint NOT NULL,
    day       timestamptz NOT NULL,
    in_day    bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE mail_counts IS 'Mails accepted of late, of Domains that have limits; counted in the transaction of their Batch.';
COMMENT ON COLUMN mail_counts.domain IS 'The tenant.';
COMMENT ON COLUMN mail_counts.minute IS 'Start of the last minute in which one was accepted.';
COMMENT ON COLUMN mail_counts.in_minute IS 'How many were within it.';
COMMENT ON COLUMN mail_counts.day IS 'Start of the last day, UTC.';
COMMENT ON COLUMN mail_counts.in_day IS 'How many were within it.';

CREATE TABLE IF NOT EXISTS audit_records (
    number      bigint GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL,
    procedure   text NOT NULL,
    decision    text NOT NULL CHECK (decision IN ('allowed', 'denied', 'unauthenticated')),
    reason      text NOT NULL,
    domain      text NOT NULL,
    key_id      text NOT NULL,
    role        text NOT NULL,
    client      text NOT NULL,
    attribution text NOT NULL,
    trace       text NOT NULL,
    count       integer NOT NULL DEFAULT 1,
    PRIMARY KEY (at, number)
);
COMMENT ON TABLE audit_records IS 'Decisions about calls: who was let in to what, and who was not. No secrets.';
COMMENT ON COLUMN audit_records.number IS 'Tells records of one moment apart.';
COMMENT ON COLUMN audit_records.at IS 'When it was decided.';
COMMENT ON COLUMN audit_records.procedure IS 'What was called, <service>/<method>.';
COMMENT ON COLUMN audit_records.decision IS 'allowed; denied: the credentials do not allow it; unauthenticated: they are none.';
COMMENT ON COLUMN audit_records.reason IS 'Why it was not allowed; empty if it was.';
COMMENT ON COLUMN audit_records.domain IS 'The tenant; of an unauthenticated call what it claims; empty: none.';
COMMENT ON COLUMN audit_records.key_id IS 'Public name of the key; empty: none, or not known.';
COMMENT ON COLUMN audit_records.role IS 'The key''s, or admin; empty: not known.';
COMMENT ON COLUMN audit_records.client IS 'The address that the call came from; empty: not known.';
COMMENT ON COLUMN audit_records.attribution IS 'What the caller said of itself. Never trusted.';
COMMENT ON COLUMN audit_records.trace IS 'W3C trace context of the call.';
COMMENT ON COLUMN audit_records.count IS 'Calls that it stands for, by one client that failed again and again.';
CREATE INDEX IF NOT EXISTS audit_records_of_domain ON audit_records (domain, at, number);
