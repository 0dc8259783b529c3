-- Domains and their API keys.

-- name: add_domain
-- No row comes back when there is such a Domain already.
INSERT INTO domains (name, dkim_private_key, dkim_public_key)
VALUES (%(name)s, %(dkim_private_key)s, %(dkim_public_key)s)
ON CONFLICT DO NOTHING
RETURNING name, dkim_public_key, created_at, tracking

-- name: domain
SELECT name, dkim_public_key, created_at, tracking FROM domains WHERE name = %(name)s

-- name: domains
-- In the order of their octets, whatever the database's collation.
SELECT name, dkim_public_key, created_at, tracking FROM domains ORDER BY name COLLATE "C"

-- name: set_tracking
UPDATE domains SET tracking = %(tracking)s WHERE name = %(name)s
RETURNING name, dkim_public_key, created_at, tracking

-- name: add_key
-- Nothing is inserted when there is no such Domain.
INSERT INTO api_keys (id, domain, name, key_prefix, key_hash, created_at, expires_at, deactivated_at, role)
SELECT %(id)s, domains.name, %(name)s, %(prefix)s, %(key_hash)s, %(created_at)s,
       %(expires_at)s::timestamptz, %(deactivated_at)s::timestamptz, %(role)s
FROM domains WHERE domains.name = %(domain)s

-- name: key
-- With the limits of its Domain: every call asks this, and shall ask nothing more.
SELECT k.id, k.key_prefix AS prefix, k.name, k.domain, k.created_at, k.expires_at, k.deactivated_at, k.role,
       d.mails_per_minute, d.mails_per_day, d.recipients_per_call
FROM api_keys k JOIN domains d ON d.name = k.domain
WHERE k.key_hash = %(key_hash)s AND k.domain = %(domain)s

-- name: key_named
SELECT id, key_prefix AS prefix, name, domain, created_at, expires_at, deactivated_at, role
FROM api_keys WHERE id = %(id)s AND domain = %(domain)s

-- name: count_keys
SELECT count(*) AS total FROM api_keys
WHERE domain = %(domain)s
  AND (%(active_at)s::timestamptz IS NULL
       OR (deactivated_at IS NULL AND coalesce(expires_at, 'infinity') > %(active_at)s))

-- name: keys
-- Keys of one moment in the order of their ids, so that pages never overlap.
SELECT id, key_prefix AS prefix, name, domain, created_at, expires_at, deactivated_at, role
FROM api_keys
WHERE domain = %(domain)s
  AND (%(active_at)s::timestamptz IS NULL
       OR (deactivated_at IS NULL AND coalesce(expires_at, 'infinity') > %(active_at)s))
ORDER BY created_at DESC, id COLLATE "C"
LIMIT %(take)s OFFSET %(skip)s

-- name: deactivate_key
UPDATE api_keys SET deactivated_at = coalesce(deactivated_at, %(now)s)
WHERE id = %(id)s AND domain = %(domain)s
RETURNING id, key_prefix AS prefix, name, domain, created_at, expires_at, deactivated_at, role

-- name: limits
SELECT mails_per_minute, mails_per_day, recipients_per_call FROM domains WHERE name = %(name)s

-- name: set_limits
UPDATE domains SET mails_per_minute = %(mails_per_minute)s::bigint, mails_per_day = %(mails_per_day)s::bigint,
    recipients_per_call = %(recipients_per_call)s::bigint
WHERE name = %(name)s
