"""What everything that gives Outcomes in the order of commit keeps to, in memory and in PostgreSQL; and what
only PostgreSQL can show: transactions that are committed in another order than they were begun."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from kannon.adapters.postgres.connection import Database, queries
from kannon.adapters.postgres.ledger import PostgresLedger
from kannon.adapters.postgres.migrate import migrate
from kannon.adapters.postgres.outcome_log import SQL, PostgresOutcomeLog
from kannon.core.batches import Outcome
from kannon.core.deliveries import DeliveryId
from kannon.core.errors import CursorAhead, LedgerUnavailable
from kannon.core.statistics import Event, LogPlace
from kannon.ports import OutcomeLog
from tests.contract.test_ledger_contract import postgres_subject
from tests.fakes_statistics import FakeOutcomeLog
from tests.mail import DOMAIN

AT = datetime(2026, 3, 1, tzinfo=UTC)
Commit = Callable[[Sequence[Event]], Awaitable[None]]


@dataclass
class Subject:
    """A log, and a way to commit to it."""

    log: OutcomeLog
    commit: Commit

    async def told(self, after: LogPlace | None = None, take: int = 100) -> list[str]:
        """All from a place on, page by page."""
        found: list[str] = []
        while True:
            page = await self.log.page(DOMAIN, after, take)
            found += [str(event.delivery) for event in page.events]
            if len(page.events) < take:
                return found
            after = page.end


def event(seq: int, **changes: Any) -> Event:
    name = DeliveryId(7, seq)
    plain = Event(7, name, f"msg_x@{DOMAIN}", DOMAIN, "a@example.org", AT, "delivered", 1, {"code": 250})
    return replace(plain, **changes)


def outcome(event: Event) -> Outcome:
    assert event.delivery
    named = (event.email, event.message_id, event.domain)
    return Outcome(event.delivery, event.type, event.attempt, event.at, *named, event.data)


@pytest.fixture(params=["in memory", "in PostgreSQL"])
def url(request: pytest.FixtureRequest) -> str:
    return "" if request.param == "in memory" else str(request.getfixturevalue("migrated_database"))


IN_POSTGRESQL = pytest.mark.parametrize("url", ["in PostgreSQL"], indirect=True)


@pytest.fixture
async def subject(url: str) -> AsyncIterator[Subject]:
    if not url:
        log = FakeOutcomeLog()

        async def remember(events: Sequence[Event]) -> None:
            log.commit(*events)

        yield Subject(log, remember)
        return
    async with AsyncExitStack() as stack:
        database = Database(url)
        await database.open()
        stack.push_async_callback(database.close)
        await postgres_subject(url, database)
        ledger = PostgresLedger(database)

        async def commit(events: Sequence[Event]) -> None:
            async with ledger.work() as work:
                await work.record([outcome(one) for one in events])

        yield Subject(PostgresOutcomeLog(database), commit)


async def test_what_was_committed_comes_in_that_order_whenever_it_happened(subject: Subject) -> None:
    await subject.commit([event(1, at=AT + timedelta(days=1))])
    await subject.commit([event(2, at=AT - timedelta(days=400)), event(3, at=AT)])
    await subject.commit([event(0)])
    for take in (1, 2, 100):
        assert await subject.told(take=take) == ["7.1", "7.2", "7.3", "7.0"]


async def test_who_goes_on_gets_what_came_since_and_nothing_twice(subject: Subject) -> None:
    await subject.commit([event(0), event(1)])
    place = (await subject.log.page(DOMAIN, None, 1)).end
    await subject.commit([event(2)])
    assert await subject.told(place) == ["7.1", "7.2"]
    end = (await subject.log.page(DOMAIN, None, 100)).end
    assert await subject.told(end) == []


async def test_from_the_end_on_there_is_what_is_committed_from_then_on(subject: Subject) -> None:
    await subject.commit([event(0)])
    end = await subject.log.end()
    assert await subject.told(end) == []
    await subject.commit([event(1)])
    assert await subject.told(end) == ["7.1"]


async def test_another_domain_has_its_own(subject: Subject) -> None:
    await subject.commit([event(0)])
    assert (await subject.log.page("elsewhere.example", None, 10)).events == []


async def test_an_event_comes_as_it_was_told(subject: Subject) -> None:
    await subject.commit([event(0)])
    (found,) = (await subject.log.page(DOMAIN, None, 10)).events
    assert found == event(0)


async def test_a_place_that_was_not_reached_yet_is_of_another_database(subject: Subject) -> None:
    await subject.commit([event(0)])
    end = await subject.log.end()
    with pytest.raises(CursorAhead):
        await subject.log.page(DOMAIN, replace(end, position=end.position + 1_000_000), 10)


@asynccontextmanager
async def uncommitted(url: str, seq: int) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A transaction of its own that has written an Outcome."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(
            "INSERT INTO stats (batch, seq, type, attempt, timestamp, message_id, domain, email)"
            " VALUES (7, %s, 'delivered', 1, %s, 'msg_x', %s, 'a@example.org')",
            (seq, AT, DOMAIN),
        )
        yield connection


@IN_POSTGRESQL
async def test_what_is_committed_late_stands_behind_what_was_read(subject: Subject, url: str) -> None:
    async with uncommitted(url, 1) as slow:
        async with uncommitted(url, 2) as quick:
            await quick.commit()
        page = await subject.log.page(DOMAIN, None, 10)
        assert page.events == []  # though one of them is committed
        end = await subject.log.end()
        await slow.commit()
    assert await subject.told(page.end) == ["7.1", "7.2"]
    assert await subject.told(end) == ["7.1", "7.2"]


@IN_POSTGRESQL
async def test_what_is_rolled_back_holds_nothing_up(subject: Subject, url: str) -> None:
    async with uncommitted(url, 1) as slow:
        await subject.commit([event(2)])
        await slow.rollback()
    assert await subject.told() == ["7.2"]


@IN_POSTGRESQL
async def test_a_reader_beside_many_writers_misses_nothing_and_gets_nothing_twice(
    subject: Subject, url: str
) -> None:
    found: list[str] = []

    async def write(writer: int) -> None:
        for number in range(40):
            async with uncommitted(url, writer * 100 + number) as connection:
                await asyncio.sleep(0.001 * ((writer * 7 + number * 3) % 5))  # out of order
                await (connection.rollback() if number % 10 == 9 else connection.commit())

    writing = asyncio.gather(*(write(writer) for writer in range(6)))
    place: LogPlace | None = None
    is_last = False
    while not is_last:
        is_last = writing.done()
        page = await subject.log.page(DOMAIN, place, 7)
        found += [str(one.delivery) for one in page.events]
        place = page.end
        is_last = is_last and not page.events
    await writing
    wanted = {f"7.{writer * 100 + number}" for writer in range(6) for number in range(40) if number % 10 != 9}
    assert len(found) == len(set(found))
    assert set(found) == wanted


@IN_POSTGRESQL
async def test_after_a_restore_by_a_server_that_counted_less_positions_go_on_growing(
    subject: Subject, url: str
) -> None:
    await subject.commit([event(0)])
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("UPDATE stats SET position = position + 1000000000")
        assert await subject.told() == []
        await asyncio.to_thread(migrate, url)
        assert await subject.told() == ["7.0"]
        place = (await subject.log.page(DOMAIN, None, 10)).end
        await subject.commit([event(1)])
        assert await subject.told(place) == ["7.1"]


@IN_POSTGRESQL
async def test_a_page_is_found_by_index_however_much_there_is(subject: Subject, url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO stats (batch, seq, type, attempt, timestamp, message_id, domain, email, position)"
            " SELECT 7, n, 'delivered', 1, now(), '', %s, 'a@example.org', n %% 100 + 1"
            " FROM generate_series(1, 20000) n",
            (DOMAIN,),
        )
        await connection.execute("ANALYZE stats")
        text, asked = (
            SQL["page"],
            {"domain": DOMAIN, "horizon": 10**9, "take": 500, "position": 40, "type": ""},
        )
        asked |= {"at": AT, "batch": 7, "seq": 9, "attempt": 1, "id": ""}
        await connection.execute(
            queries("statistics_queries")["reach_rows_by_index"].replace("true", "false")
        )
        plan = await (await connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", asked)).fetchone()
        said = str(plan)
        assert "Incremental Sort" in said
        assert "Seq Scan" not in said
    page = await subject.log.page(DOMAIN, None, 500)
    assert [one.delivery.seq for one in page.events[:2] if one.delivery] == [100, 200]
    assert await subject.told(page.end, 5000) != []
    assert len(await subject.told(take=3000)) == 20_000


async def test_without_postgresql_there_is_no_answer(url: str) -> None:
    log: OutcomeLog = FakeOutcomeLog(away=True)
    if url:
        database = Database(url)
        await database.open()
        await database.close()
        log = PostgresOutcomeLog(database)
    with pytest.raises(LedgerUnavailable):
        await log.page(DOMAIN, None, 1)
