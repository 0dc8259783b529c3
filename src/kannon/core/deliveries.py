"""A Delivery: its name, its states, and what every fact, in time, late or repeated, does to it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self


class Status(StrEnum):
    """Where a Delivery stands in the ledger."""

    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    SENDING = "sending"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more is owed."""
        return self in TERMINAL


TERMINAL = frozenset({Status.DELIVERED, Status.BOUNCED, Status.FAILED, Status.REJECTED, Status.CANCELLED})


class Fact(StrEnum):
    """What can be learnt about a Delivery."""

    VERIFIED = "verified"
    REJECTED = "rejected"
    EMITTED = "emitted"
    UNTAKEN = "untaken"
    STRANDED = "stranded"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, order=True)
class DeliveryId:
    """One Recipient's slot in a Batch."""

    batch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.batch}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `<batch>.<seq>`.

        Raises:
            ValueError: `text` has another form.
        """
        batch, dot, seq = text.partition(".")
        if not (dot and batch.isdecimal() and seq.isdecimal()):
            raise ValueError(f"a Delivery is named <batch>.<seq>, not {text!r}")
        return cls(int(batch), int(seq))


@dataclass(frozen=True, slots=True)
class Standing:
    """What the ledger knows of a Delivery when a fact arrives.

    Attributes:
        attempts: tries whose result is known.
        emission: publishings of the current Attempt so far.
        expires_at: end of its Retry Budget.
        answered: whether an exchanger ever answered one of its Attempts.
    """

    status: Status
    attempts: int
    emission: int
    due_at: datetime
    expires_at: datetime
    answered: bool = False

    @property
    def current_attempt(self) -> int:
        """The number of the Attempt under way, or to come next."""
        return self.attempts + 1


# Rows: where the Delivery stands. Columns: what is learnt. A cell names where it goes; "." means that the
# fact is late, repeated or foreign here and changes nothing. "*" behind a name: only a fact of the current
# Attempt counts. A fact can outrun the commit of the dispatch that caused it (dispatch publishes, dies and
# rolls back): that is why `accepted` and `scheduled` take results, too. The Delivery may even be cancelled by
# then, and what was delivered is delivered, whatever else was written of it. It is cancelled only where no
# edge is known to have an Envelope of its current Attempt (`Delivery.may_be_out`).
_TABLE = """
          verified  rejected emitted untaken    stranded   delivered deferred   bounced  failed  cancelled
accepted  scheduled rejected sending .          .          delivered scheduled* bounced* failed* cancelled
scheduled .         .        sending .          .          delivered scheduled* bounced* failed* cancelled
sending   .         .        sending scheduled* scheduled* delivered scheduled* bounced* failed* .
delivered .         .        .       .          .          .         .          .        .       .
bounced   .         .        .       .          .          .         .          .        .       .
failed    .         .        .       .          .          .         .          .        .       .
rejected  .         .        .       .          .          .         .          .        .       .
cancelled .         .        .       .          .          delivered .          .        .       .
"""


@dataclass(frozen=True, slots=True)
class Transition:
    """A cell of the table."""

    to: Status
    current_attempt_only: bool


def _read_table(text: str) -> dict[tuple[Status, Fact], Transition | None]:
    header, *rows = text.strip().splitlines()
    facts = [Fact(name) for name in header.split()]
    table: dict[tuple[Status, Fact], Transition | None] = {}
    for row in rows:
        name, *cells = row.split()
        for fact, cell in zip(facts, cells, strict=True):
            table[Status(name), fact] = (
                None if cell == "." else Transition(Status(cell.rstrip("*")), cell.endswith("*"))
            )
    return table


TRANSITIONS = _read_table(_TABLE)
WAITING = frozenset(status for status in Status if TRANSITIONS[status, Fact.CANCELLED])
"""From here a Delivery may be cancelled, or moved to another time."""


def transition(standing: Standing, fact: Fact, attempt: int | None = None) -> Status | None:
    """Where a fact moves a Delivery, or None if it changes nothing.

    Args:
        attempt: the Attempt that the fact is about; None for facts that are not about one.
    """
    cell = TRANSITIONS[standing.status, fact]
    if cell is None or (cell.current_attempt_only and attempt != standing.current_attempt):
        return None
    return cell.to
