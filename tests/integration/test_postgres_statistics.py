"""The statistics in PostgreSQL: months, merging, forgetting, and the migration that brings them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.migrate import migrate, migrations_folder
from kannon.adapters.postgres.statistics_upkeep import PostgresStatisticsUpkeep
from kannon.adapters.postgres.stats_queries import PostgresStatsQueries
from kannon.core.errors import LedgerUnavailable
from kannon.core.payloads import Act, Engagement
from kannon.core.tracking.policy import Mode
from kannon.ports import ENGAGEMENTS_REMEMBERED
from tests.contract.test_ledger_contract import Subject, outcome, postgres_subject
from tests.mail import DOMAIN, NOW

YEAR = timedelta(days=365)
DAY = timedelta(days=1)


@dataclass
class Kept:
    """A ledger, and what keeps its statistics in order."""

    ledger: Subject
    upkeep: PostgresStatisticsUpkeep
    queries: PostgresStatsQueries
    url: str

    def rows(self, text: str) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            done = connection.execute(text)
            return done.fetchall() if done.description else []

    async def record(self, seq: int, at: datetime, kind: str = "delivered") -> None:
        async with self.ledger.ledger.work() as work:
            (row,) = await work.lock([self.ledger.name(seq)])
            await work.record([outcome(row, kind, at=at)])

    def months(self) -> list[str]:
        found = self.rows(
            "SELECT relname FROM pg_class WHERE relname ~ '^stats_[0-9]{4}_[0-9]{2}$' ORDER BY 1"
        )
        return [name[-7:] for (name,) in found]


@pytest.fixture
async def kept(fresh_database: str) -> AsyncIterator[Kept]:
    migrate(fresh_database)
    database = Database(fresh_database)
    await database.open()
    ledger = await postgres_subject(fresh_database, database)
    upkeep = PostgresStatisticsUpkeep(database, YEAR)
    yield Kept(ledger, upkeep, PostgresStatsQueries(database), fresh_database)
    await database.close()


async def counted(kept: Kept) -> dict[tuple[str, datetime], int]:
    found = await kept.queries.counts(DOMAIN, NOW - 400 * DAY, NOW + 400 * DAY)
    return {(one.type, one.hour): one.count for one in found}


async def test_an_outcome_of_a_month_without_a_partition_is_written_and_moves_when_there_is_one(
    kept: Kept,
) -> None:
    await kept.record(0, NOW)
    assert kept.rows("SELECT count(*) FROM stats_elsewhen") == [(1,)]
    await kept.upkeep.make_months(NOW)
    await kept.upkeep.make_months(NOW)
    assert kept.rows("SELECT count(*) FROM stats_elsewhen") == [(0,)]
    assert kept.rows("SELECT count(*) FROM stats_2026_03") == [(1,)]
    await kept.record(0, NOW)
    assert kept.rows("SELECT count(*) FROM stats") == [(1,)], "it is written once, wherever it is"


async def test_months_are_made_ahead_and_by_migrating(kept: Kept) -> None:
    this, (year, month) = datetime.now(UTC), divmod(datetime.now(UTC).month, 12)
    assert f"{this:%Y_%m}" in kept.months()
    assert f"{this.year + year:04}_{month + 1:02}" in kept.months()
    await kept.upkeep.make_months(datetime(2030, 12, 5, tzinfo=UTC))
    assert kept.months()[-2:] == ["2030_12", "2031_01"]


async def test_outcomes_go_by_whole_months_when_all_of_one_is_over_and_counts_stay(kept: Kept) -> None:
    await kept.upkeep.make_months(NOW)
    for seq, at in enumerate((NOW, NOW + 40 * DAY, NOW - 400 * DAY)):
        await kept.record(seq, at)
    before = await counted(kept)
    month_over = datetime(2026, 4, 1, tzinfo=UTC) + YEAR
    await kept.upkeep.forget(10, month_over - DAY)
    assert kept.rows("SELECT count(*) FROM stats") == [(2,)], "what has no partition goes by itself"
    await kept.upkeep.forget(10, month_over)
    assert "2026_03" not in kept.months()
    assert kept.rows("SELECT seq FROM stats") == [(1,)]
    assert await counted(kept) == before


async def test_what_is_remembered_beside_the_rows_is_forgotten_some_at_a_time(kept: Kept) -> None:
    async with kept.ledger.ledger.work() as work:
        chunk = [
            Engagement(f"e{n}", Act.OPENED, mode, DOMAIN, kept.ledger.batch, NOW, seq=n)
            for n, mode in enumerate((Mode.ANONYMOUS, Mode.ANONYMOUS, Mode.IDENTIFIED, Mode.FULL))
        ]
        await work.record_engagements(chunk, NOW)
    soon = NOW + ENGAGEMENTS_REMEMBERED
    assert await kept.upkeep.forget(1, soon) == 0
    assert [await kept.upkeep.forget(1, soon + DAY) for _ in range(3)] == [1, 1, 0]
    assert kept.rows("SELECT count(*) FROM stats_firsts") == [(2,)]
    while await kept.upkeep.forget(1, NOW + YEAR + DAY):
        pass
    assert kept.rows("SELECT count(*) FROM stats_firsts") == [(0,)]


async def test_partitions_that_are_in_use_are_left_for_later(kept: Kept) -> None:
    with psycopg.connect(kept.url) as reader:
        reader.execute("SELECT count(*) FROM stats")
        with pytest.raises(LedgerUnavailable):
            await kept.upkeep.make_months(datetime(2031, 1, 1, tzinfo=UTC))
    await kept.upkeep.make_months(datetime(2031, 1, 1, tzinfo=UTC))


async def test_merging_changes_nothing_that_is_asked_for(kept: Kept) -> None:
    for seq, kind in ((0, "delivered"), (1, "delivered"), (2, "bounced"), (0, "error")):
        await kept.record(seq, NOW, kind)
    before = await counted(kept)
    assert await kept.upkeep.merge(5) == 1
    assert kept.rows("SELECT count(*) FROM rollup_deltas") == [(0,)]
    assert await counted(kept) == before
    await kept.record(3, NOW)
    await kept.upkeep.merge(5)
    assert (await counted(kept))["delivered", NOW] == 3
    assert kept.rows("SELECT delivered, bounced FROM batch_rollups") == [(3, 1)]


async def test_days_and_months_are_summed_up_when_they_are_over_and_take_what_comes_late(kept: Kept) -> None:
    all_of_it = "SELECT grain, start, deferred FROM rollups WHERE dimension = 'all' ORDER BY grain, start"
    for at in (NOW, NOW + DAY, NOW + 40 * DAY):
        await kept.record(0, at, "error")
    await kept.upkeep.merge(1)
    before = await counted(kept)
    day = NOW.replace(hour=0)
    hours = [("hour", at, 1) for at in (NOW, NOW + DAY, NOW + 40 * DAY)]
    await kept.upkeep.sum_up(day + DAY + timedelta(hours=1))
    assert kept.rows(all_of_it) == hours, "what may still come is waited for"
    for _ in range(2):
        await kept.upkeep.sum_up(day + DAY + timedelta(hours=2))
        assert kept.rows(all_of_it) == [("day", day, 1), *hours]
    await kept.upkeep.sum_up(NOW + 35 * DAY)
    days = [("day", day, 1), ("day", day + DAY, 1)]
    assert kept.rows(all_of_it) == [*days, *hours, ("month", day, 2)]
    await kept.record(1, NOW, "error")
    await kept.upkeep.merge(1)
    grains = "SELECT grain, sum(deferred) FROM rollups WHERE dimension = 'all' GROUP BY 1 ORDER BY 1"
    assert kept.rows(grains) == [("day", 3), ("hour", 4), ("month", 3)]
    assert await counted(kept) == before | {("error", NOW): 2}


async def test_counts_are_right_while_many_write_merge_and_ask(kept: Kept) -> None:
    done = asyncio.Event()
    seen: list[int] = []

    async def write(turn: int) -> None:
        for n in range(10):
            await kept.record(turn, NOW + timedelta(seconds=n), "error")

    async def merge() -> None:
        while not done.is_set():
            await kept.upkeep.merge(1)
            seen.append((await counted(kept)).get(("error", NOW), 0))

    merging = [asyncio.create_task(merge()) for _ in range(2)]
    await asyncio.gather(*(write(turn) for turn in range(4)))
    done.set()
    await asyncio.gather(*merging)
    assert await counted(kept) == {("error", NOW): 40}
    await kept.upkeep.merge(1)
    assert await counted(kept) == {("error", NOW): 40}
    assert seen == sorted(seen), "merging loses nothing in between"


async def test_an_open_counts_for_the_provider_that_took_the_mail(kept: Kept) -> None:
    async with kept.ledger.ledger.work() as work:
        (row,) = await work.lock([kept.ledger.name(0)])
        taken = replace(outcome(row), data={"code": 250, "exchanger": "gmail-smtp-in.l.google.com"})
        await work.record([outcome(row, "accepted"), taken])
        opened = Engagement("one", Act.OPENED, Mode.FULL, DOMAIN, kept.ledger.batch, NOW, seq=0)
        await work.record_engagements([opened], NOW)
    await kept.upkeep.merge(1)
    assert kept.rows(
        "SELECT value, accepted, delivered, opened, opened_first FROM rollups "
        "WHERE dimension = 'provider' AND grain = 'hour'"
    ) == [("google", 1, 1, 1, 1)]


def test_what_there_was_moves_into_its_months_and_is_counted_anew(
    fresh_database: str, tmp_path: Path
) -> None:
    new = "0009.statistics.sql"
    (tmp_path / "pre").mkdir()
    for path in (migrations_folder() / "pre").glob("*.sql"):
        if path.name < new:
            (tmp_path / "pre" / path.name).write_text(path.read_text())
    migrate(fresh_database, folder=tmp_path)
    rows = [
        (7, 0, "accepted", 0, NOW, "{}"),
        (7, 0, "delivered", 1, NOW, "{}"),
        (7, 0, "bounced", 1, NOW + 40 * DAY, '{"late": true, "category": "bad-mailbox"}'),
    ]
    with psycopg.connect(fresh_database) as connection:
        for *place, data in rows:
            connection.execute(
                "INSERT INTO stats VALUES (%s, %s, %s, %s, %s, 'm', %s, 'a@b.test', %s)",
                (*place, DOMAIN, data),
            )
            connection.execute(
                "INSERT INTO aggregated_stats VALUES (%s, %s, %s, 1)", (DOMAIN, place[4], place[2])
            )
    for _ in range(2):
        migrate(fresh_database)
        with psycopg.connect(fresh_database) as connection:
            found = connection.execute("SELECT batch, seq, type, attempt, timestamp FROM stats ORDER BY 5, 3")
            assert found.fetchall() == [row[:5] for row in rows]
            assert connection.execute("SELECT count(*) FROM stats_elsewhen").fetchone() == (0,)
            assert connection.execute("SELECT type FROM stats_firsts").fetchall() == [("bounced",)]
            measures = connection.execute("SELECT measure, count FROM rollup_deltas ORDER BY 1").fetchall()
            assert measures == [("accepted", 1), ("bounced_late", 1), ("delivered", 1)]
            connection.execute("DELETE FROM _yoyo_migration WHERE migration_id = '0009.statistics'")
