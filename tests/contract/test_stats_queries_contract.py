"""What everything that reads the statistics keeps to, in memory and in PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from kannon.adapters.postgres import stats_queries
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.statistics_upkeep import PostgresStatisticsUpkeep
from kannon.adapters.postgres.stats_queries import PostgresStatsQueries
from kannon.core.errors import LedgerUnavailable
from kannon.core.grains import Grain, floor_of
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


def postgres_subject(database: Database, state: str) -> Subject:
    upkeep = PostgresStatisticsUpkeep(database, timedelta(days=365))

    async def put(rows: Sequence[StatsRow]) -> None:
        async with database.transaction() as connection:
            for r in rows:
                await connection.execute(
                    "INSERT INTO stats VALUES (1, %s, %s, 1, %s, %s, %s, %s, %s)",
                    (int(r.email[1:-12]), r.type, r.at, r.message_id, r.domain, r.email, Jsonb(r.data)),
                )
        for r in rows:
            await count(r.domain, [StatsCount(r.type, floor_of(r.at, Grain.HOUR), 1)])
        if state != "waiting":
            await upkeep.merge(1)
        if state == "summed up":
            await upkeep.sum_up(HOUR + timedelta(days=40))

    async def count(domain: str, counts: Sequence[StatsCount]) -> None:
        async with database.transaction() as connection:
            for c in counts:
                values = (domain, c.hour, c.type, c.count)
                await connection.execute(
                    "INSERT INTO rollup_deltas VALUES (%s, %s, 1, '', '', '', %s, NULL, %s)", values
                )

    return Subject(PostgresStatsQueries(database), put, count)


@pytest.fixture(params=["in memory", "waiting", "merged", "summed up"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database where one is needed, else nothing."""
    return "" if request.param == "in memory" else request.getfixturevalue("migrated_database")


@pytest.fixture
async def subject(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Subject]:
    if not url:
        yield fake_subject()
        return
    database = Database(url)
    await database.open()
    states = (state for state in ("merged", "summed up") if state in request.node.name)
    yield postgres_subject(database, next(states, "waiting"))
    await database.close()


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


@pytest.mark.parametrize("start", [-30.0, 0.0, 20.5])
@pytest.mark.parametrize("end", [600.0, 1000.0, 45.0])
async def test_pages_and_totals_of_many_hours(
    subject: Subject, start: float, end: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats_queries, "NEAR", 3)
    outcomes = [row(n * 17, seq=n) for n in range(50)]
    await subject.put(outcomes)
    first, last = HOUR + timedelta(minutes=start), HOUR + timedelta(minutes=end)
    expected = [outcome for outcome in outcomes if first <= outcome.at < last]
    for skip in (0, 1, 4, 5, 20, 49, 60):
        total, page = await subject.queries.rows("example.com", first, last, skip, 7)
        assert total == len(expected)
        assert list(page) == expected[skip : skip + 7]


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


@pytest.mark.parametrize("url", ["waiting"], indirect=True)
async def test_ties_are_broken_by_the_primary_key(subject: Subject) -> None:
    await subject.put([row(1, "delivered", seq=2), row(1, "error", seq=1), row(1, "bounced", seq=1)])
    _, rows = await subject.queries.rows("example.com", HOUR, HOUR + ONE, 0, 10)
    assert [(r.email[:2], r.type) for r in rows] == [("r1", "bounced"), ("r1", "error"), ("r2", "delivered")]


async def test_away_is_said() -> None:
    queries = PostgresStatsQueries(Database("postgresql://127.0.0.1:1/none"))
    with pytest.raises(LedgerUnavailable):
        await queries.counts("example.com", HOUR, HOUR + ONE)
