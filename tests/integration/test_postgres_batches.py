"""Cancelling and moving Batches in PostgreSQL while others work on their Deliveries."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from kannon.adapters.postgres.batches import PostgresBatches, settle_some
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.ledger import PostgresLedger
from kannon.core.deliveries import Status
from tests.conftest import Eventually
from tests.contract.test_ledger_contract import RECIPIENTS, Subject, move, postgres_subject
from tests.mail import NOW

LATER = NOW + timedelta(days=3650)
WAITS = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


@dataclass
class Real:
    """A Batch in a database, and all that works on it."""

    subject: Subject
    ledger: PostgresLedger
    batches: PostgresBatches
    database: Database
    url: str

    @property
    def number(self) -> int:
        return self.subject.batch

    def rows(self, text: str) -> list[Any]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(text).fetchall()

    def run(self, text: str) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(text)

    async def statuses(self) -> list[Status]:
        found = await self.subject.read()
        return [found[seq] for seq in sorted(found)]


@pytest.fixture
async def real(migrated_database: str) -> AsyncIterator[Real]:
    async with AsyncExitStack() as stack:
        database = Database(migrated_database)
        await database.open()
        stack.push_async_callback(database.close)
        subject = await postgres_subject(migrated_database, database)
        ledger = subject.ledger
        assert isinstance(ledger, PostgresLedger)
        yield Real(subject, ledger, PostgresBatches(database, piece=3), database, migrated_database)


async def test_what_dispatch_is_just_emitting_is_under_way(real: Real, eventually: Eventually) -> None:
    async with real.ledger.work() as work:
        rows = await work.lock_accepted(real.number, [0, 1])
        cancelling = asyncio.create_task(real.batches.cancel(real.number, NOW))
        assert await eventually(lambda: real.rows(WAITS) == [(1,)])
        await work.move([move(row, Status.SENDING, emission=1) for row in rows], NOW)
    await cancelling
    assert await real.statuses() == [Status.SENDING] * 2 + [Status.CANCELLED] * 2


async def test_what_a_dispatch_that_died_had_in_hand_is_cancelled(real: Real, eventually: Eventually) -> None:
    with pytest.raises(RuntimeError):  # noqa: PT012 - the transaction is what is tested
        async with real.ledger.work() as work:
            rows = await work.lock_accepted(real.number, [0, 1])
            cancelling = asyncio.create_task(real.batches.cancel(real.number, NOW))
            assert await eventually(lambda: real.rows(WAITS) == [(1,)])
            await work.move([move(row, Status.SENDING, emission=1) for row in rows], NOW)
            raise RuntimeError
    await cancelling
    assert await real.statuses() == [Status.CANCELLED] * RECIPIENTS


async def test_what_stats_is_just_bringing_back_is_cancelled_though_it_did_not_know(
    real: Real, eventually: Eventually
) -> None:
    await real.subject.put(2, Status.SENDING, emission=1)
    async with real.ledger.work() as work:
        (row,) = await work.lock([real.subject.name(2)])
        await work.move([move(row, Status.SCHEDULED, attempts=1, emission=0)], NOW)
        await work.end_cancelled([row.id])
        assert (await work.lock([row.id]))[0].standing.status is Status.SCHEDULED
        cancelling = asyncio.create_task(real.batches.cancel(real.number, NOW))
        assert await eventually(lambda: real.rows(WAITS) == [(1,)])
    await cancelling
    assert await real.statuses() == [Status.CANCELLED] * RECIPIENTS


async def test_a_verdict_that_comes_meanwhile_is_moved_along(real: Real, eventually: Eventually) -> None:
    async with real.ledger.work() as work:
        rows = await work.lock_accepted(real.number, range(RECIPIENTS))
        moving = asyncio.create_task(real.batches.reschedule(real.number, LATER))
        assert await eventually(lambda: real.rows(WAITS) == [(1,)])
        await work.move([move(row, Status.SCHEDULED) for row in rows], NOW)
    assert await moving
    assert real.rows("SELECT DISTINCT due_at, expires_at FROM deliveries") == [
        (LATER, LATER + timedelta(hours=24))
    ]


async def test_whoever_comes_behind_a_cancellation_finds_nothing_to_begin(
    real: Real, eventually: Eventually
) -> None:
    with psycopg.connect(real.url) as holding:
        holding.execute("UPDATE deliveries SET status = 'cancelled' WHERE seq = 0")

        async def lock() -> list[int]:
            async with real.ledger.work() as work:
                return [row.id.seq for row in await work.lock_accepted(real.number, [0, 1])]

        locking = asyncio.create_task(lock())  # from before the Batch was cancelled
        assert await eventually(lambda: real.rows(WAITS) == [(1,)])
        holding.execute("UPDATE messages SET cancelled_at = now()")
        holding.execute("UPDATE deliveries SET status = 'cancelled'")
        holding.commit()
        assert await locking == []


@pytest.mark.parametrize("done", [0, 3])
async def test_the_tick_goes_on_where_a_gateway_died(real: Real, done: int) -> None:
    real.run(f"UPDATE messages SET cancelled_at = now(), unsettled_from = {done}")
    async with real.ledger.work() as work:
        assert not await work.claim(100, LATER)
        assert not await work.lock_accepted(real.number, range(RECIPIENTS))
    assert await settle_some(real.database, 10, piece=3) == 2 - done // 3
    assert await real.statuses() == [Status.ACCEPTED] * done + [Status.CANCELLED] * (RECIPIENTS - done)
    assert await real.ledger.settle(10) == 0


async def test_the_tick_goes_on_with_moving_a_batch_too_and_a_bit_at_a_time(real: Real) -> None:
    real.run(
        "UPDATE messages SET scheduled_at = scheduled_at + interval '24 hours',"
        " retry_budget = '24 hours', unsettled_from = 0"
    )
    moved = "SELECT count(*) FROM deliveries WHERE due_at = (SELECT scheduled_at FROM messages)"
    for expected in (3, RECIPIENTS):
        assert await settle_some(real.database, 1, piece=3) == 1
        assert real.rows(moved) == [(expected,)]
    assert await settle_some(real.database, 1, piece=3) == 0


async def test_the_tick_does_not_wait_for_who_is_at_it(real: Real) -> None:
    real.run("UPDATE messages SET cancelled_at = now(), unsettled_from = 0")
    with psycopg.connect(real.url) as holding:
        holding.execute("SELECT 1 FROM messages FOR NO KEY UPDATE")
        assert await real.ledger.settle(10) == 0
    assert await real.ledger.settle(10) == 1


async def test_many_who_cancel_and_move_the_same_batch_come_to_one_end(real: Real) -> None:
    times = [NOW + timedelta(days=days) for days in range(6)]
    calls = [real.batches.reschedule(real.number, at) for at in times]
    await asyncio.gather(*calls[:3], real.ledger.settle(2), *calls[3:])
    ((scheduled_at,),) = real.rows("SELECT scheduled_at FROM messages")
    assert real.rows("SELECT DISTINCT due_at FROM deliveries") == [(scheduled_at,)]
    calls = [real.batches.reschedule(real.number, at) for at in times]
    await asyncio.gather(*calls[:3], real.batches.cancel(real.number, NOW), *calls[3:])
    assert await real.statuses() == [Status.CANCELLED] * RECIPIENTS
    assert real.rows("SELECT unsettled_from FROM messages") == [(None,)]


async def test_a_cancelled_batch_is_not_announced(real: Real) -> None:
    (chunk,) = await real.ledger.unannounced(10, LATER)
    real.run("UPDATE messages SET cancelled_at = now()")
    assert not await real.ledger.unannounced(10, LATER)
    await real.ledger.announced(chunk, LATER)
    assert not await real.ledger.unannounced(10, LATER + timedelta(hours=1)), "nor again, a lease later"
    await real.batches.cancel(real.number, NOW)
    assert not await real.ledger.unannounced(10, LATER + timedelta(hours=2))


async def test_a_moved_batch_is_dated_as_its_deliveries_are_due_though_it_was_remembered(real: Real) -> None:
    async with real.ledger.work() as work:
        before = await work.batch(real.number)
        (row,) = await work.lock([real.subject.name(0)])
    created = before.created_at
    assert before.dated_at(row.standing) == created, "it was scheduled before it came"
    await real.subject.put(1, Status.SENDING, emission=1)
    await real.batches.reschedule(real.number, LATER)
    fresh = PostgresLedger(real.database, b"d" * 32)
    for ledger in (real.ledger, fresh):
        async with ledger.work() as work:
            content = await work.batch(real.number)
            rows = await work.lock([real.subject.name(seq) for seq in (0, 1)])
        assert [content.dated_at(one.standing) for one in rows] == [LATER, created]
