-- A group of calls is one statement each, its rows given and returned as one JSON array: the thread that
-- writes lets go of the interpreter once a group instead of once a row.

-- name: known
-- [batch, seq] → what is known of these Deliveries.
SELECT json_group_array(json_array(a.batch, a.seq, a.attempt, a.emission, a.ambiguities, a.state))
FROM json_each(?1) AS j
CROSS JOIN attempts AS a ON a.batch = j.value ->> 0 AND a.seq = j.value ->> 1;

-- name: write_standings
-- [batch, seq, attempt, emission, ambiguities, state, expires_at_ms]; another Attempt has no exchanger and no
-- result yet.
INSERT INTO attempts (batch, seq, attempt, emission, ambiguities, state, expires_at_ms)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM json_each(?1) WHERE true
ON CONFLICT (batch, seq) DO UPDATE SET
    exchanger = iif(attempts.attempt = excluded.attempt, attempts.exchanger, ''),
    result = iif(attempts.attempt = excluded.attempt, attempts.result, NULL),
    attempt = excluded.attempt,
    emission = excluded.emission,
    ambiguities = excluded.ambiguities,
    state = excluded.state,
    expires_at_ms = excluded.expires_at_ms;

-- name: keep_envelopes
-- [batch, seq, sender, recipient, return_path, first_emitted_at_ms, start and length of hmac, of body], and
-- the octets of all of them in one piece.
INSERT OR REPLACE INTO envelopes
SELECT
    value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
    substr(?2, value ->> 6, value ->> 7), substr(?2, value ->> 8, value ->> 9)
FROM json_each(?1);

-- name: in_hand
-- [batch, seq, attempt, …] → those that have no result.
SELECT json_group_array(json_array(a.batch, a.seq, a.attempt))
FROM json_each(?1) AS j
CROSS JOIN attempts AS a
    ON a.batch = j.value ->> 0 AND a.seq = j.value ->> 1 AND a.attempt = j.value ->> 2 AND a.state < 3;

-- name: write_intents
-- [batch, seq, attempt, ambiguities, exchanger]
UPDATE attempts SET state = 2, ambiguities = j.value ->> 3, exchanger = j.value ->> 4
FROM json_each(?1) AS j
WHERE attempts.batch = j.value ->> 0 AND attempts.seq = j.value ->> 1
    AND attempts.attempt = j.value ->> 2 AND attempts.state < 3;

-- name: write_results
-- [batch, seq, attempt, ambiguities, result]
UPDATE attempts SET state = 3, ambiguities = j.value ->> 3, result = j.value ->> 4
FROM json_each(?1) AS j
WHERE attempts.batch = j.value ->> 0 AND attempts.seq = j.value ->> 1
    AND attempts.attempt = j.value ->> 2 AND attempts.state < 3;

-- name: unpublished
SELECT json_group_array(json_array(batch, seq, attempt, emission, json(result)))
FROM (SELECT * FROM attempts WHERE state = 3 LIMIT ?1);

-- name: mark_published
-- [batch, seq, attempt, emission]; what was emitted again meanwhile stays unpublished.
UPDATE attempts SET state = 4
FROM json_each(?1) AS j
WHERE attempts.batch = j.value ->> 0 AND attempts.seq = j.value ->> 1
    AND attempts.attempt = j.value ->> 2 AND attempts.emission = j.value ->> 3 AND attempts.state = 3;

-- name: drop_envelopes
-- [batch, seq, attempt, …]; only once there is a result, for by then another Attempt may be in hand.
DELETE FROM envelopes WHERE (batch, seq) IN (
    SELECT a.batch, a.seq
    FROM json_each(?1) AS j
    CROSS JOIN attempts AS a
        ON a.batch = j.value ->> 0 AND a.seq = j.value ->> 1 AND a.attempt = j.value ->> 2 AND a.state >= 3
);

-- name: unfinished
SELECT a.batch, a.seq, a.attempt, a.state, a.ambiguities, a.exchanger, e.recipient, a.expires_at_ms
FROM envelopes AS e JOIN attempts AS a USING (batch, seq)
WHERE a.state < 3
ORDER BY a.batch, a.seq;

-- name: envelope
SELECT
    a.emission, e.sender, e.recipient, e.return_path, e.body, e.first_emitted_at_ms, a.expires_at_ms, e.hmac
FROM attempts AS a JOIN envelopes AS e USING (batch, seq)
WHERE a.batch = ?1 AND a.seq = ?2 AND a.attempt = ?3 AND a.state < 3;

-- name: count_in_hand
SELECT count(*) FROM envelopes JOIN attempts USING (batch, seq) WHERE state < 3;

-- name: count_unpublished
SELECT count(*) FROM attempts WHERE state = 3;

-- name: prune
DELETE FROM attempts WHERE (batch, seq) IN (
    SELECT batch, seq FROM attempts WHERE state = 4 AND expires_at_ms < ?1 ORDER BY expires_at_ms LIMIT ?2
);

-- name: forget
-- [batch, seq] → the text, fifth in a result, is gone, the rest stays for who asks again.
UPDATE attempts SET result = json_set(result, '$[4]', '')
FROM json_each(?1) AS j
WHERE attempts.batch = j.value ->> 0 AND attempts.seq = j.value ->> 1
    AND attempts.state = 4 AND attempts.result ->> '$[4]' <> '';
