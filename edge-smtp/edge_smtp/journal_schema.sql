-- The edge's journal, format 1. One row tells who and how old this journal is.
CREATE TABLE journal (
    id TEXT NOT NULL,
    born_at_ms INTEGER NOT NULL
);

-- The highest Attempt of each Delivery. state: 1 taken, 2 intent, 3 result, 4 published.
-- exchanger: the host that the last intent named, empty without one.
-- result: JSON array (time, stage, code, enhanced code, text, exchanger, ambiguities), once it is known.
CREATE TABLE attempts (
    batch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    emission INTEGER NOT NULL,
    ambiguities INTEGER NOT NULL,
    state INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    exchanger TEXT NOT NULL DEFAULT '',
    result TEXT,
    PRIMARY KEY (batch, seq)
) WITHOUT ROWID;

CREATE INDEX unpublished ON attempts (batch, seq) WHERE state = 3;
CREATE INDEX published_by_expiry ON attempts (expires_at_ms) WHERE state = 4;

-- What is still to be transmitted; gone when the result is published, where many go together. It has rowids
-- because rows of a table without them keep only a quarter of a page and put the rest on pages of its own.
CREATE TABLE envelopes (
    batch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    sender TEXT NOT NULL,
    recipient TEXT NOT NULL,
    return_path TEXT NOT NULL,
    first_emitted_at_ms INTEGER NOT NULL,
    hmac BLOB NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (batch, seq)
);
