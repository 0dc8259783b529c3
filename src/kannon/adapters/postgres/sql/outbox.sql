-- name: waiting
SELECT id, outcome, facts::text AS facts FROM outbox ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: published
DELETE FROM outbox WHERE id = ANY(%(ids)s::bigint[])
