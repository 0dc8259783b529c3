-- A year of statistics, step by step.

-- name: domain
INSERT INTO domains (name, dkim_private_key, dkim_public_key) VALUES (%(domain)s, '', '')

-- name: body
INSERT INTO bodies (domain, html, text) VALUES (%(domain)s, '', '')

-- name: batches
INSERT INTO messages (message_id, domain, sender_email, sender_alias, subject, template_id, body, recipients,
                      scheduled_at, created_at, announced_seq)
SELECT 'msg_' || n || '@' || %(domain)s, %(domain)s, 'hello@' || %(domain)s, '',
       (ARRAY['Spring sale', 'Your invoice', 'Weekly news', 'Welcome'])[1 + n %% 4] || ' no. ' || n,
       'template' || n %% 20 || '@' || %(domain)s, (SELECT min(number) FROM bodies), %(recipients)s,
       %(start)s::timestamptz + n * %(step)s, %(start)s::timestamptz + n * %(step)s, %(recipients)s
FROM generate_series(0, %(batches)s - 1) AS n

-- name: readers
CREATE TEMPORARY TABLE readers AS
SELECT u, 'reader' || u || '@' || host AS email, host, 'mx1.' || 'provider' || rank %% 150 || '.test' AS exchanger
FROM (SELECT u, rank, 'domain' || rank || '.test' AS host
      FROM (SELECT u, floor(power(2000, random()))::int AS rank FROM generate_series(0, 499999) AS u) AS a) AS b

-- name: readers_by_number
CREATE UNIQUE INDEX ON readers (u)

-- name: drafts
CREATE TEMPORARY TABLE drafts AS
SELECT m.number AS batch, seq, m.message_id, m.scheduled_at + seq * interval '0.2 s' AS at, r.email, r.exchanger,
       random() AS fate, random() AS luck, random() AS interest, random() AS pace
FROM messages m CROSS JOIN generate_series(0, %(recipients)s - 1) AS seq
JOIN readers r ON r.u = (m.number * 7919 + seq * 31) %% 500000

-- name: accepted
INSERT INTO stats SELECT batch, seq, 'accepted', 0, at, message_id, %(domain)s, email FROM drafts

-- name: error
INSERT INTO stats SELECT batch, seq, 'error', 1, at + interval '1 s', message_id, %(domain)s, email,
    jsonb_build_object('code', 451, 'msg', 'try again later', 'exchanger', exchanger, 'category',
                       (ARRAY['greylisted', 'rate-limited', 'mailbox-full', 'busy'])[1 + floor(pace * 4)::int])
FROM drafts WHERE luck < 0.06

-- name: delivered
INSERT INTO stats SELECT batch, seq, 'delivered', 1, at + power(1.6, pace * 20) * interval '0.2 s', message_id,
    %(domain)s, email,
    jsonb_build_object('code', 250, 'msg', '2.0.0 OK', 'enhanced', '2.0.0', 'exchanger', exchanger, 'ambiguities', 0)
FROM drafts WHERE fate < 0.97

-- name: bounced
INSERT INTO stats SELECT batch, seq, 'bounced', 1, at + interval '2 s', message_id, %(domain)s, email,
    jsonb_build_object('code', 550, 'msg', 'no such user', 'exchanger', exchanger, 'permanent', true, 'category',
                       (ARRAY['bad-mailbox', 'spam', 'policy', 'blocked'])[1 + floor(pace * 4)::int])
FROM drafts WHERE fate >= 0.97 AND fate < 0.99

-- name: failed
INSERT INTO stats SELECT batch, seq, 'failed', 1, at + interval '3 s', message_id, %(domain)s, email,
    '{"reason": "expired"}' FROM drafts WHERE fate >= 0.99

-- name: opened_first
INSERT INTO stats SELECT batch, seq, 'opened', 0, at + pace * pace * interval '7 days', message_id, %(domain)s, email,
    '{}', 'first' || batch || '.' || seq, '', 4
FROM drafts WHERE fate < 0.97 AND interest < 0.45

-- name: opened_again
INSERT INTO stats SELECT batch, seq, 'opened', 0, at + pace * interval '14 days', message_id, %(domain)s, email,
    '{}', 'again' || batch || '.' || seq, '', 4
FROM drafts WHERE fate < 0.97 AND interest < 0.25

-- name: opened_by_machines
INSERT INTO stats SELECT batch, seq, 'opened', 0, at + interval '20 s', message_id, %(domain)s, email,
    '{}', 'machine' || batch || '.' || seq, 'apple-mail-privacy', 4
FROM drafts WHERE fate < 0.97 AND luck > 0.9

-- name: clicked
INSERT INTO stats SELECT batch, seq, 'clicked', 0, at + pace * interval '8 days', message_id, %(domain)s, email,
    '{"url": "https://example.com/offers/spring"}', 'first' || batch || '.' || seq, '', 4
FROM drafts WHERE fate < 0.97 AND interest < 0.12

-- name: complained
INSERT INTO stats SELECT batch, seq, 'complained', 1, at + interval '1 day', message_id, %(domain)s, email,
    '{"category": "abuse"}' FROM drafts WHERE fate < 0.0005

-- name: deltas
INSERT INTO rollup_deltas (domain, hour, batch, recipient_domain, provider, category, measure, bucket, count)
SELECT s.domain, date_trunc('hour', s.timestamp, 'UTC'), s.batch, split_part(s.email, '@', -1),
       coalesce(substr(s.data ->> 'exchanger', 5), ''), coalesce(s.data ->> 'category', s.data ->> 'reason', ''),
       s.type || CASE WHEN s.machine <> '' THEN '_machine' WHEN s.id ^@ 'first' THEN '_first' ELSE '' END,
       CASE WHEN s.type = 'delivered' THEN latency_bucket(s.timestamp - m.scheduled_at) END, count(*)
FROM stats s JOIN messages m ON m.number = s.batch
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8

-- name: forget_drafts
DROP TABLE drafts

-- name: forget_readers
DROP TABLE readers
