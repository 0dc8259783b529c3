"""The statistics, read from PostgreSQL: implements `ports.StatsQueries`."""

from collections.abc import Sequence
from datetime import datetime

from psycopg.rows import DictRow

from kannon.adapters.postgres.connection import Database, queries
from kannon.core.tracking.policy import Mode
from kannon.ports import StatsCount, StatsRow

SQL = queries("stats_queries")


class PostgresStatsQueries:
    """Outcomes and their counts by the hour."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rows(
        self, domain: str, start: datetime, end: datetime, skip: int, take: int
    ) -> tuple[int, Sequence[StatsRow]]:
        """See `ports.StatsQueries`."""
        wanted = {"domain": domain, "start": start, "end": end, "skip": skip, "take": take}
        async with self._database.transaction() as connection:
            counted = await (await connection.execute(SQL["total"], wanted)).fetchone()
            rows = await (await connection.execute(SQL["rows"], wanted)).fetchall() if take else []
        return (counted["total"] if counted else 0), [stats_row(row) for row in rows]

    async def counts(self, domain: str, start: datetime, end: datetime) -> Sequence[StatsCount]:
        """See `ports.StatsQueries`."""
        wanted = {"domain": domain, "start": start, "end": end}
        async with self._database.transaction() as connection:
            rows = await (await connection.execute(SQL["counts"], wanted)).fetchall()
        return [StatsCount(**row) for row in rows]


def stats_row(row: DictRow) -> StatsRow:
    """An Outcome as it was selected."""
    mode = row.pop("mode")
    return StatsRow(**row, mode=Mode(mode) if mode else None)
