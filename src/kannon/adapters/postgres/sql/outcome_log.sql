-- Outcomes in the order of commit.

-- name: horizon
SELECT outcome_horizon() AS horizon

-- name: page
-- The horizon was read before: below it nothing will be committed any more.
SELECT batch, seq, message_id, domain, email, timestamp AS at, type, attempt, data, id, machine, mode, position
FROM stats
WHERE domain = %(domain)s AND position >= %(position)s AND position < %(horizon)s
  AND (position, timestamp, batch, seq, type, attempt, id)
      > (%(position)s::bigint, %(at)s::timestamptz, %(batch)s::bigint, %(seq)s::integer, %(type)s, %(attempt)s::smallint, %(id)s)
ORDER BY position, timestamp, batch, seq, type, attempt, id
LIMIT %(take)s

-- name: keep_positions_growing
DO $$ BEGIN
    IF to_regproc('keep_positions_growing') IS NOT NULL THEN PERFORM keep_positions_growing(); END IF;
END $$
