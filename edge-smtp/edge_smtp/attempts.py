"""An Attempt in the edge's hands: its states, its result, and what to do with one that is submitted."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import NamedTuple, Self

import msgspec

from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import Envelope
from kannon.core.payloads import Delivered, Emitted, Refused
from kannon.core.replies import Stage
from kannon.ports import SubmitVerdict


class AttemptId(NamedTuple):
    """One numbered try of a Delivery."""

    batch: int
    seq: int
    attempt: int

    @classmethod
    def of(cls, envelope: Envelope) -> Self:
        """The Attempt that `envelope` is for."""
        return cls(envelope.delivery.batch, envelope.delivery.seq, envelope.attempt)

    @property
    def delivery(self) -> DeliveryId:
        """The Delivery that is tried."""
        return DeliveryId(self.batch, self.seq)

    def __str__(self) -> str:
        return f"{self.batch}.{self.seq}:{self.attempt}"


class State(IntEnum):
    """How far an Attempt has come; each is written before the next is begun."""

    TAKEN = 1  # the Envelope is ours
    INTENT = 2  # the final dot may have been sent
    RESULT = 3  # what became of it is known
    PUBLISHED = 4  # and NATS has stored it


class Result(msgspec.Struct, frozen=True, array_like=True):
    """What became of an Attempt: the fact that is told, whenever it is told.

    Attributes:
        at_ms: when the reply came, Unix milliseconds.
        stage: where it ended, a Stage's value; empty if it was delivered.
        code: the SMTP reply code, 0 if there was none.
        enhanced: the enhanced status code (RFC 3463), empty if there was none.
        exchanger: the host that answered, empty if none did.
        ambiguities: how often this Delivery ended after the final dot without a reply, up to now.
    """

    at_ms: int
    stage: str
    code: int
    enhanced: str
    text: str
    exchanger: str
    ambiguities: int

    def event(self, attempt: AttemptId, emission: int) -> Delivered | Refused:
        """The fact as it is published for one emission of its Attempt."""
        emitted = Emitted(*attempt, emission)
        at = datetime.fromtimestamp(self.at_ms / 1000, UTC)
        said = (self.code, self.enhanced, self.text, self.exchanger, self.ambiguities)
        return Refused(emitted, at, Stage(self.stage), *said) if self.stage else Delivered(emitted, at, *said)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the journal knows of a Delivery: its highest Attempt.

    Attributes:
        ambiguities: of the Delivery; a later Attempt goes on counting.
    """

    attempt: int
    emission: int
    ambiguities: int
    state: State


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a submitted Envelope.

    Attributes:
        standing: what the journal is to know from now on; None where nothing changes.
        is_new: whether the Envelope is to be kept and transmitted.
    """

    verdict: SubmitVerdict
    reason: str = ""
    standing: Standing | None = None
    is_new: bool = False


def decide(envelope: Envelope, known: Standing | None, *, has_room: bool, born_at_ms: int) -> Decision:
    """What to do with a submitted Envelope; whatever was taken once is never transmitted for a second call.

    Args:
        known: what the journal knows of its Delivery, if anything.
        has_room: whether one more Envelope may be kept.
        born_at_ms: when the journal was made, Unix milliseconds. What was first emitted before that may have
            been transmitted by a journal that is lost.
    """
    if known is None or envelope.attempt > known.attempt:
        return _new_attempt(envelope, known, has_room, born_at_ms)
    if envelope.attempt < known.attempt:
        return Decision(SubmitVerdict.REFUSED, f"attempt {known.attempt} of this Delivery is known already")
    if envelope.emission <= known.emission:
        return Decision(SubmitVerdict.TAKEN)
    state = State.RESULT if known.state is State.PUBLISHED else known.state
    standing = Standing(known.attempt, envelope.emission, known.ambiguities, state)
    return Decision(SubmitVerdict.TAKEN, standing=standing)


def _new_attempt(envelope: Envelope, known: Standing | None, has_room: bool, born_at_ms: int) -> Decision:
    if known is not None and known.state in (State.INTENT, State.RESULT):
        return Decision(SubmitVerdict.UNTAKEN, f"attempt {known.attempt} of this Delivery is still in hand")
    replaces = known is not None and known.state is State.TAKEN
    if not (has_room or replaces):
        return Decision(SubmitVerdict.UNTAKEN, "the edge is full")
    # Whichever emission it is: NATS hands out the first one again if its acknowledgement was lost, too.
    may_be_out = envelope.first_emitted_at_ms < born_at_ms
    ambiguities = (known.ambiguities if known else 0) + may_be_out
    standing = Standing(envelope.attempt, envelope.emission, ambiguities, State.TAKEN)
    return Decision(SubmitVerdict.TAKEN, standing=standing, is_new=True)
