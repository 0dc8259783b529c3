"""Makes a year of statistics inside PostgreSQL, with their rollups, as sending them would have."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from kannon.adapters.postgres.connection import Database, queries
from kannon.adapters.postgres.statistics_upkeep import PostgresStatisticsUpkeep

DOMAIN = "news.example.com"
RECIPIENTS = 10_000
"""Of each Batch."""
ROWS_A_DELIVERY = 2.95
END = datetime(2026, 12, 1, tzinfo=UTC)
YEAR = timedelta(days=365)

_STEPS = queries("statistics_rows", Path(__file__).parent)


async def make_rows(url: str, rows: int) -> int:
    """Fill an empty, migrated database with about so many rows of one Domain; returns how many it has."""
    batches = max(1, round(rows / ROWS_A_DELIVERY / RECIPIENTS))
    start = END - YEAR
    wanted = {
        "domain": DOMAIN,
        "batches": batches,
        "recipients": RECIPIENTS,
        "start": start,
        "step": (YEAR - timedelta(days=15)) / batches,
    }
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SET synchronous_commit = off")
        await connection.execute("SET work_mem = '256MB'")
        await connection.execute("SELECT setseed(0.5)")
        for week in range(56):
            await connection.execute("SELECT make_stats_month(%s)", (start + week * timedelta(days=7),))
        for step in _STEPS.values():
            await connection.execute(step, wanted)
        await _merge(url)
        await connection.execute("VACUUM ANALYZE")
        counted = await (await connection.execute("SELECT count(*) FROM stats")).fetchone()
    return int(counted[0]) if counted else 0


async def _merge(url: str) -> None:
    database = Database(url)
    await database.open()
    upkeep = PostgresStatisticsUpkeep(database, YEAR)
    while await upkeep.merge(10) == 10:
        pass
    await upkeep.sum_up(END)
    await database.close()
