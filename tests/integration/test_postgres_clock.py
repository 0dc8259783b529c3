"""The ledger's clock, by which all go who work on it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

import kannon.adapters.postgres.clock
from kannon.adapters.postgres.clock import LedgerClock
from kannon.adapters.postgres.connection import Database


@pytest.fixture
async def database(shared_database: str) -> AsyncIterator[Database]:
    opened = Database(shared_database)
    await opened.open()
    yield opened
    await opened.close()


def told_by_postgres(url: str) -> datetime:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    told: datetime = row[0]
    return told


async def test_it_agrees_with_postgresql_as_soon_as_that_is_reached(
    database: Database, shared_database: str
) -> None:
    before, now, after = (
        told_by_postgres(shared_database),
        database.clock(),
        told_by_postgres(shared_database),
    )
    slack = timedelta(milliseconds=500)  # half of what an answer took
    assert before - slack <= now <= after + slack
    assert now.tzinfo is UTC


async def test_an_own_clock_that_is_set_changes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stepped(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Stepped":
            return cls(1999, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(kannon.adapters.postgres.clock, "datetime", Stepped)
    assert LedgerClock()().year == 1999, "before PostgreSQL was asked there is no other"
    assert database.clock().year > 1999


async def test_it_looks_again_when_half_a_minute_has_gone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not database.clock.is_stale
    monkeypatch.setattr(kannon.adapters.postgres.clock, "LOOK_EVERY", -1.0)
    assert database.clock.is_stale
    looked: list[str] = []

    async def look(self: LedgerClock, connection: object, statement: str) -> None:
        looked.append(statement)

    monkeypatch.setattr(LedgerClock, "look", look)
    async with database.pipeline():
        pass
    assert len(looked) == 1
