-- The time of the one clock that all go by who work on the ledger.

-- name: now
SELECT clock_timestamp() AS now
