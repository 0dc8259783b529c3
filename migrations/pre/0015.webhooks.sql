-- Webhooks of Domains, and what is owed to them. Every statement may be repeated.
-- depends: 0001.initial

CREATE TABLE IF NOT EXISTS webhooks (
    id               text PRIMARY KEY,
    domain           text NOT NULL REFERENCES domains (name),
    url              text NOT NULL,
    types            text[] NOT NULL,
    description      text NOT NULL,
    created_at       timestamptz NOT NULL,
    secret           bytea NOT NULL,
    old_secret       bytea,
    old_secret_until timestamptz,
    failures         integer NOT NULL DEFAULT 0,
    failing_since    timestamptz,
    rest_until       timestamptz NOT NULL DEFAULT '1970-01-01 00:00Z',
    is_slow          boolean NOT NULL DEFAULT false,
    suspended_at     timestamptz,
    suspended_for    text NOT NULL DEFAULT '',
    deleted_at       timestamptz
);
COMMENT ON TABLE webhooks IS 'Endpoints of Domains that are told what became of mails.';
COMMENT ON COLUMN webhooks.id IS 'Public name.';
COMMENT ON COLUMN webhooks.domain IS 'The tenant.';
COMMENT ON COLUMN webhooks.url IS 'Where events are posted to.';
COMMENT ON COLUMN webhooks.types IS 'Types of events that it is told; none: all.';
COMMENT ON COLUMN webhooks.description IS 'For people.';
COMMENT ON COLUMN webhooks.created_at IS 'It is told what happens from then on.';
COMMENT ON COLUMN webhooks.secret IS 'What signs, sealed in the context of the id.';
COMMENT ON COLUMN webhooks.old_secret IS 'The one before, sealed likewise; signs as well until old_secret_until.';
COMMENT ON COLUMN webhooks.old_secret_until IS 'When the secret before stops signing.';
COMMENT ON COLUMN webhooks.failures IS 'Posts that failed in a row.';
COMMENT ON COLUMN webhooks.failing_since IS 'When the first of these failed; null: the last one did not.';
COMMENT ON COLUMN webhooks.rest_until IS 'Nothing is posted before.';
COMMENT ON COLUMN webhooks.is_slow IS 'Whether its last answer took long.';
COMMENT ON COLUMN webhooks.suspended_at IS 'When it was given up; null: it is not.';
COMMENT ON COLUMN webhooks.suspended_for IS 'Why.';
COMMENT ON COLUMN webhooks.deleted_at IS 'When it was deleted; it goes once its log is gone.';
CREATE INDEX IF NOT EXISTS webhooks_of_domain ON webhooks (domain, created_at, id);

CREATE TABLE IF NOT EXISTS webhook_deliveries (
    number          bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    webhook         text NOT NULL REFERENCES webhooks (id),
    event_id        text NOT NULL,
    type            text NOT NULL,
    recipient       text NOT NULL,
    body            text NOT NULL,
    created_at      timestamptz NOT NULL,
    state           text NOT NULL DEFAULT 'owed' CHECK (state IN ('owed', 'delivered', 'failed')),
    due_at          timestamptz CHECK ((due_at IS NOT NULL) = (state = 'owed')),
    give_up_at      timestamptz NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    last_attempt_at timestamptz,
    status          integer NOT NULL DEFAULT 0,
    error           text NOT NULL DEFAULT '',
    milliseconds    integer NOT NULL DEFAULT 0,
    PRIMARY KEY (webhook, event_id)
);
COMMENT ON TABLE webhook_deliveries IS 'Events owed to webhooks, and what became of that: queue and log.';
COMMENT ON COLUMN webhook_deliveries.number IS 'Public name, growing.';
COMMENT ON COLUMN webhook_deliveries.webhook IS 'To whom.';
COMMENT ON COLUMN webhook_deliveries.event_id IS 'The event''s own id, sent as webhook-id; the same at each try.';
COMMENT ON COLUMN webhook_deliveries.type IS 'The event''s type.';
COMMENT ON COLUMN webhook_deliveries.recipient IS 'Whom the event is about, so that it can be erased; empty: nobody.';
COMMENT ON COLUMN webhook_deliveries.body IS 'What is posted: the event in structured JSON.';
COMMENT ON COLUMN webhook_deliveries.created_at IS 'When it was written.';
COMMENT ON COLUMN webhook_deliveries.state IS 'owed; delivered: answered with 2xx; failed: given up.';
COMMENT ON COLUMN webhook_deliveries.due_at IS 'When the next try is due, or the one under way counts as lost; null: none is.';
COMMENT ON COLUMN webhook_deliveries.give_up_at IS 'No try begins after that.';
COMMENT ON COLUMN webhook_deliveries.attempts IS 'Tries begun.';
COMMENT ON COLUMN webhook_deliveries.last_attempt_at IS 'When the last try that ended did.';
COMMENT ON COLUMN webhook_deliveries.status IS 'How it was answered, HTTP; 0: not at all.';
COMMENT ON COLUMN webhook_deliveries.error IS 'Why it failed, as a word.';
COMMENT ON COLUMN webhook_deliveries.milliseconds IS 'How long it took.';
CREATE INDEX IF NOT EXISTS webhook_deliveries_due ON webhook_deliveries (webhook, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS webhook_deliveries_over ON webhook_deliveries (give_up_at) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS webhook_deliveries_log ON webhook_deliveries (webhook, number);
CREATE INDEX IF NOT EXISTS webhook_deliveries_age ON webhook_deliveries (created_at);
