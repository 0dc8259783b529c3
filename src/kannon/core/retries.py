"""When a deferred Delivery is tried again."""

from datetime import datetime, timedelta

MAX_EMISSIONS = 5
"""Publishings of one Attempt that may stay without any result before the Delivery is given up."""


def next_attempt_at(now: datetime, retry_min: timedelta, expires_at: datetime) -> datetime | None:
    """The time of the next Attempt, or None once the Retry Budget would be spent by then.

    Args:
        now: when the deferral was learnt.
        retry_min: the wait between two Attempts.
        expires_at: end of the Delivery's Retry Budget.
    """
    at = now + retry_min
    return at if at <= expires_at else None
