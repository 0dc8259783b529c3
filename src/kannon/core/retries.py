"""When a deferred Delivery is tried again, and when one without any result is given up."""

from datetime import datetime, timedelta

from kannon.core.batches import Delivery

MAX_EMISSIONS = 5
"""Publishings of one Attempt that may stay without any result before the Delivery is given up."""
LEAST_TIME_TO_TRY = timedelta(minutes=15)
"""An Attempt first emitted late still gets this long: at least one is always made."""
LONGEST_REPLY = timedelta(minutes=30)
"""After the last moment for a final dot, for so long its reply may still come (RFC 5321 §4.5.3.2.6 asks ten
minutes) and its result be published."""


def next_attempt_at(now: datetime, retry_min: timedelta, expires_at: datetime) -> datetime | None:
    """The time of the next Attempt, or None once the Retry Budget would be spent by then.

    Args:
        now: when the deferral was learnt.
        retry_min: the wait between two Attempts.
        expires_at: end of the Delivery's Retry Budget.
    """
    at = now + retry_min
    return at if at <= expires_at else None


def attempt_expires_at(delivery: Delivery, now: datetime) -> datetime:
    """When the current Attempt may be transmitted no more; the same for each of its emissions."""
    since = delivery.first_emitted_at or now
    return max(delivery.standing.expires_at, since + LEAST_TIME_TO_TRY)


def is_fruitless(delivery: Delivery, now: datetime) -> bool:
    """Whether a stranded Delivery is given up: emitted MAX_EMISSIONS times, and no edge may send it now.

    As long as one may, it is not `failed`: what waits at an edge for a slow exchanger can still arrive.
    """
    if delivery.standing.emission < MAX_EMISSIONS:
        return False
    return now > attempt_expires_at(delivery, now) + LONGEST_REPLY
