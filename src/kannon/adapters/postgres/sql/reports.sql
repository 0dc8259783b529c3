-- Reports that were kept. There are at most some thousand: a search by domain may read all of them.

-- name: page
SELECT number, at, kind, reason, domain, recipients, deliveries, told, sender, client, size FROM reports
WHERE (%(kind)s = '' OR kind = %(kind)s) AND (%(domain)s = '' OR domain = %(domain)s) AND number < %(before)s
ORDER BY number DESC
LIMIT %(take)s

-- name: report
SELECT number, at, kind, reason, domain, recipients, deliveries, told, sender, client, size, head FROM reports
WHERE number = %(number)s

-- name: counts
SELECT kind, sum(count)::bigint AS count FROM report_counts
WHERE hour >= date_trunc('hour', %(since)s::timestamptz, 'UTC') AND (%(domain)s = '' OR domain = %(domain)s)
GROUP BY kind
