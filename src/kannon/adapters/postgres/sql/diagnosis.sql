-- What waits in the ledger. Nothing is locked, each statement reads an index of what is live, and counts no
-- further than a bound: asking must be cheap on a ledger of millions.

-- name: snapshot
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: reach_rows_by_index
-- Also where PostgreSQL takes a table for small, as it does until it has analysed it.
SELECT set_config('enable_seqscan', 'off', true)

-- name: unannounced
SELECT count(*), min(created_at) AS oldest_at, min(left_alone_until) AS next_at,
       coalesce(sum(recipients - announced_seq), 0)::bigint AS recipients
FROM (SELECT created_at, left_alone_until, recipients, announced_seq FROM messages
      WHERE announced_seq < recipients ORDER BY number LIMIT %(limit)s) AS found

-- name: unverified
-- Batches are numbered in time, so the first Delivery is of the oldest. Where all of that Batch is announced, it is
-- announced anew at the end of a lease.
SELECT count(*), (SELECT created_at FROM messages WHERE number = min(found.batch)) AS oldest_at,
       (SELECT announced_at + %(lease)s FROM messages
        WHERE number = min(found.batch) AND announced_seq >= recipients) AS next_at
FROM (SELECT batch FROM deliveries WHERE status = 'accepted' ORDER BY batch, seq LIMIT %(limit)s) AS found

-- name: due
SELECT count(*), min(due_at) AS oldest_at, NULL::timestamptz AS next_at
FROM (SELECT due_at FROM deliveries WHERE status = 'scheduled' AND due_at <= %(now)s
      ORDER BY due_at LIMIT %(limit)s) AS found

-- name: later
SELECT count(*), NULL::timestamptz AS oldest_at, min(due_at) AS next_at
FROM (SELECT due_at FROM deliveries WHERE status = 'scheduled' AND due_at > %(now)s
      ORDER BY due_at LIMIT %(limit)s) AS found

-- name: deferred
SELECT count(*), NULL::timestamptz AS oldest_at, min(due_at) AS next_at
FROM (SELECT due_at FROM deliveries WHERE status = 'scheduled' AND attempts > 0
      ORDER BY due_at LIMIT %(limit)s) AS found

-- name: in_hand
SELECT count(*), min(emitted_at) AS oldest_at, min(emitted_at) + %(lease)s AS next_at
FROM (SELECT emitted_at FROM deliveries WHERE status = 'sending' ORDER BY emitted_at LIMIT %(limit)s) AS found

-- name: stranded
-- The condition of `stranded` in ledger.sql, on as many as may be in hand.
SELECT count(*), min(emitted_at) AS oldest_at, NULL::timestamptz AS next_at
FROM (SELECT * FROM deliveries WHERE status = 'sending' ORDER BY emitted_at LIMIT %(limit)s) AS d
WHERE d.emitted_at < %(now)s - %(lease)s
   OR d.emitted_at <= (SELECT max(lost_at) FROM streams WHERE name = ANY(%(after_dispatch)s))
   OR EXISTS (SELECT 1 FROM streams s WHERE s.name = %(envelopes)s
              AND d.published_seq > s.last_seq AND d.emitted_at < s.seen_at - %(publishing)s)

-- name: fruitless
-- As often emitted as it may be; given up once its Attempt has expired and no reply can come any more.
SELECT count(*), min(emitted_at) AS oldest_at,
       min(greatest(expires_at, first_emitted_at + %(least_time)s) + %(longest_reply)s) AS next_at
FROM (SELECT * FROM deliveries WHERE status = 'sending' ORDER BY emitted_at LIMIT %(limit)s) AS d
WHERE emission >= %(emissions)s

-- name: outbox
SELECT count(*), NULL::timestamptz AS oldest_at, NULL::timestamptz AS next_at
FROM (SELECT id FROM outbox ORDER BY id LIMIT %(limit)s) AS found

-- name: streams
SELECT name, seen_at, lost_at FROM streams ORDER BY name
