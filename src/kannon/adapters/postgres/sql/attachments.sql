-- Which attachments lie in the store, and until when they are needed.

-- name: note
-- Whoever deletes one of them has its row locked until it is gone: then this goes on. In order, so that no two calls
-- wait for each other in a circle.
INSERT INTO attachments (domain, digest, size, needed_until)
SELECT %(domain)s, digest, size, %(until)s FROM unnest(%(digests)s::text[], %(sizes)s::bigint[]) AS noted (digest, size)
ORDER BY digest
ON CONFLICT (domain, digest) DO UPDATE SET needed_until = EXCLUDED.needed_until
WHERE attachments.needed_until < EXCLUDED.needed_until

-- name: over
SELECT domain, digest FROM attachments WHERE needed_until <= %(now)s
ORDER BY needed_until LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: keep_needed
-- Batches that were moved, or whose mail waits longer than their time, may still need one. Asked by the indexes that
-- hold live Deliveries alone: a Batch that ended may have a million others.
WITH sending AS MATERIALIZED (SELECT DISTINCT batch FROM deliveries WHERE status = 'sending')
UPDATE attachments a SET needed_until = %(look_again_at)s
FROM unnest(%(domains)s::text[], %(digests)s::text[]) AS asked (domain, digest)
WHERE a.domain = asked.domain AND a.digest = asked.digest AND EXISTS (
    SELECT 1 FROM messages m
    WHERE m.attachments <> '[]' AND m.attachments @> jsonb_build_array(jsonb_build_object('digest', a.digest))
      AND m.domain = a.domain
      AND (EXISTS (SELECT 1 FROM deliveries d WHERE d.batch = m.number AND d.status = 'accepted')
           OR EXISTS (SELECT 1 FROM deliveries d WHERE d.batch = m.number AND d.status = 'scheduled')
           OR m.number IN (SELECT batch FROM sending)))
RETURNING a.domain, a.digest

-- name: forget
DELETE FROM attachments a USING unnest(%(domains)s::text[], %(digests)s::text[]) AS gone (domain, digest)
WHERE a.domain = gone.domain AND a.digest = gone.digest
