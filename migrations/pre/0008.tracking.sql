-- What may be learnt of readers, as Domain, Batch and Recipient state it; and the keys that tracking tokens are
-- signed with. Policies are two digits: the mode of opens, then that of links (1 off, 2 anonymous, 3 pseudonymous,
-- 4 identified, 5 full).
-- depends: 0007.emissions

ALTER TABLE domains ADD COLUMN IF NOT EXISTS tracking smallint NOT NULL DEFAULT 44;
COMMENT ON COLUMN domains.tracking IS 'Its Tracking Policy, two digits: the most that may be learnt of its readers.';

-- What an old gateway accepts meanwhile is not tracked.
ALTER TABLE messages ADD COLUMN IF NOT EXISTS tracking smallint NOT NULL DEFAULT 11;
COMMENT ON COLUMN messages.tracking IS 'The Tracking Policy that held for it when it was accepted, two digits.';

ALTER TABLE deliveries ADD COLUMN IF NOT EXISTS tracking smallint;
COMMENT ON COLUMN deliveries.tracking IS 'The Recipient''s own Tracking Policy, two digits; null: that of its Batch.';

CREATE TABLE IF NOT EXISTS stats_keys (
    kid          text PRIMARY KEY,
    public_key   bytea NOT NULL,
    private_key  bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    signs_from   timestamptz NOT NULL,
    signs_until  timestamptz NOT NULL,
    kept_until   timestamptz NOT NULL
);
COMMENT ON TABLE stats_keys IS 'Ed25519 keys that tracking tokens are signed with; they follow one another without a gap.';
COMMENT ON COLUMN stats_keys.kid IS 'The key''s id, as tokens name it.';
COMMENT ON COLUMN stats_keys.public_key IS 'Its public half, 32 octets.';
COMMENT ON COLUMN stats_keys.private_key IS 'Its private half, sealed with AES-256-GCM under a subkey of the installation secret.';
COMMENT ON COLUMN stats_keys.created_at IS 'When it was made.';
COMMENT ON COLUMN stats_keys.signs_from IS 'It signs tokens of mails of this time on, and the first of all also those of before.';
COMMENT ON COLUMN stats_keys.signs_until IS 'It signs tokens of mails before this time; the newest goes on until it has a successor.';
COMMENT ON COLUMN stats_keys.kept_until IS 'From then on no token of it lives, and it is deleted if it has a successor.';
