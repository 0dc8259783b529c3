"""A transmitter with a carrier and a journal that keep nothing."""

import asyncio
from collections import Counter

from edge_smtp.carriers import Carried, Destination, Intend
from edge_smtp.replies import Reply
from edge_smtp.results import ResultPublisher
from edge_smtp.transmitter import Limits, Transmitter
from kannon.core.envelopes import Envelope
from kannon.core.exchangers import Exchanger
from kannon.core.payloads import Delivered, Refused, TransmissionsDelivered, TransmissionsRefused
from kannon.core.replies import Refusal
from tests.fakes import FakePublisher
from tests.memory_journal import MemoryJournal

NOW_MS = 1_800_000_000_000
OK = Carried(Reply(250, (b"2.0.0 ok",)), "mx.test")


class ScriptedCarrier:
    """Does for each recipient what its script says; the rest is delivered.

    Attributes:
        dots: final dots sent, by recipient.
        busy, busiest: transmissions under way, now and at the most.
    """

    def __init__(self) -> None:
        self.script: dict[str, list[Carried | Exception]] = {}
        self.domains: dict[str, Exception] = {}
        self.dots: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()
        self.busy = self.busiest = 0
        self.closed = False

    async def destination(self, domain: str) -> Destination:
        if domain in self.domains:
            raise self.domains[domain]
        return (Exchanger(0, domain),)

    async def carry(self, envelope: Envelope, destination: Destination, intend: Intend) -> Carried:
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await self.gate.wait()
            steps = self.script.get(envelope.recipient)
            step = steps.pop(0) if steps else OK
            if isinstance(step, Carried) and isinstance(step.answer, Refusal):
                return step
            await intend(destination[0])
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
        self.transmitter = Transmitter(self.journal, self.carrier, limits, lambda: self.now_ms)

    async def submit(self, *envelopes: Envelope) -> None:
        answers = await self.journal.take(envelopes)
        self.transmitter.accept(
            (envelope, answer.ambiguities)
            for envelope, answer in zip(envelopes, answers, strict=True)
            if answer.is_new
        )

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
