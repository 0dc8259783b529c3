"""Statistics: what is counted, by what, and over which time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from kannon.core.deliveries import DeliveryId
from kannon.core.tracking.policy import Mode


class Dimension(StrEnum):
    """By what counts are told apart."""

    ALL = "all"
    TEMPLATE = "template"
    RECIPIENT_DOMAIN = "recipient_domain"
    PROVIDER = "provider"
    CATEGORY = "category"
    BATCH = "batch"


class Interval(StrEnum):
    """Into what a range is divided; weeks begin on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"


@dataclass(frozen=True, slots=True)
class Counts:
    """How many Outcomes of each kind there were.

    Attributes:
        deferred: tries that failed for now, each of them.
        bounced: `late_bounced` included.
        late_bounced: by a report, after the exchanger had taken the mail: these are `delivered`, too.
        opened: by persons, each time; likewise `clicked`.
        unique_opened: Deliveries that a person opened. Only under the modes that tell Deliveries apart: under
            `anonymous` there are none.
        machine_opened: by machines; not among the others.
    """

    accepted: int = 0
    rejected: int = 0
    delivered: int = 0
    deferred: int = 0
    bounced: int = 0
    late_bounced: int = 0
    failed: int = 0
    complained: int = 0
    opened: int = 0
    unique_opened: int = 0
    machine_opened: int = 0
    clicked: int = 0
    unique_clicked: int = 0
    machine_clicked: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, name) + getattr(other, name) for name in COUNTED))

    @property
    def ended(self) -> int:
        """Deliveries that were tried and have come to an end."""
        return self.delivered + self.bounced - self.late_bounced + self.failed

    def rates(self) -> Mapping[str, float | None]:
        """Shares, from 0.0 to 1.0: of what has ended `delivery` and `bounce`, of what was delivered
        `complaint`, `open` and `click` (each Delivery once), of what was opened `click_to_open`; None of
        nothing. A range may have opens of what was delivered before it, so a share may exceed 1."""
        return {
            "delivery": _share(self.delivered - self.late_bounced, self.ended),
            "bounce": _share(self.bounced, self.ended),
            "complaint": _share(self.complained, self.delivered),
            "open": _share(self.unique_opened, self.delivered),
            "click": _share(self.unique_clicked, self.delivered),
            "click_to_open": _share(self.unique_clicked, self.unique_opened),
        }


COUNTED: Final = tuple(each.name for each in fields(Counts))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be counted.

    Attributes:
        domain: the tenant.
        start: the hours (UTC) that begin at it or later; those that are under way at it are left out.
        end: the hours that begin before it.
        values: only these values of the dimension; empty: all. Batches must be named, by their message ids.
    """

    domain: str
    start: datetime
    end: datetime
    dimension: Dimension = Dimension.ALL
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts for one value of a dimension.

    Attributes:
        value: empty where the dimension is `all`, or its value is not known.
    """

    value: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class Point:
    """Counts for one value of a dimension within one interval.

    Attributes:
        start: of the interval, in the zone that was asked for.
    """

    start: datetime
    value: str
    counts: Counts


BUCKETS: Final = 48
_SHORTEST: Final = 0.05
"""Seconds. Bucket n holds what took up to this times the root of two to the n; the last one all that is
longer (ten days and more)."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long it took from when mails were due to when exchangers had taken them.

    Attributes:
        buckets: how many, by the number of the bucket (`rollup_deltas.bucket`).
    """

    buckets: Mapping[int, int]

    @property
    def total(self) -> int:
        """How many mails."""
        return sum(self.buckets.values())

    def percentile(self, share: float) -> timedelta | None:
        """The time within which this share of the mails was delivered; None of nothing. It is as exact as the
        buckets are, each of which ends at 1.4 times the one before.

        Args:
            share: from 0.0 to 1.0.
        """
        wanted = share * self.total
        passed = 0
        for number, count in sorted(self.buckets.items()):
            if count and passed + count >= wanted:
                within = max(0.0, wanted - passed) / count
                lower, upper = _bound(number - 1) if number else 0.0, _bound(number)
                return timedelta(seconds=lower + (upper - lower) * within)
            passed += count
        return None


def _bound(number: int) -> float:
    return _SHORTEST * float(2 ** (number / 2))


@dataclass(frozen=True, slots=True)
class Event:
    """One Outcome, with all that is known of it.

    Attributes:
        delivery: None where it is not known whose it is.
        email: the Recipient's address, or a pseudonym.
        type: as `Outcome.type`, `opened` or `clicked`.
        attempt: 0 for what came before the first, and for opens and clicks.
        data: of transmissions the reply (`code`, `enhanced`, `msg`), `exchanger` and `category`; of clicks
            `url`; under mode full `ip` and `user_agent`.
        id: of an open or a click: the request.
        machine: what opened or clicked, if that was no person.
        mode: under which an open or a click was recorded.
    """

    batch: int
    delivery: DeliveryId | None
    message_id: str
    domain: str
    email: str
    at: datetime
    type: str
    attempt: int
    data: Mapping[str, Any]
    id: str = ""
    machine: str = ""
    mode: Mode | None = None

    @property
    def place(self) -> "Place":
        """Where it stands among others."""
        seq = self.delivery.seq if self.delivery else -1
        return Place(self.at, self.batch, seq, self.type, self.attempt, self.id)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where an Event stands among all others; orders them by time."""

    at: datetime
    batch: int
    seq: int
    type: str
    attempt: int
    id: str


@dataclass(frozen=True, slots=True, order=True)
class LogPlace:
    """Where an Event stands among all others in the order of commit; those of one transaction by `place`.

    Attributes:
        position: of its transaction.
    """

    position: int
    place: Place


@dataclass(frozen=True, slots=True)
class LogPage:
    """Some Events in the order of commit.

    Attributes:
        end: the place of the last of them; where there is none, that which was asked for.
    """

    events: Sequence[Event]
    end: LogPlace | None


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which Events of a Domain to look at.

    Attributes:
        start: at this time or later.
        end: before this time.
        email: an address as intake wrote it, or a pseudonym; empty: any.
        message_id: of a Batch; empty: any.
        type: empty: any.
    """

    domain: str
    start: datetime
    end: datetime
    email: str = ""
    message_id: str = ""
    type: str = ""


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some Events.

    Attributes:
        next: where the next page begins; None at the end.
    """

    events: Sequence[Event]
    next: Place | None


@dataclass(frozen=True, slots=True)
class BatchFilter:
    """Which Batches of a Domain to look at.

    Attributes:
        start: accepted at this time or later.
        end: accepted before this time.
        subject: what the subject contains, in whatever case; empty: anything.
    """

    domain: str
    start: datetime
    end: datetime
    subject: str = ""


@dataclass(frozen=True, slots=True)
class BatchFound:
    """A Batch that was looked for."""

    number: int
    message_id: str
    subject: str
    template_id: str
    recipients: int
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Some Batches.

    Attributes:
        next: number behind which the next page begins; None at the end.
    """

    batches: Sequence[BatchFound]
    next: int | None
