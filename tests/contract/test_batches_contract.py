"""What everything that cancels and moves Batches keeps to, together with the ledger of their Deliveries."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from kannon.adapters.postgres.batches import PostgresBatches
from kannon.adapters.postgres.connection import Database
from kannon.core.batches import Delivery, Move
from kannon.core.deliveries import DeliveryId, Fact, Status, transition
from kannon.core.errors import LedgerUnavailable
from kannon.ports import Batches, BatchRecord, Ledger
from tests.contract.test_ledger_contract import RECIPIENTS, move, postgres_subject
from tests.fakes_batches import FakeBatches
from tests.fakes_ledger import FakeLedger
from tests.mail import DOMAIN, NOW, delivery

NAME = f"msg_7@{DOMAIN}"
LATER = NOW + timedelta(days=30)
BUDGET = timedelta(hours=24)


@dataclass
class Subject:
    """A Batch of a few accepted Deliveries, and the ledger that works on them."""

    batches: Batches
    ledger: Ledger
    number: int

    def name(self, seq: int) -> DeliveryId:
        return DeliveryId(self.number, seq)

    async def record(self) -> BatchRecord:
        found = await self.batches.batch(DOMAIN, NAME)
        assert found is not None
        return found

    async def rows(self) -> list[Delivery]:
        async with self.ledger.work() as work:
            return list(await work.lock([self.name(seq) for seq in range(RECIPIENTS)]))

    async def statuses(self) -> list[Status]:
        return [row.standing.status for row in await self.rows()]

    async def put(self, seq: int, status: Status, at: datetime = NOW, **changes: object) -> Delivery:
        """Move a Delivery, and give it as it is then."""
        async with self.ledger.work() as work:
            (row,) = await work.lock([self.name(seq)])
            await work.move([move(row, status, **changes)], at)
            return (await work.lock([self.name(seq)]))[0]

    async def claimed(self, at: datetime = NOW) -> list[int]:
        async with self.ledger.work() as work:
            return [row.id.seq for row in await work.claim(100, at)]


@pytest.fixture(params=["in memory", "in PostgreSQL", "in small pieces"])
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Which one it is; and an empty database where one is needed."""
    if request.param == "in memory":
        return request.param, ""
    return request.param, request.getfixturevalue("migrated_database")


@pytest.fixture
async def subject(kind: tuple[str, str]) -> AsyncIterator[Subject]:
    name, url = kind
    if not url:
        ledger = FakeLedger(in_hand=100)
        batches = FakeBatches(ledger)
        batches.put(DOMAIN, 7, NOW, *(delivery(seq) for seq in range(RECIPIENTS)))
        yield Subject(batches, ledger, 7)
        return
    async with AsyncExitStack() as stack:
        database = Database(url)
        await database.open()
        stack.push_async_callback(database.close)
        made = await postgres_subject(url, database)
        piece = {"piece": 3} if name == "in small pieces" else {}
        yield Subject(PostgresBatches(database, **piece), made.ledger, made.batch)


async def test_a_batch_is_shown_with_its_deliveries_by_status(subject: Subject) -> None:
    await subject.put(0, Status.DELIVERED)
    await subject.put(1, Status.SENDING, emission=1)
    found = await subject.record()
    assert (found.message_id, found.subject, found.template_id) == (NAME, "Hello {{ name }}", f"t@{DOMAIN}")
    assert (found.scheduled_at, found.cancelled_at, found.retry_budget) == (NOW, None, BUDGET)
    assert found.counts == {Status.DELIVERED: 1, Status.SENDING: 1, Status.ACCEPTED: 2}
    assert (found.total, found.ended, found.cancelled, found.untried) == (4, 1, 0, 2)


async def test_a_batch_is_known_to_its_domain_alone(subject: Subject) -> None:
    assert await subject.batches.batch("example.net", NAME) is None
    assert await subject.batches.batch(DOMAIN, "msg_8@example.net") is None


async def test_what_waits_is_cancelled_and_what_is_on_its_way_or_ended_is_not(subject: Subject) -> None:
    await subject.put(1, Status.SCHEDULED)
    await subject.put(2, Status.SENDING, emission=1)
    await subject.put(3, Status.BOUNCED, attempts=1)
    await subject.batches.cancel(subject.number, NOW)
    assert await subject.statuses() == [Status.CANCELLED, Status.CANCELLED, Status.SENDING, Status.BOUNCED]
    found = await subject.record()
    assert (found.cancelled_at, found.cancelled, found.ended) == (NOW, 2, 1)


@pytest.mark.parametrize("status", list(Status))
async def test_cancelling_does_what_the_table_says(subject: Subject, status: Status) -> None:
    before = await subject.put(0, status)
    await subject.batches.cancel(subject.number, NOW)
    expected = transition(before.standing, Fact.CANCELLED) or status
    assert (await subject.statuses())[0] is expected


async def test_cancelling_twice_changes_nothing(subject: Subject) -> None:
    await subject.batches.cancel(subject.number, NOW)
    first = await subject.record()
    await subject.batches.cancel(subject.number, LATER)
    assert await subject.record() == first


async def test_nothing_of_a_cancelled_batch_is_verified_or_claimed(subject: Subject) -> None:
    await subject.put(0, Status.SENDING, emission=1)
    await subject.batches.cancel(subject.number, NOW)
    await subject.put(0, Status.SCHEDULED, attempts=1, emission=0)
    await subject.put(1, Status.ACCEPTED)
    assert await subject.claimed() == []
    async with subject.ledger.work() as work:
        assert not await work.lock_accepted(subject.number, [1])


