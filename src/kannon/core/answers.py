"""What posting an event came to, and how that is to be understood."""

from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

WAITED_OUT: Final = frozenset({401, 403, 404, 408, 409, 429, 503})
"""Statuses by which somebody is away, busy or not set up yet: the same event will do later."""


class Fault(StrEnum):
    """Why there is no status."""

    UNREACHED = "not reached"
    TIMED_OUT = "no answer in time"
    BROKEN_OFF = "broken off"
    UNSENDABLE = "cannot be said in HTTP"


@dataclass(frozen=True, slots=True)
class Answer:
    """What posting came to.

    Attributes:
        outcome: the HTTP status, or why there is none.
        retry_after: seconds, as the answer asked for; 0 when it did not.
        text: the beginning of the answer, for people.
    """

    outcome: int | Fault
    retry_after: float = 0.0
    text: str = ""

    @property
    def status(self) -> int | None:
        """The HTTP status, if there was one."""
        return self.outcome if isinstance(self.outcome, int) else None

    @property
    def is_taken(self) -> bool:
        """Whether the event was taken."""
        return isinstance(self.outcome, int) and 200 <= self.outcome < 300

    @property
    def is_final(self) -> bool:
        """Whether the event was refused, and would be again."""
        if isinstance(self.outcome, Fault):
            return self.outcome is Fault.UNSENDABLE
        return 400 <= self.outcome < 500 and self.outcome not in WAITED_OUT

    @property
    def reason(self) -> str:
        """What to say about it in a log or a dead letter."""
        said = str(self.outcome) if isinstance(self.outcome, Fault) else f"status {self.outcome}"
        return f"{said}: {self.text}" if self.text else said


def seconds_of(retry_after: str, now: datetime) -> float:
    """The seconds that a `Retry-After` asks for, as a number or a date (RFC 9110 §10.2.3); 0 for none."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0
