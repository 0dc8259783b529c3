"""When a deferred Delivery is tried again, and when one without any result is given up."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from kannon.core.batches import Delivery

MAX_EMISSIONS = 5
"""Publishings of one Attempt that may stay without any result before the Delivery is given up."""
LEAST_TIME_TO_TRY = timedelta(minutes=15)
"""An Attempt first emitted late still gets this long: at least one is always made."""
LONGEST_REPLY = timedelta(minutes=30)
"""After the last moment for a final dot, for so long its reply may still come (RFC 5321 §4.5.3.2.6 asks ten
minutes) and its result be published."""

GREYLISTED: Final = "greylisted"
"""The category of a reply by which an exchanger asks whether we come again (RFC 6647)."""
LONGEST_GREYLISTED_WAIT: Final = timedelta(minutes=30)
"""Who greylists takes mail some minutes later, seldom after more than a quarter of an hour; and forgets who
asked after some hours (RFC 6647 §5)."""
JITTER: Final = 0.25
"""By how much of itself a wait is longer at the most, so that what was deferred together comes back apart."""
_MAX_DOUBLINGS: Final = 16


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """How long a deferred Delivery waits: doubled with each Attempt, and within bounds.

    Attributes:
        base: the wait that is doubled; what greylisting waits first.
        least: no other wait is shorter.
        most: no wait is longer.
    """

    base: timedelta
    least: timedelta
    most: timedelta

    def wait_after(self, attempt: int, category: str, chance: float) -> timedelta:
        """The wait after a deferral.

        Args:
            attempt: the number of the Attempt that was deferred, from 1.
            category: why it was, by the table of judgements.
            chance: from 0.0 up to 1.0; spreads waits that would be the same.
        """
        if category == GREYLISTED:
            return self._spread(self.base, attempt - 1, self.base, LONGEST_GREYLISTED_WAIT, chance)
        return self._spread(self.base, attempt, self.least, self.most, chance)

    def _spread(
        self, base: timedelta, doublings: int, least: timedelta, most: timedelta, chance: float
    ) -> timedelta:
        most = min(most, self.most)
        wait = min(base * (1 << min(doublings, _MAX_DOUBLINGS)), most / (1 + JITTER))
        return min(max(wait, least) * (1 + JITTER * chance), most)


def next_attempt_at(
    now: datetime, wait: timedelta, schedule: RetrySchedule, expires_at: datetime
) -> datetime | None:
    """The time of the next Attempt, or None once the Retry Budget is spent.

    A wait that goes beyond the budget is cut to its end, unless less than the schedule's base is left.

    Args:
        now: when the deferral was learnt.
        expires_at: end of the Delivery's Retry Budget.
    """
    if now + wait <= expires_at:
        return now + wait
    return expires_at if now + schedule.base <= expires_at else None


def attempt_expires_at(delivery: Delivery, now: datetime) -> datetime:
    """When the current Attempt may be transmitted no more; the same for each emission that may be out."""
    since = delivery.first_emitted_at or now
    return max(delivery.standing.expires_at, since + LEAST_TIME_TO_TRY)


def is_fruitless(delivery: Delivery, now: datetime) -> bool:
    """Whether a stranded Delivery is given up: emitted MAX_EMISSIONS times, and no edge may send it now.

    As long as one may, it is not `failed`: what waits at an edge for a slow exchanger can still arrive.
    """
    if delivery.standing.emission < MAX_EMISSIONS:
        return False
    return now > attempt_expires_at(delivery, now) + LONGEST_REPLY
