"""The statistics, read from PostgreSQL: implements `ports.StatsQueries`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from psycopg.rows import DictRow

from kannon.adapters.postgres.connection import Connection, Database, queries
from kannon.adapters.postgres.statistics_queries import summed_up
from kannon.core.grains import Grain, floor_of, pieces
from kannon.core.tracking.policy import Mode
from kannon.ports import StatsCount, StatsRow

SQL = queries("stats_queries")

NEAR: Final = 1000
"""Rows are passed over one by one so far."""


class PostgresStatsQueries:
    """Outcomes and their counts by the hour."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rows(
        self, domain: str, start: datetime, end: datetime, skip: int, take: int
    ) -> tuple[int, Sequence[StatsRow]]:
        """See `ports.StatsQueries`."""
        async with self._database.transaction() as connection:
            await connection.execute(SQL["snapshot"])
            await connection.execute(SQL["reach_rows_by_index"])
            until = await summed_up(connection)
            look = _Look(connection, domain, await _hours(connection, start, end), until)
            before = await look.count(start, look.first)
            within = await look.total_of_hours()
            total = before + within + await look.count(look.last, end)
            if skip > NEAR and skip > before and within:
                start, passed = await look.hour_at(skip - before)
                skip -= before + passed
            rows = await look.rows(start, end, skip, take) if take else []
        return total, [stats_row(row) for row in rows]

    async def counts(self, domain: str, start: datetime, end: datetime) -> Sequence[StatsCount]:
        """See `ports.StatsQueries`."""
        wanted = {"domain": domain, "start": start, "end": end}
        async with self._database.transaction() as connection:
            await connection.execute(SQL["reach_rows_by_index"])
            rows = await (await connection.execute(SQL["counts"], wanted)).fetchall()
        hours = ((row.pop("hour"), row) for row in rows)
        return [StatsCount(kind, hour, count) for hour, row in hours for kind, count in row.items() if count]


async def _hours(connection: Connection, start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The whole hours within a range of which all rows are still there."""
    row = await (await connection.execute(SQL["kept_since"])).fetchone()
    since = row["since"] if row and row["since"] else datetime.max.replace(tzinfo=UTC)
    first = min(max(start, since), end)
    inner = pieces(first, floor_of(end, Grain.HOUR), {})
    return (inner[0].start, inner[-1].end) if inner else (end, end)


class _Look:
    """One look at a Domain's rows, in one snapshot.

    Attributes:
        first: from here to `last` rows need not be counted: the rollups did it.
    """

    def __init__(
        self,
        connection: Connection,
        domain: str,
        hours: tuple[datetime, datetime],
        until: Mapping[Grain, datetime],
    ) -> None:
        self._connection = connection
        self._domain = domain
        self.first, self.last = hours
        self._until = until

    async def count(self, start: datetime, end: datetime) -> int:
        """How many rows there are, each looked at."""
        return int((await self._ask("total", start, end))[0]["total"]) if start < end else 0

    async def total_of_hours(self) -> int:
        """How many rows the whole hours have."""
        parts = pieces(self.first, self.last, self._until)
        places = {
            "grains": [part.grain.value for part in parts],
            "starts": [part.start for part in parts],
            "ends": [part.end for part in parts],
        }
        return int((await self._ask("total_of_hours", self.first, self.last, **places))[0]["total"])

    async def hour_at(self, skip: int) -> tuple[datetime, int]:
        """Behind `skip` rows of the whole hours: the hour, and how many of them are before it."""
        found = await self._ask("hour_at", self.first, self.last, skip=skip)
        return (found[0]["hour"], found[0]["before"]) if found else (self.first, 0)

    async def rows(self, start: datetime, end: datetime, skip: int, take: int) -> list[DictRow]:
        """A page."""
        return await self._ask("rows", start, end, skip=skip, take=take)

    async def _ask(self, name: str, start: datetime, end: datetime, **more: object) -> list[DictRow]:
        wanted = {"domain": self._domain, "start": start, "end": end} | more
        return await (await self._connection.execute(SQL[name], wanted)).fetchall()


def stats_row(row: DictRow) -> StatsRow:
    """An Outcome as it was selected."""
    mode = row.pop("mode")
    return StatsRow(**row, mode=Mode(mode) if mode else None)
