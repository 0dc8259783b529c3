-- Calls that events ask for are repeated under the event's own name.
COMMENT ON COLUMN idempotency_keys.key IS 'The key, as the caller chose it; of a call that an event asked for, a line "event" and the SHA-256 of its source and id, which no caller can choose.';
