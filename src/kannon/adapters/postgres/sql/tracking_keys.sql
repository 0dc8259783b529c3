-- The keys that tracking tokens are signed with.

-- name: signing_keys
SELECT kid, private_key, signs_from FROM stats_keys ORDER BY signs_from, kid

-- name: public_keys
SELECT kid, public_key FROM stats_keys

-- name: last
SELECT kid, signs_from, signs_until,
       EXISTS (SELECT 1 FROM stats_keys WHERE kept_until <= %(now)s) AS any_over
FROM stats_keys ORDER BY signs_from DESC, kid LIMIT 1

-- name: alone
-- Two that want to make the next key: the second waits, and then finds it. Readers do not wait.
LOCK TABLE stats_keys IN SHARE ROW EXCLUSIVE MODE

-- name: extend
-- The newest key signs until its successor does.
UPDATE stats_keys SET signs_until = %(end)s, kept_until = %(over_at)s WHERE kid = %(kid)s

-- name: add
INSERT INTO stats_keys (kid, public_key, private_key, created_at, signs_from, signs_until, kept_until)
VALUES (%(kid)s, %(public_key)s, %(private_key)s, %(now)s, %(start)s, %(end)s, %(over_at)s)

-- name: forget
-- Not the newest, which may still sign.
DELETE FROM stats_keys WHERE kept_until <= %(now)s AND signs_from < (SELECT max(signs_from) FROM stats_keys)
