-- The ledger, its Batches and tenants, and the statistics. Every statement may be repeated.
-- depends:

CREATE TABLE IF NOT EXISTS domains (
    name             text PRIMARY KEY,
    dkim_private_key bytea NOT NULL,
    dkim_public_key  text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE domains IS 'Sending tenants.';
COMMENT ON COLUMN domains.name IS 'The domain in A-labels, lower case.';
COMMENT ON COLUMN domains.dkim_private_key IS 'PKCS #8 DER, sealed with AES-256-GCM under a subkey of the installation secret.';
COMMENT ON COLUMN domains.dkim_public_key IS 'Base64 of the DER SubjectPublicKeyInfo, as DNS publishes it.';
COMMENT ON COLUMN domains.created_at IS 'When the tenant was created.';

CREATE TABLE IF NOT EXISTS api_keys (
    id             text PRIMARY KEY,
    domain         text NOT NULL REFERENCES domains (name),
    name           text NOT NULL,
    key_prefix     text NOT NULL,
    key_hash       bytea NOT NULL UNIQUE,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz,
    deactivated_at timestamptz
);
COMMENT ON TABLE api_keys IS 'Keys with which applications call the gateway.';
COMMENT ON COLUMN api_keys.id IS 'key_…, the public name of the key.';
COMMENT ON COLUMN api_keys.domain IS 'The tenant for which it may send.';
COMMENT ON COLUMN api_keys.name IS 'What its owner calls it.';
COMMENT ON COLUMN api_keys.key_prefix IS 'Its first 8 characters, shown to recognise it.';
COMMENT ON COLUMN api_keys.key_hash IS 'SHA-256 of the whole key, which is stored nowhere.';
COMMENT ON COLUMN api_keys.created_at IS 'When it was made.';
COMMENT ON COLUMN api_keys.expires_at IS 'When it ends by itself; null: never.';
COMMENT ON COLUMN api_keys.deactivated_at IS 'When it was revoked; null: it was not.';
CREATE INDEX IF NOT EXISTS api_keys_of_domain ON api_keys (domain);

CREATE TABLE IF NOT EXISTS bodies (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    domain     text NOT NULL REFERENCES domains (name),
    html       text NOT NULL,
    text       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE bodies IS 'What mails say, placeholders as written. A row is never changed: Batches point to it.';
COMMENT ON COLUMN bodies.number IS 'Its name; never used again for another.';
COMMENT ON COLUMN bodies.domain IS 'Whose it is.';
COMMENT ON COLUMN bodies.html IS 'The HTML.';
COMMENT ON COLUMN bodies.text IS 'The text part, made from the HTML once.';
COMMENT ON COLUMN bodies.created_at IS 'When it was stored.';

CREATE TABLE IF NOT EXISTS templates (
    template_id text PRIMARY KEY,
    domain      text NOT NULL REFERENCES domains (name),
    type        text NOT NULL CHECK (type IN ('transient', 'template')),
    title       text NOT NULL DEFAULT '',
    body        bigint NOT NULL REFERENCES bodies (number),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE templates IS 'Names for bodies, by which calls ask for them.';
COMMENT ON COLUMN templates.template_id IS '<id>@<domain>.';
COMMENT ON COLUMN templates.domain IS 'Whose it is.';
COMMENT ON COLUMN templates.type IS 'transient: made from one call''s HTML; template: curated.';
COMMENT ON COLUMN templates.title IS 'What its owner calls it; empty for transient ones.';
COMMENT ON COLUMN templates.body IS 'The body that is sent by this name now.';
COMMENT ON COLUMN templates.created_at IS 'When it was made.';
COMMENT ON COLUMN templates.updated_at IS 'When it last got another body or title.';
CREATE INDEX IF NOT EXISTS templates_of_domain ON templates (domain, created_at, template_id) WHERE type = 'template';
CREATE INDEX IF NOT EXISTS templates_of_body ON templates (body);

CREATE TABLE IF NOT EXISTS messages (
    number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id    text NOT NULL UNIQUE,
    domain        text NOT NULL REFERENCES domains (name),
    sender_email  text NOT NULL,
    sender_alias  text NOT NULL,
    subject       text NOT NULL,
    template_id   text NOT NULL,
    body          bigint NOT NULL REFERENCES bodies (number),
    global_fields jsonb NOT NULL DEFAULT '{}',
    recipients    integer NOT NULL,
    scheduled_at  timestamptz NOT NULL,
    traceparent   text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now(),
    announcement  integer NOT NULL DEFAULT 0,
    announced_seq integer NOT NULL DEFAULT 0,
    announced_at  timestamptz,
    announcing_since timestamptz NOT NULL DEFAULT now(),
    left_alone_until timestamptz NOT NULL DEFAULT now() + interval '3 seconds'
);
COMMENT ON TABLE messages IS 'Batches: what one send call asked for.';
COMMENT ON COLUMN messages.number IS 'The Batch''s compact number, of which Deliveries are named.';
COMMENT ON COLUMN messages.message_id IS 'msg_<id>@<domain>, its name on the wire.';
COMMENT ON COLUMN messages.domain IS 'The tenant that sends.';
COMMENT ON COLUMN messages.sender_email IS 'Address of the From header.';
COMMENT ON COLUMN messages.sender_alias IS 'Name in the From header; may be empty.';
COMMENT ON COLUMN messages.subject IS 'Subject, placeholders as written.';
COMMENT ON COLUMN messages.template_id IS 'The Template it was asked for by, which may be gone.';
COMMENT ON COLUMN messages.body IS 'What the Template was when the call was accepted.';
COMMENT ON COLUMN messages.global_fields IS 'Fields for all Recipients.';
COMMENT ON COLUMN messages.recipients IS 'How many Deliveries it has; they are numbered from 0.';
COMMENT ON COLUMN messages.scheduled_at IS 'Not to be sent before this.';
COMMENT ON COLUMN messages.traceparent IS 'W3C trace context of the call.';
COMMENT ON COLUMN messages.created_at IS 'When the call was accepted.';
COMMENT ON COLUMN messages.announcement IS 'How often its Recipients were announced to verify from the start.';
COMMENT ON COLUMN messages.announced_seq IS 'Deliveries below this one were announced in the current announcement.';
COMMENT ON COLUMN messages.announced_at IS 'When the last of them was; null: never.';
COMMENT ON COLUMN messages.left_alone_until IS 'Until then the gateway announces it itself, and the tick does not.';
COMMENT ON COLUMN messages.announcing_since IS 'When the current announcement began: what a stream lost since may be lost.';
CREATE INDEX IF NOT EXISTS messages_of_body ON messages (body);
CREATE INDEX IF NOT EXISTS messages_unannounced ON messages (number) WHERE announced_seq < recipients;
CREATE INDEX IF NOT EXISTS messages_of_domain ON messages (domain, created_at, number);
-- The edge knows Deliveries by number for as long as its journal lives. A ledger that was made anew must not
-- use the numbers of an older one again, so they start at a number that grows with the time of making:
-- a later ledger overlaps only if the older one took more than 100 Batches a second all its life.
DO $$ BEGIN
    PERFORM setval(pg_get_serial_sequence('messages', 'number'),
                   (extract(epoch FROM now())::bigint - 1700000000) * 100)
    WHERE NOT EXISTS (SELECT 1 FROM messages);
END $$;

CREATE TABLE IF NOT EXISTS deliveries (
    batch            bigint NOT NULL REFERENCES messages (number),
    seq              integer NOT NULL,
    status           text NOT NULL DEFAULT 'accepted' CHECK (status IN
        ('accepted', 'scheduled', 'sending', 'delivered', 'bounced', 'failed', 'rejected', 'cancelled')),
    attempts         smallint NOT NULL DEFAULT 0,
    emission         smallint NOT NULL DEFAULT 0,
    email            text NOT NULL,
    fields           jsonb,
    due_at           timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    edge             text NOT NULL DEFAULT '',
    published_seq    bigint,
    first_emitted_at timestamptz,
    emitted_at       timestamptz,
    PRIMARY KEY (batch, seq)
) WITH (fillfactor = 80);
COMMENT ON TABLE deliveries IS 'The ledger: one Recipient''s slot in a Batch each.';
COMMENT ON COLUMN deliveries.batch IS 'Number of its Batch.';
COMMENT ON COLUMN deliveries.seq IS 'Its place in the Batch, from 0.';
COMMENT ON COLUMN deliveries.status IS 'accepted → scheduled → sending → delivered | bounced | failed | rejected | cancelled.';
COMMENT ON COLUMN deliveries.attempts IS 'Tries whose result is known; an Envelope''s Attempt is this + 1.';
COMMENT ON COLUMN deliveries.emission IS 'Publishings of the current Attempt.';
COMMENT ON COLUMN deliveries.email IS 'The Recipient''s address.';
COMMENT ON COLUMN deliveries.fields IS 'The Recipient''s fields; null: none.';
COMMENT ON COLUMN deliveries.due_at IS 'Not before this is it sent, or sent again.';
COMMENT ON COLUMN deliveries.expires_at IS 'End of its Retry Budget.';
COMMENT ON COLUMN deliveries.edge IS 'The edge it is pinned to, whose journal knows its Attempts; empty: none yet.';
COMMENT ON COLUMN deliveries.published_seq IS 'Sequence of its last Envelope in the stream.';
COMMENT ON COLUMN deliveries.first_emitted_at IS 'When its current Attempt was first published.';
COMMENT ON COLUMN deliveries.emitted_at IS 'When it was last published.';
CREATE INDEX IF NOT EXISTS deliveries_unverified ON deliveries (batch, seq) WHERE status = 'accepted';
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_at, batch, seq) WHERE status = 'scheduled';
CREATE INDEX IF NOT EXISTS deliveries_due_by_batch ON deliveries (batch, due_at, seq) WHERE status = 'scheduled';
CREATE INDEX IF NOT EXISTS deliveries_in_hand ON deliveries (emitted_at) WHERE status = 'sending';

CREATE TABLE IF NOT EXISTS idempotency_keys (
    domain       text NOT NULL REFERENCES domains (name),
    key          text NOT NULL,
    content_hash bytea NOT NULL,
    answer       bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (domain, key)
);
COMMENT ON TABLE idempotency_keys IS 'Calls that were answered and may be repeated; written in the transaction of their Batch.';
COMMENT ON COLUMN idempotency_keys.domain IS 'The tenant that called.';
COMMENT ON COLUMN idempotency_keys.key IS 'The key, as the caller chose it.';
COMMENT ON COLUMN idempotency_keys.content_hash IS 'SHA-256 of the procedure and the request.';
COMMENT ON COLUMN idempotency_keys.answer IS 'The answer, a SendRes.';
COMMENT ON COLUMN idempotency_keys.created_at IS 'When it was answered; a day later the key is free again.';
CREATE INDEX IF NOT EXISTS idempotency_keys_by_age ON idempotency_keys (created_at);

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
    PRIMARY KEY (batch, seq, type, attempt, timestamp)
);
COMMENT ON TABLE stats IS 'Every Outcome, once.';
COMMENT ON COLUMN stats.batch IS 'Number of the Batch.';
COMMENT ON COLUMN stats.seq IS 'The Delivery within it.';
COMMENT ON COLUMN stats.type IS 'accepted, rejected, delivered, bounced, failed, error, opened, clicked.';
COMMENT ON COLUMN stats.attempt IS 'The Attempt it is about; 0 before the first.';
COMMENT ON COLUMN stats.timestamp IS 'The event''s own time.';
COMMENT ON COLUMN stats.message_id IS 'The Batch''s name on the wire.';
COMMENT ON COLUMN stats.domain IS 'The tenant.';
COMMENT ON COLUMN stats.email IS 'The Recipient.';
COMMENT ON COLUMN stats.data IS 'What this kind of Outcome knows.';
CREATE INDEX IF NOT EXISTS stats_of_domain ON stats (domain, timestamp);

CREATE TABLE IF NOT EXISTS aggregated_stats (
    domain    text NOT NULL,
    timestamp timestamptz NOT NULL,
    type      text NOT NULL,
    count     bigint NOT NULL,
    PRIMARY KEY (domain, timestamp, type)
);
COMMENT ON TABLE aggregated_stats IS 'Outcomes counted by hour; written in the transaction that writes the Outcome.';
COMMENT ON COLUMN aggregated_stats.domain IS 'The tenant.';
COMMENT ON COLUMN aggregated_stats.timestamp IS 'Start of the hour, UTC.';
COMMENT ON COLUMN aggregated_stats.type IS 'The Outcome.';
COMMENT ON COLUMN aggregated_stats.count IS 'How many.';

CREATE TABLE IF NOT EXISTS outbox (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    outcome text NOT NULL,
    facts   jsonb NOT NULL
);
COMMENT ON TABLE outbox IS 'Committed Outcomes that are still to be published.';
COMMENT ON COLUMN outbox.id IS 'Makes a repeated publishing recognisable.';
COMMENT ON COLUMN outbox.outcome IS 'Their kind.';
COMMENT ON COLUMN outbox.facts IS 'The chunk, as it will be published.';

CREATE TABLE IF NOT EXISTS streams (
    name     text PRIMARY KEY,
    created  text NOT NULL,
    last_seq bigint NOT NULL,
    seen_at  timestamptz NOT NULL,
    lost_at  timestamptz
);
COMMENT ON TABLE streams IS 'The stages'' streams as last seen; tells when NATS lost data.';
COMMENT ON COLUMN streams.name IS 'The stream.';
COMMENT ON COLUMN streams.created IS 'When NATS made it; changes when it is made anew.';
COMMENT ON COLUMN streams.last_seq IS 'How far it had come; never goes back unless its store did.';
COMMENT ON COLUMN streams.seen_at IS 'When one began to look; what was published later says nothing about a loss.';
COMMENT ON COLUMN streams.lost_at IS 'When it was last noticed that it is another one or went back; null: never.';
