"""Transmits what the journal holds: as much at once as allowed, fair between destinations."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final, Self

from edge_smtp.attempts import AttemptId, Result, State
from edge_smtp.carriers import Carried, Carrier, Destination
from edge_smtp.journal import Journal, JournalUnavailable, Unfinished
from edge_smtp.queues import DestinationQueues
from edge_smtp.session import Unconfirmed
from kannon.core.addresses import InvalidAddress, domain_name
from kannon.core.envelopes import Envelope
from kannon.core.errors import Unavailable
from kannon.core.exchangers import Exchanger, UndeliverableDomain
from kannon.core.failpoints import passing
from kannon.core.replies import Refusal, Stage
from kannon.runtime.logs import mask_address

_log = logging.getLogger(__name__)

LOOKUPS: Final = 200
"""Domains whose exchangers are looked up at once; no transmission waits for them."""
MEMORY: Final = 32 * 1024 * 1024
"""Octets of waiting messages that are held in memory; what is beyond is read from the journal again."""
PAUSE: Final = 1.0
"""Seconds to wait when the journal cannot be written."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is allowed.

    Attributes:
        max_jobs: transmissions at once.
        max_per_exchanger: of them, to the same exchangers.
        max_ambiguous: how often a Delivery that may have been delivered is transmitted once more.
    """

    max_jobs: int = 10
    max_per_exchanger: int = 10
    max_ambiguous: int = 1


@dataclass(slots=True)
class InHand:
    """An Attempt that waits or is under way.

    Attributes:
        envelope: unless it is to be read from the journal.
        intended: the exchanger that the last intent named.
        bound_to: the only exchanger that it may go to, for that one may have it already; empty before.
    """

    attempt: AttemptId
    recipient: str
    expires_at_ms: int
    ambiguities: int
    envelope: Envelope | None = None
    intended: str = ""
    bound_to: str = ""

    @classmethod
    def of(cls, envelope: Envelope, ambiguities: int) -> Self:
        """A new one."""
        attempt = AttemptId.of(envelope)
        return cls(attempt, envelope.recipient, envelope.expires_at_ms, ambiguities, envelope)

    @classmethod
    def found(cls, left: Unfinished) -> Self:
        """One that an earlier run left; an intent without result is an ambiguity."""
        ambiguities = left.ambiguities + (left.state is State.INTENT)
        it = cls(left.attempt, left.recipient, left.expires_at_ms, ambiguities)
        it.bound_to = left.exchanger
        return it

    def ways(self, destination: Destination) -> Destination:
        """The exchangers that it may go to."""
        if not self.bound_to:
            return destination
        return tuple(exchanger for exchanger in destination if exchanger.host == self.bound_to)


class _NotNow(Exception):
    """The final dot must not be sent: not in hand any more, or expired."""


class Transmitter:
    """Sees each Attempt in hand through to a result in the journal.

    Args:
        now_ms: the time, Unix milliseconds.
    """

    def __init__(self, journal: Journal, carrier: Carrier, limits: Limits, now_ms: Callable[[], int]) -> None:
        self._journal = journal
        self._carrier = carrier
        self._limits = limits
        self._now_ms = now_ms
        self._queues = DestinationQueues[Destination, InHand](limits.max_jobs, limits.max_per_exchanger)
        self._unresolved: dict[str, list[InHand]] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._lookups: set[asyncio.Task[None]] = set()
        self._octets = 0
        self._stopping = False
        self._written: asyncio.Future[None] | None = None

    async def resume(self) -> int:
        """Go on with what an earlier run left; returns how much that is."""
        left = await self._journal.unfinished()
        self._accept(InHand.found(unfinished) for unfinished in left)
        return len(left)

    def accept(self, taken: Iterable[tuple[Envelope, int]]) -> None:
        """Transmit Envelopes that the journal has just taken, each with the ambiguities of its Delivery."""
        self._accept(InHand.of(envelope, ambiguities) for envelope, ambiguities in taken)

    async def stop(self, grace: float) -> None:
        """Begin nothing more, and wait for what is under way.

        Args:
            grace: seconds after which that is cut off; the journal knows how far it came.
        """
        self._stopping = True
        for lookup in self._lookups:
            lookup.cancel()
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=grace)
        cut_off = [*self._jobs, *self._lookups]
        for task in cut_off:
            task.cancel()
        await asyncio.gather(*cut_off, return_exceptions=True)
        if self._written is not None:
            await asyncio.wait([self._written], timeout=PAUSE)
        await self._carrier.close()

    def _accept(self, attempts: Iterable[InHand]) -> None:
        for it in attempts:
            if it.envelope is not None:
                self._hold(it)
            try:
                domain = domain_name(it.recipient.rpartition("@")[2])
            except InvalidAddress as error:
                self._finish(it, Carried(Refusal(Stage.RCPT, 553, "5.1.3", f"not sent: {error}"), ""))
            else:
                self._unresolved.setdefault(domain, []).append(it)
        self._look_up()

    def _hold(self, it: InHand) -> None:
        assert it.envelope is not None
        if self._octets + it.envelope.size > MEMORY:
            it.envelope = None
        else:
            self._octets += it.envelope.size

    def _let_go(self, it: InHand) -> None:
        if it.envelope is not None:
            self._octets -= it.envelope.size
            it.envelope = None

    def _look_up(self) -> None:
        while self._unresolved and len(self._lookups) < LOOKUPS and not self._stopping:
            domain = next(iter(self._unresolved))
            task = asyncio.create_task(self._resolve(domain, self._unresolved.pop(domain)))
            self._lookups.add(task)
            task.add_done_callback(self._looked_up)

    def _looked_up(self, task: asyncio.Task[None]) -> None:
        self._lookups.discard(task)
        self._look_up()

    async def _resolve(self, domain: str, attempts: list[InHand]) -> None:
        try:
            destination = await self._carrier.destination(domain)
        except UndeliverableDomain as error:
            refusal = Refusal(Stage.DNS, 0, error.enhanced, error.reason)
        except Unavailable as error:
            refusal = Refusal(Stage.DNS, 0, "4.4.3", str(error))
        except Exception:
            _log.exception("a domain could not be looked up", extra={"domain": domain})
            refusal = Refusal(Stage.DNS, 0, "4.3.5", "internal error")
        else:
            for it in attempts:
                self._queues.put(destination, it)
            self._transmit_more()
            return
        for it in attempts:
            self._finish(it, Carried(refusal, ""))

    def _transmit_more(self) -> None:
        while len(self._jobs) < self._limits.max_jobs and not self._stopping:
            following = self._queues.take()
            if following is None:
                return
            job = asyncio.create_task(self._work(*following))
            self._jobs.add(job)
            job.add_done_callback(self._jobs.discard)

    async def _work(self, destination: Destination, it: InHand) -> None:
        # One task carries on from mail to mail while there are any.
        following: tuple[Destination, InHand] | None = (destination, it)
        while following is not None:
            destination, it = following
            reached = False
            try:
                reached = await self._transmit(destination, it)
            finally:
                self._queues.done(destination, reached)
            following = None if self._stopping else self._queues.take()
            self._transmit_more()

    async def _transmit(self, destination: Destination, it: InHand) -> bool:
        try:
            carried = await self._carry(destination, it)
        except _NotNow:
            self._let_go(it)
            return True
        except JournalUnavailable as error:
            _log.warning("transmission put off", extra={"reason": str(error)})
            await asyncio.sleep(PAUSE)
            self._queues.put(destination, it)
            return True
        except Unconfirmed as silence:
            return self._unconfirmed(destination, it, str(silence))
        except Exception:
            _log.exception("transmission failed", extra={"attempt": str(it.attempt)})
            carried = Carried(Refusal(Stage.CONNECT, 0, "4.3.5", "internal error"), "")
        self._finish(it, carried)
        answer = carried.answer
        return not isinstance(answer, Refusal) or answer.stage in _ANSWERED

    async def _carry(self, destination: Destination, it: InHand) -> Carried:
        if it.ambiguities > self._limits.max_ambiguous:
            text = "it may have been delivered; nobody knows"
            return Carried(Refusal(Stage.UNCONFIRMED, 0, "", text), it.bound_to)
        if self._now_ms() > it.expires_at_ms:
            return _EXPIRED
        ways = it.ways(destination)
        if not ways:
            text = "it may have the mail, and takes none for this domain any more"
            return Carried(Refusal(Stage.CONNECT, 0, "", text), it.bound_to)
        envelope = it.envelope or await self._journal.envelope(it.attempt)
        if envelope is None:
            raise _NotNow
        try:
            carried = await self._carrier.carry(envelope, ways, partial(self._intend, it))
        except _NotNow:
            if self._now_ms() > it.expires_at_ms:
                return _EXPIRED
            raise
        passing("edge.replied")
        return carried

    async def _intend(self, it: InHand, exchanger: Exchanger) -> None:
        passing("edge.before-intent")
        in_hand = await self._journal.intend(it.attempt, it.ambiguities, exchanger.host)
        if not in_hand or self._now_ms() > it.expires_at_ms:
            raise _NotNow
        it.intended = exchanger.host
        passing("edge.before-dot")

    def _unconfirmed(self, destination: Destination, it: InHand, why: str) -> bool:
        it.ambiguities += 1
        it.bound_to = it.intended
        _log.warning(
            "no reply after the final dot",
            extra={"attempt": str(it.attempt), "ambiguities": it.ambiguities, "reason": why},
        )
        if it.ambiguities > self._limits.max_ambiguous:
            self._finish(it, Carried(Refusal(Stage.UNCONFIRMED, 0, "", why), it.bound_to))
        else:
            self._queues.put(destination, it)
        return False

    def _finish(self, it: InHand, carried: Carried) -> None:
        self._let_go(it)
        answer = carried.answer
        if isinstance(answer, Refusal):
            stage, enhanced, text = answer.stage.value, answer.enhanced, answer.text
        else:
            stage, (enhanced, text) = "", answer.parts()
        said = (stage, answer.code, enhanced, text, carried.exchanger, it.ambiguities)
        if _log.isEnabledFor(logging.DEBUG):
            to = mask_address(it.recipient)
            _log.debug("transmitted", extra={"attempt": str(it.attempt), "to": to, "result": said})
        # Nobody waits for the disk here: what is not written yet is not published yet.
        self._written = self._journal.finish(it.attempt, Result(self._now_ms(), *said))


_ANSWERED: Final = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT})
_EXPIRED: Final = Carried(Refusal(Stage.EXPIRED, 0, "", "not sent: its time was over"), "")