async def test_what_may_be_out_is_not_cancelled_and_stays_on_its_way(subject: Subject) -> None:
    await subject.put(0, Status.SENDING, emission=1)
    await subject.put(0, Status.SCHEDULED)  # stranded
    await subject.batches.cancel(subject.number, NOW)
    async with subject.ledger.work() as work:
        await work.end_cancelled([subject.name(0)])
    assert (await subject.statuses())[0] is Status.SCHEDULED
    assert await subject.claimed() == [0]


async def test_what_the_edge_never_took_is_out_nowhere(subject: Subject) -> None:
    await subject.put(0, Status.SENDING, emission=1)
    back = await subject.put(0, Status.SCHEDULED, untaken=True)
    assert (back.may_be_out, back.standing.emission) == (False, 1)
    again = await subject.put(0, Status.SENDING, at=LATER, emission=2)
    assert again.first_emitted_at == LATER
    assert not (await subject.put(0, Status.SCHEDULED, untaken=True)).may_be_out


async def test_what_an_earlier_emission_may_have_brought_to_the_edge_may_be_out(subject: Subject) -> None:
    await subject.put(0, Status.SENDING, emission=1)
    await subject.put(0, Status.SCHEDULED)  # stranded
    await subject.put(0, Status.SENDING, at=LATER, emission=2)
    assert (await subject.put(0, Status.SCHEDULED, untaken=True)).may_be_out


async def test_what_comes_back_to_a_cancelled_batch_is_cancelled(subject: Subject) -> None:
    for seq in range(RECIPIENTS):
        await subject.put(seq, Status.SENDING, emission=1)
    await subject.batches.cancel(subject.number, NOW)
    async with subject.ledger.work() as work:
        deferred, untaken, stranded, _ = await work.lock([subject.name(seq) for seq in range(RECIPIENTS)])
        moves: list[Move] = [
            move(deferred, Status.SCHEDULED, attempts=1, emission=0),
            move(untaken, Status.SCHEDULED, untaken=True),
            move(stranded, Status.SCHEDULED),
        ]
        await work.move(moves, NOW)
        await work.end_cancelled([subject.name(seq) for seq in range(RECIPIENTS)])
    assert await subject.statuses() == [
        Status.CANCELLED, Status.CANCELLED, Status.SCHEDULED, Status.SENDING,
    ]  # fmt: skip


async def test_what_comes_back_to_another_batch_is_not(subject: Subject) -> None:
    await subject.put(0, Status.SCHEDULED, attempts=1)
    async with subject.ledger.work() as work:
        await work.end_cancelled([subject.name(0), subject.name(99)])
    assert (await subject.statuses())[0] is Status.SCHEDULED


async def test_what_was_not_tried_yet_is_moved_with_its_budget_and_nothing_else(subject: Subject) -> None:
    await subject.put(0, Status.SCHEDULED)
    await subject.put(1, Status.SCHEDULED, attempts=1)
    await subject.put(2, Status.SENDING, emission=1)
    assert await subject.batches.reschedule(subject.number, LATER)
    times = [(row.standing.due_at, row.standing.expires_at) for row in await subject.rows()]
    before, after = (NOW, NOW + BUDGET), (LATER, LATER + BUDGET)
    assert times == [after, before, before, after]
    found = await subject.record()
    assert (found.scheduled_at, found.retry_budget, found.untried) == (LATER, BUDGET, 2)


async def test_a_batch_may_be_moved_as_often_as_one_likes_in_both_directions(subject: Subject) -> None:
    for at in (LATER, NOW + timedelta(days=3000), NOW - timedelta(hours=5), LATER, NOW):
        assert await subject.batches.reschedule(subject.number, at)
        rows = await subject.rows()
        assert {(row.standing.due_at, row.standing.expires_at) for row in rows} == {(at, at + BUDGET)}
        assert Counter(row.standing.status for row in rows) == {Status.ACCEPTED: RECIPIENTS}


async def test_a_batch_that_is_wholly_under_way_keeps_its_time(subject: Subject) -> None:
    for seq in range(RECIPIENTS):
        await subject.put(seq, Status.SENDING, emission=1)
    assert await subject.batches.reschedule(subject.number, LATER)
    assert (await subject.record()).scheduled_at == NOW


async def test_a_cancelled_batch_is_not_moved(subject: Subject) -> None:
    await subject.batches.cancel(subject.number, NOW)
    assert not await subject.batches.reschedule(subject.number, LATER)
    assert (await subject.record()).scheduled_at == NOW
    assert {row.standing.due_at for row in await subject.rows()} == {NOW}


@pytest.mark.parametrize("real", [False, True])
async def test_away_is_said(real: bool) -> None:
    batches: Batches = FakeBatches(away=True)
    if real:
        batches = PostgresBatches(Database("postgresql://127.0.0.1:1/none"))
    with pytest.raises(LedgerUnavailable):
        await batches.batch(DOMAIN, NAME)
    with pytest.raises(LedgerUnavailable):
        await batches.cancel(7, NOW)
    with pytest.raises(LedgerUnavailable):
        await batches.reschedule(7, NOW)
