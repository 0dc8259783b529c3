-- What was deferred is counted without reading all that is scheduled. Every statement may be repeated.
-- depends: 0001.initial

CREATE INDEX IF NOT EXISTS deliveries_deferred ON deliveries (due_at) WHERE status = 'scheduled' AND attempts > 0;
