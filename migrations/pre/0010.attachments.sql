-- Attachments lie in the store; of each Batch is written which it has, and of each Domain which are needed until when.
-- Every statement may be repeated.
-- depends: 0007.emissions

ALTER TABLE messages ADD COLUMN IF NOT EXISTS attachments jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN messages.attachments IS 'Its attachments in order: filename, content_type, content_id, digest, size.';
-- Whether a Batch still needs an attachment is asked before that is deleted.
CREATE INDEX IF NOT EXISTS messages_of_attachment ON messages USING gin (attachments jsonb_path_ops)
    WHERE attachments <> '[]';

CREATE TABLE IF NOT EXISTS attachments (
    domain       text NOT NULL REFERENCES domains (name),
    digest       text NOT NULL,
    size         bigint NOT NULL,
    needed_until timestamptz NOT NULL,
    PRIMARY KEY (domain, digest)
);
COMMENT ON TABLE attachments IS 'What lies in the attachment store; written before that, deleted after it.';
COMMENT ON COLUMN attachments.domain IS 'Whose it is.';
COMMENT ON COLUMN attachments.digest IS 'SHA-256 of its content, in hexadecimal.';
COMMENT ON COLUMN attachments.size IS 'Its octets.';
COMMENT ON COLUMN attachments.needed_until IS 'Before this nobody looks whether a Batch still needs it.';
CREATE INDEX IF NOT EXISTS attachments_by_need ON attachments (needed_until);
