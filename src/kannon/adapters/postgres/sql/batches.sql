-- Whole Batches: looked at, cancelled, moved to another time (ADR 20). What is asked for is written of the Batch
-- first; then its Deliveries are settled, piece by piece.

-- name: batch
-- Until a Batch is moved for the first time, all its Deliveries expire at the same time.
SELECT m.number, m.message_id, m.subject, m.template_id, m.scheduled_at, m.created_at AS accepted_at, m.cancelled_at,
       coalesce(m.retry_budget, (SELECT expires_at FROM deliveries WHERE batch = m.number ORDER BY seq LIMIT 1)
                                - m.scheduled_at, interval '0') AS retry_budget
FROM messages m WHERE m.message_id = %(message_id)s AND m.domain = %(domain)s

-- name: counts
SELECT status, count(*) AS count,
       count(*) FILTER (WHERE status = ANY(%(waiting)s::text[]) AND attempts = 0 AND first_emitted_at IS NULL) AS untried
FROM deliveries WHERE batch = %(batch)s GROUP BY status

-- name: cancel
UPDATE messages SET cancelled_at = %(now)s, unsettled_from = 0 WHERE number = %(batch)s AND cancelled_at IS NULL

-- name: reschedule
-- A Batch of which everything is under way keeps its time.
UPDATE messages m SET scheduled_at = %(at)s, unsettled_from = 0, retry_budget = coalesce(retry_budget,
    (SELECT expires_at FROM deliveries WHERE batch = m.number ORDER BY seq LIMIT 1) - m.scheduled_at)
WHERE m.number = %(batch)s AND m.cancelled_at IS NULL AND EXISTS (
    SELECT 1 FROM deliveries d WHERE d.batch = m.number AND d.status = ANY(%(waiting)s::text[])
                                 AND d.attempts = 0 AND d.first_emitted_at IS NULL)

-- name: is_cancelled
SELECT 1 AS found FROM messages WHERE number = %(batch)s AND cancelled_at IS NOT NULL

-- name: unsettled
-- Whoever settles it at the same time is waited for.
SELECT number AS batch, recipients, scheduled_at, retry_budget, cancelled_at, unsettled_from FROM messages
WHERE number = %(batch)s AND unsettled_from IS NOT NULL
FOR NO KEY UPDATE

-- name: any_unsettled
SELECT number AS batch, recipients, scheduled_at, retry_budget, cancelled_at, unsettled_from FROM messages
WHERE unsettled_from IS NOT NULL
ORDER BY number LIMIT 1
FOR NO KEY UPDATE SKIP LOCKED

-- name: hold
-- Whoever works on one of them is waited for, in the order in which all lock that wait. What is in hand, too:
-- its result may be just about to bring it back, by somebody who does not know yet.
SELECT count(*) AS held FROM (
    SELECT 1 FROM deliveries
    WHERE batch = %(batch)s AND seq >= %(first)s AND seq < %(end)s AND status = ANY(%(live)s::text[])
    ORDER BY seq FOR UPDATE) AS live

-- name: end_waiting
UPDATE deliveries SET status = 'cancelled'
WHERE batch = %(batch)s AND seq >= %(first)s AND seq < %(end)s
  AND status = ANY(%(waiting)s::text[]) AND first_emitted_at IS NULL

-- name: move_untried
UPDATE deliveries SET due_at = %(due_at)s, expires_at = %(expires_at)s
WHERE batch = %(batch)s AND seq >= %(first)s AND seq < %(end)s
  AND status = ANY(%(waiting)s::text[]) AND attempts = 0 AND first_emitted_at IS NULL

-- name: settled
UPDATE messages SET unsettled_from = CASE WHEN recipients > %(end)s THEN %(end)s::integer END WHERE number = %(batch)s
