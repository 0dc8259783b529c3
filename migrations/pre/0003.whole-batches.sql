-- Batches that are cancelled or moved to another time. Every statement may be repeated.
-- depends: 0001.initial

ALTER TABLE messages ADD COLUMN IF NOT EXISTS cancelled_at timestamptz;
ALTER TABLE messages ADD COLUMN IF NOT EXISTS retry_budget interval;
ALTER TABLE messages ADD COLUMN IF NOT EXISTS unsettled_from integer;
COMMENT ON COLUMN messages.cancelled_at IS 'When it was cancelled; null: it was not.';
COMMENT ON COLUMN messages.retry_budget IS 'The span in which its Deliveries are tried, kept when it is first moved; null: it never was.';
COMMENT ON COLUMN messages.unsettled_from IS 'Deliveries from this one on are still to be cancelled or moved; null: none.';
COMMENT ON COLUMN deliveries.first_emitted_at IS 'When its current Attempt was first published; null: no edge can have it.';
CREATE INDEX IF NOT EXISTS messages_unsettled ON messages (number) WHERE unsettled_from IS NOT NULL;
