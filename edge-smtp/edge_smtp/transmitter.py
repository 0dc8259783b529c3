"""Transmits what the journal holds: as much at once as allowed, fair between destinations."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Self

from edge_smtp.attempts import AttemptId, Result, State
from edge_smtp.carriers import Carried, Carrier, most_telling
from edge_smtp.health import Patience, failure_of
from edge_smtp.hosts import Host
from edge_smtp.journal import Journal, JournalUnavailable, Unfinished
from edge_smtp.observing import transmitted
from edge_smtp.opening import NotTransmitted
from edge_smtp.queues import Destination, DestinationQueues, Elsewhere, Turn
from edge_smtp.room import Room
from edge_smtp.session import Unconfirmed
from kannon.core.addresses import InvalidAddress, domain_name
from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import Envelope
from kannon.core.errors import Unavailable
from kannon.core.exchangers import Exchanger, UndeliverableDomain
from kannon.core.failpoints import passing
from kannon.core.replies import Refusal, Stage
from kannon.runtime.logs import mask_address
from kannon.telemetry.tracing import follow

_log = logging.getLogger(__name__)

LOOKUPS: Final = 200
"""Domains whose exchangers are looked up at once; no transmission waits for them."""
MEMORY: Final = 32 * 1024 * 1024
"""Octets of waiting messages that are held in memory; what is beyond is read from the journal again."""
PAUSE: Final = 1.0
"""Seconds to wait when the journal cannot be written."""
LOOK: Final = 0.25
"""Seconds between two looks at what time alone changes: suspensions, slowness, expiry."""
MAX_EXCHANGERS: Final = 5
"""How many exchangers of a domain are tried for one mail."""
MAX_DOMAINS: Final = 20_000
"""Domains of which it is remembered where their mail went."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is allowed.

    Attributes:
        max_jobs: transmissions at once; for what slow exchangers hold of them see `DestinationQueues`.
        max_per_exchanger: of them, to one exchanger.
        max_ambiguous: how often a Delivery that may have been delivered is transmitted once more.
        capacity: Envelopes that the edge holds.
        patience: with exchangers that fail.
    """

    max_jobs: int = 10
    max_per_exchanger: int = 10
    max_ambiguous: int = 1
    capacity: int = 20_000
    patience: Patience = field(default_factory=Patience)


@dataclass(slots=True)
class InHand:
    """An Attempt that waits or is under way.

    Attributes:
        envelope: unless it is to be read from the journal.
        intended: the exchanger that the last intent named.
        bound_to: the only exchanger that it may go to, for that one may have it already; empty before.
        traceparent: under which it came; empty where an earlier run took it.
        began: when its turn came, by the transmitter's clock.
    """

    attempt: AttemptId
    recipient: str
    expires_at_ms: int
    ambiguities: int
    envelope: Envelope | None = None
    intended: str = ""
    bound_to: str = ""
    traceparent: str = ""
    began: float = 0.0

    @classmethod
    def of(cls, envelope: Envelope, ambiguities: int, traceparent: str) -> Self:
        """A new one."""
        attempt = AttemptId.of(envelope)
        it = cls(attempt, envelope.recipient, envelope.expires_at_ms, ambiguities, envelope)
        it.traceparent = traceparent
        return it

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
        return tuple(_alone(exchanger) for exchanger in destination if exchanger.host == self.bound_to)[:1]


class _NotNow(Exception):
    """The final dot must not be sent: not in hand any more, or expired."""


class _Busy(Exception):
    """Another exchanger would take it, and has as many connections as it may have."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """An exchanger that is left alone.

    Attributes:
        failures: in a row.
        until_ms: when it is probed next, Unix milliseconds.
        waiting: Deliveries that wait for it.
        reason: why it failed the last time, for people.
    """

    exchanger: Exchanger
    failures: int
    until_ms: int
    waiting: int
    reason: str


class Transmitter:
    """Sees each Attempt in hand through to a result in the journal.

    Args:
        now_ms: the time, Unix milliseconds.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        journal: Journal,
        carrier: Carrier,
        limits: Limits,
        now_ms: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._carrier = carrier
        self._limits = limits
        self._now_ms = now_ms
        self._clock = clock
        self._queues = DestinationQueues[InHand](
            limits.max_jobs, limits.max_per_exchanger, limits.patience, told=self._tell
        )
        self._room = Room(self._queues, limits.capacity)
        self._destinations: dict[str, Destination] = {}
        self._unresolved: dict[str, list[InHand]] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._lookups: set[asyncio.Task[None]] = set()
        self._octets = 0
        self._stopping = False
        self._written: asyncio.Future[None] | None = None
        self._first_expiry = _NEVER
        self._look: asyncio.TimerHandle | None = None

    @property
    def capacity(self) -> int:
        """Envelopes that the edge holds at the most."""
        return self._limits.capacity

    @property
    def transmitting(self) -> int:
        """Transmissions under way."""
        return self._queues.running

    def suspended(self) -> Sequence[Suspended]:
        """The exchangers that are left alone, by the time of their next probe."""
        now, now_ms = self._clock(), self._now_ms()
        waiting = self._queues.waiting_for_suspended(now)
        hosts = sorted(self._queues.hosts.suspended, key=lambda host: host.health.until)
        return [
            Suspended(
                host.exchanger,
                host.health.failures,
                now_ms + round((host.health.until - now) * 1000),
                waiting[host],
                host.health.reason,
            )
            for host in hosts
        ]

    def ambiguous(self) -> Sequence[InHand]:
        """The Attempts in hand that may have been delivered."""
        return [it for it in self._queues.items() if it.bound_to]

    def without_room(self, envelopes: Sequence[Envelope]) -> Mapping[DeliveryId, float]:
        """Which of `envelopes` there is no room for, whose exchangers have more than their share here.

        Returns:
            The seconds after which each may be offered again; 0.0 for as soon as to an edge that is full.
        """
        if self._room.is_ample:
            return {}
        waits = self._room.waits([self._last_seen(e.recipient) for e in envelopes], self._clock())
        pairs = zip(envelopes, waits, strict=True)
        return {envelope.delivery: wait for envelope, wait in pairs if wait is not None}

    def _last_seen(self, recipient: str) -> Destination | None:
        try:
            return self._destinations.get(domain_name(recipient.rpartition("@")[2]))
        except InvalidAddress:
            return None

    async def resume(self) -> int:
        """Go on with what an earlier run left; returns how much that is."""
        left = await self._journal.unfinished()
        self._accept(InHand.found(unfinished) for unfinished in left)
        return len(left)

    def accept(self, taken: Iterable[tuple[Envelope, int]], traceparent: str = "") -> None:
        """Transmit Envelopes that the journal has just taken, each with the ambiguities of its Delivery."""
        self._accept(InHand.of(envelope, ambiguities, traceparent) for envelope, ambiguities in taken)

    async def stop(self, grace: float) -> None:
        """Begin nothing more, and wait for what is under way.

        Args:
            grace: seconds after which that is cut off; the journal knows how far it came.
        """
        self._stopping = True
        if self._look is not None:
            self._look.cancel()
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
            self._remember(domain, destination)
            for it in attempts:
                self._put(destination, it)
            self._transmit_more()
            return
        for it in attempts:
            self._finish(it, Carried(refusal, ""))

    def _remember(self, domain: str, destination: Destination) -> None:
        self._destinations.pop(domain, None)
        while len(self._destinations) >= MAX_DOMAINS:
            del self._destinations[next(iter(self._destinations))]
        self._destinations[domain] = destination

    def _put(self, destination: Destination, it: InHand) -> None:
        ways = it.ways(destination)
        if it.ambiguities > self._limits.max_ambiguous:
            text = "it may have been delivered; nobody knows"
            self._finish(it, Carried(Refusal(Stage.UNCONFIRMED, 0, "", text), it.bound_to))
        elif ways:
            self._first_expiry = min(self._first_expiry, it.expires_at_ms)
            self._queues.put(ways, it, self._clock())
        elif self._now_ms() > it.expires_at_ms:
            self._finish(it, _EXPIRED)
        else:
            text = "it may have the mail, and takes none for this domain any more"
            self._finish(it, Carried(Refusal(Stage.CONNECT, 0, "", text), it.bound_to))

    def _transmit_more(self) -> None:
        if self._stopping:
            return
        while (turn := self._queues.take(self._clock())) is not None:
            job = asyncio.create_task(self._work(turn))
            self._jobs.add(job)
            job.add_done_callback(self._jobs.discard)
        if self._look is None and (self._queues.running or len(self._queues)):
            self._look = asyncio.get_running_loop().call_later(LOOK, self._look_around)

    def _look_around(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._queues.look_around(self._clock())
        if self._now_ms() > self._first_expiry:
            self._expire()
        self._transmit_more()

    def _expire(self) -> None:
        now_ms = self._now_ms()
        for it in self._queues.remove(lambda it: now_ms > it.expires_at_ms):
            self._finish(it, _EXPIRED)
        self._first_expiry = min((it.expires_at_ms for it in self._queues.waiting()), default=_NEVER)

    async def _work(self, turn: Turn[InHand]) -> None:
        # One task carries on from mail to mail while there are any.
        following: Turn[InHand] | None = turn
        while following is not None:
            try:
                await self._transmit(following)
            finally:
                self._queues.done(following, self._clock())
            following = None if self._stopping else self._queues.take(self._clock())
            self._transmit_more()

    async def _transmit(self, turn: Turn[InHand]) -> None:
        it = turn.item
        follow(it.traceparent)
        it.began = self._clock()
        try:
            carried = await self._carry(turn)
        except _NotNow:
            self._let_go(it)
        except _Busy:
            self._put(turn.queue.destination, it)
        except JournalUnavailable as error:
            _log.warning("transmission put off", extra={"reason": str(error)})
            await asyncio.sleep(PAUSE)
            self._put(turn.queue.destination, it)
        except Exception:
            _log.exception("transmission failed", extra={"attempt": str(it.attempt)})
            self._finish(it, Carried(Refusal(Stage.CONNECT, 0, "4.3.5", "internal error"), ""))
        else:
            if carried is not None:
                self._finish(it, carried)

    async def _carry(self, turn: Turn[InHand]) -> Carried | None:
        """Carry it to one exchanger after the other; None if it is to be carried once more."""
        it = turn.item
        if self._now_ms() > it.expires_at_ms:
            return _EXPIRED
        envelope = it.envelope or await self._journal.envelope(it.attempt)
        if envelope is None:
            raise _NotNow
        failures: list[Carried] = []
        while True:
            exchanger = turn.exchanger
            try:
                carried = await self._carrier.carry(envelope, exchanger, partial(self._intend, it))
            except NotTransmitted as failure:
                failures.append(Carried(failure.refusal, exchanger.host))
                if not self._goes_elsewhere(turn, failure.refusal, len(failures)):
                    return most_telling(failures)
            except Unconfirmed as silence:
                self._queues.failed(turn, f"dot: {silence}", self._clock())
                self._unconfirmed(exchanger, it, str(silence))
                return None
            except _NotNow:
                if self._now_ms() > it.expires_at_ms:
                    return _EXPIRED
                raise
            else:
                passing("edge.replied")
                self._learn(turn, carried)
                return carried

    def _goes_elsewhere(self, turn: Turn[InHand], refusal: Refusal, tried: int) -> bool:
        now = self._clock()
        reason = failure_of(refusal)
        if reason:
            self._queues.failed(turn, reason, now)
        else:
            self._queues.ended(turn, now)
        where = self._queues.elsewhere(turn, now) if tried < MAX_EXCHANGERS else Elsewhere.NONE
        if where is Elsewhere.BUSY and reason:
            raise _Busy  # not for ever: each of these failures brings a suspension nearer
        return where is Elsewhere.FOUND

    def _learn(self, turn: Turn[InHand], carried: Carried) -> None:
        answer = carried.answer
        reason = failure_of(answer) if isinstance(answer, Refusal) else ""
        if reason:
            self._queues.failed(turn, reason, self._clock())
        elif carried.exchanger:
            self._queues.answered(turn, self._clock())

    async def _intend(self, it: InHand, exchanger: Exchanger) -> None:
        passing("edge.before-intent")
        in_hand = await self._journal.intend(it.attempt, it.ambiguities, exchanger.host)
        if not in_hand or self._now_ms() > it.expires_at_ms:
            raise _NotNow
        it.intended = exchanger.host
        passing("edge.before-dot")

    def _unconfirmed(self, exchanger: Exchanger, it: InHand, why: str) -> None:
        it.ambiguities += 1
        it.bound_to = it.intended
        _log.warning(
            "no reply after the final dot",
            extra={"attempt": str(it.attempt), "ambiguities": it.ambiguities, "reason": why},
        )
        if it.ambiguities > self._limits.max_ambiguous:
            self._finish(it, Carried(Refusal(Stage.UNCONFIRMED, 0, "", why), it.bound_to))
        else:
            self._put((exchanger,), it)

    def _tell(self, host: Host) -> None:
        health = host.health
        named = {"host": host.exchanger.host, "port": host.exchanger.port}
        if not health.until:
            _log.info("exchanger is back", extra=named)
            return
        until = datetime.fromtimestamp(self._now_ms() / 1000, UTC)
        until += timedelta(seconds=health.until - self._clock())
        why = {"failures": health.failures, "until": until.isoformat(), "reason": health.reason}
        _log.warning("exchanger suspended", extra=named | why)

    def _finish(self, it: InHand, carried: Carried) -> None:
        self._let_go(it)
        seconds = self._clock() - it.began if it.began else 0.0
        transmitted(it.attempt, carried, it.traceparent, seconds)
        answer = carried.answer
        if isinstance(answer, Refusal):
            stage, enhanced, text = answer.stage.value, answer.enhanced, answer.text
        else:
            stage, (enhanced, text) = "", answer.parts()
        said = (stage, answer.code, enhanced, text, carried.exchanger, it.ambiguities)
        if _log.isEnabledFor(logging.DEBUG):
            to = mask_address(it.recipient)
            about = {"delivery": str(it.attempt.delivery), "attempt": it.attempt.attempt, "to": to}
            _log.debug("transmitted", extra=about | {"result": said})
        # Nobody waits for the disk here: what is not written yet is not published yet.
        self._written = self._journal.finish(it.attempt, Result(self._now_ms(), *said))


def _alone(exchanger: Exchanger) -> Exchanger:
    return Exchanger(0, exchanger.host, exchanger.port)


_EXPIRED: Final = Carried(Refusal(Stage.EXPIRED, 0, "", "not sent: its time was over"), "")
_NEVER: Final = 1 << 62
