"""When a deferred Delivery is tried again, and when one without any result is given up."""

from datetime import datetime, timedelta

from kannon.core.batches import Delivery

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


def is_fruitless(delivery: Delivery, lease: timedelta, now: datetime) -> bool:
    """Whether a stranded Delivery is given up: emitted MAX_EMISSIONS times, and a lease for each is over.

    Emissions alone do not count: streams lost five times within a minute are no fault of the mail.
    """
    since = delivery.first_emitted_at
    if since is None or delivery.standing.emission < MAX_EMISSIONS:
        return False
    return now - since >= MAX_EMISSIONS * lease
