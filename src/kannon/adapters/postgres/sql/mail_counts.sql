-- How much a Domain with limits sent of late.

-- name: count
-- Whoever comes second waits here until the first has ended, however many gateways there are. Times are read after
-- that; one that came late counts into the later minute: none is ever counted twice, or too few.
INSERT INTO mail_counts AS counted (domain, minute, in_minute, day, in_day)
VALUES (%(domain)s, date_trunc('minute', clock_timestamp()), %(mails)s, date_trunc('day', clock_timestamp(), 'UTC'),
        %(mails)s)
ON CONFLICT (domain) DO UPDATE SET
    minute = greatest(counted.minute, EXCLUDED.minute),
    in_minute = EXCLUDED.in_minute + CASE WHEN counted.minute >= EXCLUDED.minute THEN counted.in_minute ELSE 0 END,
    day = greatest(counted.day, EXCLUDED.day),
    in_day = EXCLUDED.in_day + CASE WHEN counted.day >= EXCLUDED.day THEN counted.in_day ELSE 0 END
RETURNING in_minute, in_day,
    extract(epoch FROM minute + interval '1 minute' - clock_timestamp())::float AS minute_left,
    extract(epoch FROM day + interval '24 hours' - clock_timestamp())::float AS day_left
