"""The statistics kept in order in PostgreSQL: implements `ports.StatisticsUpkeep`."""

from datetime import datetime, timedelta
from typing import Final

from kannon.adapters.postgres.connection import Database, queries
from kannon.core.grains import Grain, floor_of
from kannon.ports import ENGAGEMENTS_REMEMBERED

SQL = queries("statistics_upkeep")
DELTAS_AT_ONCE: Final = 50_000
"""Merged in one transaction, within about a second."""
AHEAD: Final = timedelta(days=28)
"""So long before a month begins there is a partition for it."""

LATENESS: Final = timedelta(hours=2)
"""So long after its end a day or a month is summed up: what comes later costs more."""
_PARTS: Final = {Grain.DAY: Grain.HOUR, Grain.MONTH: Grain.DAY}


class PostgresStatisticsUpkeep:
    """Merges, makes room and forgets.

    Args:
        retention: for so long Outcomes are kept, and up to a month more: months are dropped as a whole.
    """

    def __init__(self, database: Database, retention: timedelta) -> None:
        self._database = database
        self._retention = retention

    async def merge(self, pieces: int) -> int:
        """See `ports.StatisticsUpkeep`."""
        for done in range(pieces):
            if await self._merge_piece() < DELTAS_AT_ONCE:
                return done + 1
        return pieces

    async def _merge_piece(self) -> int:
        limit = {"limit": DELTAS_AT_ONCE}
        async with self._database.transaction() as connection:
            alone = await (await connection.execute(SQL["alone"])).fetchone()
            if alone is None or not alone["got"]:
                return 0
            await connection.execute(SQL["learn_providers"], limit)
            merged = await (await connection.execute(SQL["merge"], limit)).fetchone()
        return int(merged["merged"]) if merged else 0

    async def sum_up(self, now: datetime) -> None:
        """See `ports.StatisticsUpkeep`."""
        async with self._database.transaction() as connection:
            alone = await (await connection.execute(SQL["alone"])).fetchone()
            if alone is None or not alone["got"]:
                return
            rows = await (await connection.execute(SQL["grains"])).fetchall()
            for grain, parts in _PARTS.items():
                since = next(row["until"] for row in rows if row["grain"] == grain)
                until = floor_of(now - LATENESS, grain)
                if since < until:
                    span = {"grain": grain.value, "of": parts.value, "since": since, "until": until}
                    for name in ("sum_up", "sum_up_latencies", "summed_up"):
                        await connection.execute(SQL[name], span)

    async def make_months(self, now: datetime) -> None:
        """See `ports.StatisticsUpkeep`."""
        async with self._database.transaction() as connection:
            await connection.execute(SQL["be_quick"])
            for at in (now, now + AHEAD):
                await connection.execute(SQL["make_month"], {"at": at})

    async def forget(self, limit: int, now: datetime) -> int:
        """See `ports.StatisticsUpkeep`."""
        over = {"over": now - self._retention, "unremembered": now - ENGAGEMENTS_REMEMBERED, "limit": limit}
        async with self._database.transaction() as connection:
            await connection.execute(SQL["be_quick"])
            dropped = await (await connection.execute(SQL["drop_month"], over)).fetchone()
        forgotten = int(dropped is not None and dropped["dropped"] is not None)
        for name in ("forget_elsewhen", "forget_firsts", "forget_engagements"):
            async with self._database.statement() as connection:
                forgotten += (await connection.execute(SQL[name], over)).rowcount
        return forgotten
