-- Whether a Delivery whose Retry Budget is spent has bounced (it was answered) or failed.
-- depends: 0001.initial

ALTER TABLE deliveries ADD COLUMN IF NOT EXISTS answered boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN deliveries.answered IS 'Whether an exchanger ever answered one of its Attempts.';
