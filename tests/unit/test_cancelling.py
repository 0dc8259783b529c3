"""Cancelling against all that may happen meanwhile: dispatch and stats as they are, an edge in outline."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st

from functions.stats.deciding import RetryRules
from functions.stats.handler import Stats
from kannon.core.deliveries import DeliveryId, Status
from kannon.core.envelopes import Envelope
from kannon.core.payloads import (
    AnyPayload,
    Delivered,
    DeliveriesDue,
    Emitted,
    EnvelopesReady,
    EnvelopesUntaken,
    Judged,
    Refused,
    TransmissionsDelivered,
    TransmissionsJudged,
)
from kannon.core.replies import Stage
from kannon.core.retries import RetrySchedule
from kannon.core.suppression import SuppressionRules
from kannon.ports import LedgerWork
from tests.fakes_batches import FakeBatches
from tests.fakes_ledger import FakeLedger
from tests.mail import DOMAIN, NOW, delivery
from tests.unit.test_dispatch import LEASE, Surroundings, Ticking

COUNT = 3
RETRY_MIN = timedelta(minutes=5)
SCHEDULE = RetrySchedule(timedelta(minutes=2), RETRY_MIN, timedelta(hours=4))
FINAL = {"delivered", "bounced", "failed"}


class Died(Exception):
    """A part dies before it commits."""


@dataclass
class Mortal(FakeLedger):
    """A ledger whose next transaction may die instead of being committed."""

    dies: bool = False

    @asynccontextmanager
    async def work(self) -> AsyncIterator[LedgerWork]:
        async with super().work() as work:
            yield work
            if self.dies:
                self.dies = False
                raise Died


@dataclass
class Edge:
    """An edge: what its journal knows, what it has told, and what arrived of it."""

    known: dict[DeliveryId, tuple[int, int, str]] = field(default_factory=dict)
    told: deque[AnyPayload] = field(default_factory=deque)
    arrived: Counter[DeliveryId] = field(default_factory=Counter)

    def submit(self, envelope: Envelope, has_room: bool) -> None:
        name = envelope.delivery
        attempt, emission, result = self.known.get(name, (0, 0, ""))
        if envelope.attempt < attempt:
            return
        if envelope.attempt > attempt:
            if not has_room:
                emitted = Emitted(name.batch, name.seq, envelope.attempt, envelope.emission)
                self.told.append(EnvelopesUntaken((emitted,)))
                return
            emission, result = 0, ""
        self.known[name] = (envelope.attempt, max(emission, envelope.emission), result)
        if result and envelope.emission > emission:
            self.tell(name)

    def transmit(self, result: str) -> None:
        """Transmit what is waiting, with this result."""
        for name, (attempt, emission, known) in list(self.known.items()):
            if not known:
                self.arrived[name] += result == "delivered"
                self.known[name] = (attempt, emission, result)
                self.tell(name)

    def tell(self, name: DeliveryId) -> None:
        attempt, emission, result = self.known[name]
        emitted = Emitted(name.batch, name.seq, attempt, emission)
        if result == "delivered":
            self.told.append(TransmissionsDelivered((Delivered(emitted, NOW, 250, "", "ok", "mx"),)))
        else:
            refused = Refused(emitted, NOW, Stage.RCPT, 450, "", "later", "mx")
            self.told.append(TransmissionsJudged((Judged(refused, result, "temporary", False),)))


class World:
    """A Batch of a few mails on its way."""

    def __init__(self, count: int = COUNT) -> None:
        self.around = Surroundings(ledger=Mortal())
        self.ledger: Mortal = self.around.ledger  # type: ignore[assignment]
        self.ticking = Ticking(self.around)
        self.batches = FakeBatches(self.ledger)
        rows = [delivery(seq) for seq in range(count)]
        self.batches.put(DOMAIN, 7, NOW, *rows)
        self.around.with_deliveries(*rows)
        self.edge = Edge()
        self.stats = Stats(
            self.ledger, self.around.publisher, self.around.outbox, RetryRules(SCHEDULE),
            lambda: self.around.now, lambda: "nonce", lambda: 0.0,
            SuppressionRules(),
        )  # fmt: skip
        self.seen = self.asked = 0

    async def verify(self) -> None:
        await self.around.verdicts(*[""] * COUNT)

    async def claim(self) -> None:
        self.asked += 1
        await self.around.dispatch.handle(DeliveriesDue(100, f"claim {self.asked}"), "")

    async def verify_and_die(self) -> None:
        self.ledger.dies = True
        await self.verify()

    async def claim_and_die(self) -> None:
        self.ledger.dies = True
        await self.claim()

    async def submit(self) -> None:
        for envelope in self._new_envelopes():
            self.edge.submit(envelope, has_room=True)

    async def submit_to_a_full_edge(self) -> None:
        for envelope in self._new_envelopes():
            self.edge.submit(envelope, has_room=False)

    async def lose_envelopes(self) -> None:
        self._new_envelopes()

    async def submit_again(self) -> None:
        self.seen = 0
        await self.submit()

    async def deliver(self) -> None:
        self.edge.transmit("delivered")

    async def defer(self) -> None:
        self.edge.transmit("deferred")

    async def bounce(self) -> None:
        self.edge.transmit("bounced")

    async def learn(self) -> None:
        if self.edge.told:
            await self.stats.handle(self.edge.told.popleft(), "")

    async def lose_results(self) -> None:
        self.edge.told.clear()

    async def learn_late(self) -> None:
        self.edge.told.rotate(-1)

    async def learn_and_die(self) -> None:
        if self.edge.told:
            self.ledger.dies = True
            await self.stats.handle(self.edge.told[0], "")

    async def wait(self) -> None:
        self.around.now += RETRY_MIN

    async def strand(self) -> None:
        self.around.now += LEASE + timedelta(seconds=1)
        await self.ticking.tick()

    async def cancel(self) -> None:
        await self.batches.cancel(7, self.around.now)

    async def move_ahead(self) -> None:
        await self.batches.reschedule(7, self.around.now + timedelta(hours=1))

    async def move_to_now(self) -> None:
        await self.batches.reschedule(7, self.around.now)

    async def do(self, step: str) -> None:
        with suppress(Died):
            await getattr(self, step)()
        self.ledger.dies = False

    async def finish(self) -> None:
        """Let all that is owed come to its end."""
        for _ in range(40):
            for step in ("verify", "claim", "submit", "deliver", *["learn"] * (len(self.edge.told) + COUNT)):
                await self.do(step)
            if not self.edge.told and all(s.is_terminal for s in self.around.statuses()):
                return
            await self.do("strand")
        raise AssertionError(f"this does not end: {self.around.statuses()}")

    def begun(self) -> set[tuple[DeliveryId, int]]:
        """All Attempts that were ever published."""
        return {
            (envelope.delivery, envelope.attempt)
            for event in self.around.published(EnvelopesReady)
            if isinstance(event, EnvelopesReady)
            for envelope in event.envelopes
        }

    def types(self, name: DeliveryId) -> Counter[str]:
        return Counter(o.type for o in self.ledger.outcomes.values() if o.id == name)

    def _new_envelopes(self) -> list[Envelope]:
        events = self.around.published(EnvelopesReady)
        new, self.seen = events[self.seen :], len(events)
        return [one for event in new if isinstance(event, EnvelopesReady) for one in event.envelopes]


STEPS = [
    "verify", "claim", "verify_and_die", "claim_and_die", "submit", "submit_to_a_full_edge", "submit_again",
    "lose_envelopes", "deliver", "defer", "bounce", "learn", "learn_late", "learn_and_die", "wait", "strand",
    "move_ahead", "move_to_now",
]  # fmt: skip
# An Envelope that the ledger does not know of and a result of it that is lost are two faults at once: that is
# one too many.
STEPS_WHILE_NATS_LOSES = [
    step for step in STEPS if step not in ("verify_and_die", "claim_and_die", "submit_again")
] + ["lose_results"] * 3


def some(steps: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(steps), max_size=14)


async def history(before: list[str], after: list[str]) -> None:
    world = World()
    for step in before:
        await world.do(step)
    await world.do("cancel")
    begun = world.begun()
    for step in after:
        await world.do(step)
    await world.finish()
    assert world.begun() == begun, "nothing is begun once a Batch is cancelled"
    for name, row in world.ledger.rows.items():
        status, types = row.standing.status, world.types(name)
        assert (status is Status.DELIVERED) == (world.edge.arrived[name] == 1), "delivered is what arrived"
        assert world.edge.arrived[name] <= 1
        finals = [kind for kind in types.elements() if kind in FINAL]
        assert finals == ([] if status is Status.CANCELLED else [status.value]), (
            "one end, and one count of it"
        )
        assert types["accepted"] <= 1
        assert types["accepted"] or not finals, "what has ended was accepted before"


@settings(deadline=None)
@given(some(STEPS), some(STEPS))
@example(["verify_and_die", "submit"], ["deliver", "learn"])  # an Envelope that nobody knows of
@example(["verify", "submit_to_a_full_edge", "learn"], ["claim"])
@example(["verify", "lose_envelopes", "strand", "claim", "submit_to_a_full_edge"], ["learn", "claim"])
@example(["verify", "submit"], ["defer", "learn"])
def test_whatever_happens_around_a_cancellation_each_mail_has_one_end_and_it_is_the_truth(
    before: list[str], after: list[str]
) -> None:
    asyncio.run(history(before, after))


@settings(deadline=None)
@given(some(STEPS_WHILE_NATS_LOSES), some(STEPS_WHILE_NATS_LOSES))
@example(["verify", "submit", "deliver", "lose_results", "strand"], [])
@example(["verify", "lose_envelopes", "strand", "claim", "submit"], ["deliver", "lose_results"])
def test_and_so_it_is_when_results_get_lost(before: list[str], after: list[str]) -> None:
    asyncio.run(history(before, after))


async def test_what_is_deferred_after_its_batch_was_cancelled_is_not_tried_again() -> None:
    world = World()
    for step in ("verify", "submit", "cancel", "defer", *["learn"] * COUNT):
        await world.do(step)
    assert world.around.statuses() == [Status.CANCELLED] * COUNT
    assert [o.type for o in world.ledger.outcomes.values()] == ["accepted"] * COUNT + ["error"] * COUNT


async def test_what_the_edge_has_no_room_for_after_its_batch_was_cancelled_is_cancelled() -> None:
    world = World()
    for step in ("verify", "cancel", "submit_to_a_full_edge", *["learn"] * COUNT):
        await world.do(step)
    assert world.around.statuses() == [Status.CANCELLED] * COUNT


async def test_what_the_edge_had_no_room_for_before_is_cancelled_too() -> None:
    world = World()
    for step in ("verify", "submit_to_a_full_edge", *["learn"] * COUNT, "cancel"):
        await world.do(step)
    assert world.around.statuses() == [Status.CANCELLED] * COUNT


async def test_what_may_have_arrived_is_asked_for_until_that_is_known() -> None:
    world = World()
    for step in ("verify", "submit", "deliver", "cancel"):
        await world.do(step)
    world.edge.told.clear()  # NATS lost it
    await world.do("strand")
    assert world.around.statuses() == [Status.SCHEDULED] * COUNT
    await world.finish()
    assert world.around.statuses() == [Status.DELIVERED] * COUNT
    assert set(world.edge.arrived.values()) == {1}


async def test_what_was_delivered_though_it_was_cancelled_counts_as_accepted_and_delivered_once() -> None:
    for verified in (False, True):
        world = World()
        if verified:
            world.ledger.in_hand = 0
            await world.do("verify")
            world.ledger.in_hand = COUNT
        for step in ("claim_and_die" if verified else "verify_and_die", "cancel", "submit", "deliver"):
            await world.do(step)
        await world.finish()
        types = Counter(o.type for o in world.ledger.outcomes.values())
        assert types == {"accepted": COUNT, "delivered": COUNT}


async def test_a_batch_that_is_moved_is_sent_at_its_new_time_and_dated_so() -> None:
    world = World()
    await world.do("move_ahead")
    for step in ("verify", "claim"):
        await world.do(step)
    assert world.around.statuses() == [Status.SCHEDULED] * COUNT
    world.around.now += timedelta(hours=1)
    await world.do("claim")
    (event,) = world.around.published(EnvelopesReady)
    assert isinstance(event, EnvelopesReady)
    dates = {line for one in event.envelopes for line in one.body.splitlines() if line.startswith(b"Date:")}
    assert dates == {b"Date: Sun, 01 Mar 2026 13:00:00 +0000"}
    assert {one.expires_at_ms for one in event.envelopes} == {
        int((NOW + timedelta(hours=25)).timestamp() * 1000)
    }


async def test_what_was_tried_already_keeps_its_own_time() -> None:
    world = World()
    for step in ("verify", "submit", "defer", "learn", "move_ahead"):
        await world.do(step)
    row = world.ledger.rows[DeliveryId(7, 0)]
    assert row.standing == replace(row.standing, due_at=NOW + RETRY_MIN, expires_at=NOW + timedelta(hours=24))
