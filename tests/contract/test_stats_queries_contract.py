"""What everything that reads the statistics keeps to, in memory and in PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.stats_queries import PostgresStatsQueries
from kannon.core.errors import LedgerUnavailable
from kannon.ports import StatsCount, StatsQueries, StatsRow
from tests.fakes_gateway import FakeStatsQueries

HOUR = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
ONE = timedelta(hours=1)


def row(minutes: float, kind: str = "delivered", domain: str = "example.com", seq: int = 0) -> StatsRow:
    at = HOUR + timedelta(minutes=minutes)
    return StatsRow(f"msg_1@{domain}", domain, f"r{seq}@example.org", at, kind, {"code": 250, "msg": "ok"})


@dataclass
class Subject:
    """Queries, and a way to put in what they find."""

    queries: StatsQueries
    put: Callable[[Sequence[StatsRow]], Awaitable[None]]
    count: Callable[[str, Sequence[StatsCount]], Awaitable[None]]


def fake_subject() -> Subject:
    queries = FakeStatsQueries()

    async def put(rows: Sequence[StatsRow]) -> None:
        queries.outcomes.extend(rows)

    async def count(domain: str, counts: Sequence[StatsCount]) -> None:
        queries.hours.extend((domain, each) for each in counts)

    return Subject(queries, put, count)


@pytest.fixture
async def postgres_subject(migrated_database: str) -> AsyncIterator[Subject]:
    database = Database(migrated_database)
    await database.open()

    async def put(rows: Sequence[StatsRow]) -> None:
        async with database.transaction() as connection:
            for r in rows:
                await connection.execute(
                    "INSERT INTO stats VALUES (1, %s, %s, 1, %s, %s, %s, %s, %s)",
                    (int(r.email[1:-12]), r.type, r.at, r.message_id, r.domain, r.email, Jsonb(r.data)),
                )

    async def count(domain: str, counts: Sequence[StatsCount]) -> None:
        async with database.transaction() as connection:
            for c in counts:
                values = (domain, c.hour, c.type, c.count)
                await connection.execute(
                    "INSERT INTO rollup_deltas VALUES (%s, %s, 1, '', '', '', %s, NULL, %s)", values
                )

    yield Subject(PostgresStatsQueries(database), put, count)
    await database.close()


@pytest.fixture(params=["fake", "postgres"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "fake":
        return fake_subject()
    found: Subject = request.getfixturevalue("postgres_subject")
    return found


async def test_rows_of_a_domain_within_a_half_open_range_oldest_first(subject: Subject) -> None:
    first, last = row(0), row(59.99, "bounced", seq=1)
    await subject.put([last, row(60, seq=2), first, row(-0.01, seq=3), row(5, domain="example.net")])
    assert await subject.queries.rows("example.com", HOUR, HOUR + ONE, 0, 10) == (2, [first, last])


async def test_pages_never_overlap_though_all_happened_at_once(subject: Subject) -> None:
    outcomes = [row(1, kind, seq=seq) for seq in range(20) for kind in ("accepted", "delivered")]
    await subject.put(outcomes[::-1])
    seen: list[StatsRow] = []
    for skip in range(0, 42, 7):
        total, page = await subject.queries.rows("example.com", HOUR, HOUR + ONE, skip, 7)
        assert total == 40
        seen.extend(page)
    assert len(seen) == 40
    assert {(r.email, r.type) for r in seen} == {(r.email, r.type) for r in outcomes}


async def test_none_taken_still_counts(subject: Subject) -> None:
    await subject.put([row(1)])
    assert await subject.queries.rows("example.com", HOUR, HOUR + ONE, 0, 0) == (1, [])
    assert await subject.queries.rows("example.com", HOUR, HOUR, 0, 10) == (0, [])


async def test_counts_by_hour_and_type(subject: Subject) -> None:
    inside = [
        StatsCount("bounced", HOUR, 2),
        StatsCount("delivered", HOUR, 7),
        StatsCount("accepted", HOUR + ONE, 2**30),
    ]
    outside = [StatsCount("delivered", HOUR - ONE, 5), StatsCount("delivered", HOUR + 2 * ONE, 5)]
    await subject.count("example.com", [*outside, *inside[::-1]])
    await subject.count("example.net", [StatsCount("delivered", HOUR, 1)])
    assert list(await subject.queries.counts("example.com", HOUR, HOUR + 2 * ONE)) == inside


async def test_the_widest_range(subject: Subject) -> None:
    await subject.put([row(1)])
    start, end = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert (await subject.queries.rows("example.com", start, end, 0, 5))[0] == 1


async def test_ties_are_broken_by_the_primary_key(postgres_subject: Subject) -> None:
    await postgres_subject.put([row(1, "delivered", seq=2), row(1, "error", seq=1), row(1, "bounced", seq=1)])
    _, rows = await postgres_subject.queries.rows("example.com", HOUR, HOUR + ONE, 0, 10)
    assert [(r.email[:2], r.type) for r in rows] == [("r1", "bounced"), ("r1", "error"), ("r2", "delivered")]


async def test_away_is_said() -> None:
    queries = PostgresStatsQueries(Database("postgresql://127.0.0.1:1/none"))
    with pytest.raises(LedgerUnavailable):
        await queries.counts("example.com", HOUR, HOUR + ONE)
