-- Templates, and the bodies that they are names for.

-- name: add
WITH body AS (
    INSERT INTO bodies (domain, html, text, syntax, css_inlined)
    VALUES (%(domain)s, %(html)s, %(text)s, %(syntax)s, %(css_inlined)s) RETURNING number
)
INSERT INTO templates (template_id, domain, type, title, body)
SELECT %(template_id)s, %(domain)s, 'template', %(title)s, number FROM body

-- name: add_body
INSERT INTO bodies (domain, html, text, syntax, css_inlined)
VALUES (%(domain)s, %(html)s, %(text)s, %(syntax)s, %(css_inlined)s) RETURNING number

-- name: lock
SELECT domain, body FROM templates WHERE template_id = %(template_id)s FOR UPDATE

-- name: update
UPDATE templates SET title = coalesce(%(title)s, title), body = %(body)s, updated_at = now()
WHERE template_id = %(template_id)s

-- name: delete
DELETE FROM templates WHERE template_id = %(template_id)s

-- name: template
SELECT t.template_id, t.domain, t.type, t.title, b.html, b.text, b.syntax, b.css_inlined
FROM templates t JOIN bodies b ON b.number = t.body
WHERE t.template_id = %(template_id)s

-- name: count_curated
SELECT count(*) AS total FROM templates WHERE domain = %(domain)s AND type = 'template'

-- name: curated
-- Templates of one moment in the order of their ids, so that pages never overlap.
SELECT t.template_id, t.domain, t.type, t.title, b.html, b.text, b.syntax, b.css_inlined
FROM templates t JOIN bodies b ON b.number = t.body
WHERE t.domain = %(domain)s AND t.type = 'template'
ORDER BY t.created_at, t.template_id
LIMIT %(take)s OFFSET %(skip)s

-- name: body_of
SELECT body FROM templates WHERE template_id = %(template_id)s AND domain = %(domain)s

-- name: body
SELECT html, text, syntax, css_inlined FROM bodies WHERE number = %(number)s

-- name: lock_body
-- A Batch that is just being accepted with it holds a lock on it.
SELECT number FROM bodies WHERE number = %(number)s FOR UPDATE SKIP LOCKED

-- name: forget_body
DELETE FROM bodies b
WHERE b.number = %(number)s
  AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.body = b.number)
  AND NOT EXISTS (SELECT 1 FROM templates t WHERE t.body = b.number)
