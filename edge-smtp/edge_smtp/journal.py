"""The edge's own record of Attempts: the truth about what was put on the wire."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from edge_smtp.attempts import AttemptId, Result, State
from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import Envelope
from kannon.core.errors import KannonError, Unavailable
from kannon.core.payloads import Delivered, Emitted, Refused
from kannon.ports import SubmitVerdict

KEEP_PUBLISHED_MS: Final = 7 * 24 * 3600 * 1000
"""How long after its expiry a published Attempt is still known, in milliseconds."""


class JournalUnusable(KannonError):
    """The file is no journal, or one that this edge cannot go on with; the text says why."""


class JournalUnavailable(Unavailable):
    """Nothing could be written, as on a full disk; nothing of the call is in the journal."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a submitted Envelope.

    Attributes:
        is_new: whether it is to be transmitted.
        ambiguities: how often its Delivery may have been transmitted already.
    """

    verdict: SubmitVerdict
    reason: str = ""
    is_new: bool = False
    ambiguities: int = 0


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An Attempt without result, as a restart finds it: TAKEN or INTENT.

    Attributes:
        exchanger: the host that the last intent named; empty without one.
    """

    attempt: AttemptId
    state: State
    ambiguities: int
    exchanger: str
    recipient: str
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is: Envelopes without a result, results that are not published."""

    held: int
    unpublished: int


class Journal(Protocol):
    """Remembers Attempts. What a call wrote is on the disk when it returns.

    Attributes:
        id: names this journal.
        born_at_ms: when it was made, Unix milliseconds.
        results_waiting: set when there may be results to publish; who reads them clears it first.
    """

    id: str
    born_at_ms: int
    results_waiting: asyncio.Event

    async def take(
        self, envelopes: Sequence[Envelope], without_room: Collection[DeliveryId] = ()
    ) -> Sequence[Answer]:
        """Take responsibility for Envelopes, one answer each, in order.

        Args:
            without_room: Deliveries of which no Envelope is taken, unless its Attempt is known already.

        Raises:
            JournalUnavailable: none of them is taken.
        """

    async def intend(self, attempt: AttemptId, ambiguities: int, exchanger: str) -> bool:
        """Write that the final dot is about to be sent.

        Args:
            ambiguities: of its Delivery, up to now.
            exchanger: the host that will see it.

        Returns:
            False if the Attempt is not in hand any more (a higher one was taken): send nothing.

        Raises:
            JournalUnavailable: it is not written: send nothing.
        """

    def finish(self, attempt: AttemptId, result: Result) -> asyncio.Future[None]:
        """Write a result; with it the Envelope is not in hand any more.

        It is in line at once; await it to know it on the disk. A journal that cannot write goes on trying.
        An Attempt that is not in hand is left as it is.
        """

    async def unpublished(self, limit: int) -> Sequence[Delivered | Refused]:
        """Up to `limit` results that are to be published; raises JournalUnavailable."""

    async def mark_published(self, emissions: Sequence[Emitted]) -> None:
        """Write that results were published. One that was emitted again meanwhile stays unpublished."""

    async def unfinished(self) -> Sequence[Unfinished]:
        """The Attempts without result; raises JournalUnavailable."""

    async def envelope(self, attempt: AttemptId) -> Envelope | None:
        """The Envelope of an Attempt without result; None if it is not in hand. Raises JournalUnavailable."""

    async def counts(self) -> Counts:
        """How much there is; raises JournalUnavailable."""

    async def prune(self, expired_before_ms: int) -> int:
        """Forget published Attempts that expired before then; returns how many. Raises JournalUnavailable."""

    async def forget(self, deliveries: Sequence[DeliveryId]) -> int:
        """Forget the texts of published replies of these; returns of how many there was one. Raises
        JournalUnavailable."""

    async def close(self) -> None:
        """Write what is in line, and let go of the file."""
