"""A transmitter with a carrier and a journal that keep nothing."""

import asyncio
from collections import Counter

from edge_smtp.carriers import Carried, Intend
from edge_smtp.opening import NotTransmitted
from edge_smtp.queues import Destination
from edge_smtp.replies import Reply
from edge_smtp.results import ResultPublisher
from edge_smtp.transmitter import Limits, Transmitter
from kannon.core.envelopes import Envelope
from kannon.core.exchangers import Exchanger
from kannon.core.payloads import Delivered, Refused, TransmissionsDelivered, TransmissionsRefused
from kannon.core.replies import Refusal, Stage
from tests.fakes import FakePublisher
from tests.memory_journal import MemoryJournal

NOW_MS = 1_800_000_000_000
OK = Carried(Reply(250, (b"2.0.0 ok",)), "mx.test")


class ScriptedCarrier:
    """Does for each recipient what its script says; the rest is delivered.

    Attributes:
        dots: final dots sent, by recipient.
        domains: what each has instead of itself as its exchanger.
        broken: exchangers that cannot be reached.
        tried: transmissions begun, by exchanger.
        busy, busiest: transmissions under way, now and at the most.
    """

    def __init__(self) -> None:
        self.script: dict[str, list[Carried | Exception]] = {}
        self.domains: dict[str, Exception | Destination] = {}
        self.broken: set[str] = set()
        self.tried: Counter[str] = Counter()
        self.dots: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()
        self.busy = self.busiest = 0
        self.closed = False

    async def destination(self, domain: str) -> Destination:
        found = self.domains.get(domain, (Exchanger(0, domain),))
        if isinstance(found, Exception):
            raise found
        return found

    async def carry(self, envelope: Envelope, exchanger: Exchanger, intend: Intend) -> Carried:
        self.tried[exchanger.host] += 1
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await self.gate.wait()
            if exchanger.host in self.broken:
                raise NotTransmitted(Refusal(Stage.CONNECT, 0, "", "nobody listens"))
            steps = self.script.get(envelope.recipient)
            step = steps.pop(0) if steps else OK
            if isinstance(step, Carried) and isinstance(step.answer, Refusal):
                return step
            await intend(exchanger)
            self.dots[envelope.recipient] += 1
            if isinstance(step, Exception):
                raise step
            return step
        finally:
            self.busy -= 1

    async def close(self) -> None:
        self.closed = True


class Bench:
    """A transmitter with everything around it."""

    def __init__(self, limits: Limits, journal: MemoryJournal | None = None) -> None:
        self.journal = journal or MemoryJournal()
        self.carrier = ScriptedCarrier()
        self.publisher = FakePublisher()
        self.results = ResultPublisher(self.journal, self.publisher)
        self.now_ms = NOW_MS
        clock = lambda: self.now_ms / 1000  # noqa: E731
        self.transmitter = Transmitter(self.journal, self.carrier, limits, lambda: self.now_ms, clock)

    async def submit(self, *envelopes: Envelope) -> None:
        answers = await self.journal.take(envelopes)
        self.transmitter.accept(
            (envelope, answer.ambiguities)
            for envelope, answer in zip(envelopes, answers, strict=True)
            if answer.is_new
        )

    def look(self, seconds: float) -> None:
        """Let so much time pass, and the transmitter notice."""
        self.now_ms += round(seconds * 1000)
        self.transmitter._look_around()

    def unfinished(self) -> int:
        return sum(row.result is None for row in self.journal.rows.values())

    async def facts(self) -> dict[int, Delivered | Refused]:
        """What was published, by seq."""
        await self.results.drain()
        return {
            fact.emitted.seq: fact
            for payload in self.publisher.payloads
            if isinstance(payload, TransmissionsDelivered | TransmissionsRefused)
            for fact in payload.transmissions
        }
