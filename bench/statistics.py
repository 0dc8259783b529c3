"""`make bench-stats`: how long the statistics take to answer over ten million rows of one Domain."""

import asyncio
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import click
from rich.console import Console
from rich.table import Table

from bench.statistics_rows import DOMAIN, END, RECIPIENTS, YEAR, make_rows
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.migrate import migrate
from kannon.adapters.postgres.statistics_queries import PostgresStatisticsQueries
from kannon.adapters.postgres.stats_queries import PostgresStatsQueries
from kannon.cli.standalone.data_folder import DataFolder
from kannon.cli.standalone.postgres import EmbeddedPostgres
from kannon.core.deliveries import DeliveryId
from kannon.core.statistics import BatchFilter, Dimension, EventFilter, Interval, Question

TARGET_MS = 200
START = END - YEAR
ODD_START, ODD_END = START + timedelta(days=17, hours=5, minutes=11), END - timedelta(days=40, minutes=7)
"""A range that no whole months make up."""
MONTH = timedelta(days=30)
ALWAYS = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
Asked = Callable[[], Awaitable[object]]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rows", default=10_000_000, show_default=True, type=click.IntRange(1000))
@click.option("--times", default=7, show_default=True, type=click.IntRange(1), help="Each question is asked.")
@click.option("--url", default="", help="A database that was filled before; empty: fill one, and drop it.")
def command(rows: int, times: int, url: str) -> None:
    """Make a year of statistics in PostgreSQL and time what is asked of them: a table, and a line of JSON."""
    logging.disable(logging.INFO)
    asyncio.run(_asked(url, rows, times) if url else _filled(rows, times))


async def _filled(rows: int, times: int) -> None:
    with tempfile.TemporaryDirectory(prefix="kannon-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with DataFolder(folder / "postgres") as data_folder:
            server = EmbeddedPostgres(data_folder)
            await server.start()
            try:
                migrate(server.url)
                begin = time.perf_counter()
                made = await make_rows(server.url, rows)
                Console(stderr=True).print(f"{made:,} rows in {time.perf_counter() - begin:.0f} s")
                await _asked(server.url, made, times)
            finally:
                await server.stop()


async def _asked(url: str, rows: int, times: int) -> None:
    database = Database(url, size=1)
    await database.open()
    try:
        questions = await _questions(database)
        async with database.statement() as connection:
            backend = connection.info.backend_pid
        measured = {name: await _timed(ask, times, backend) for name, ask in questions.items()}
    finally:
        await database.close()
    _print(rows, measured)


@dataclass(frozen=True, slots=True)
class Timed:
    """How long one question took.

    Attributes:
        taken: milliseconds of each time, shortest first.
        processor: milliseconds of processor time, here and in PostgreSQL, the mean.
    """

    taken: list[float]
    processor: float


async def _timed(ask: Asked, times: int, backend: int) -> Timed:
    taken = []
    before = _processor_ms(backend)
    for _ in range(times):
        begin = time.perf_counter()
        await ask()
        taken.append((time.perf_counter() - begin) * 1000)
    return Timed(sorted(taken), (_processor_ms(backend) - before) / times)


def _processor_ms(backend: int) -> float:
    fields = Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return (ticks / os.sysconf("SC_CLK_TCK") + time.process_time()) * 1000


def _print(rows: int, measured: Mapping[str, Timed]) -> None:
    table = Table(title=f"Milliseconds to answer, {rows:,} rows of one Domain")
    for heading in ("question", "shortest", "median", "longest", "processor"):
        table.add_column(heading, justify="left" if heading == "question" else "right")
    for name, each in measured.items():
        times = (each.taken[0], statistics.median(each.taken), each.taken[-1], each.processor)
        table.add_row(name, *(f"{took:.1f}" for took in times))
    Console().print(table)
    medians = {name: round(statistics.median(each.taken), 1) for name, each in measured.items()}
    processor = {name: round(each.processor, 1) for name, each in measured.items()}
    over = [name for name, median in medians.items() if median > TARGET_MS]
    told = {
        "rows": rows,
        "target_ms": TARGET_MS,
        "over": over,
        "median_ms": medians,
        "processor_ms": processor,
    }
    print(json.dumps(told))


async def _questions(database: Database) -> dict[str, Asked]:
    api, new = PostgresStatsQueries(database), PostgresStatisticsQueries(database)
    year = EventFilter(DOMAIN, START, END)
    someone = (await new.events(year, None, 500)).events[-1]
    batch = (await new.batches(BatchFilter(DOMAIN, START, START + MONTH), None, 1)).batches[0]
    half = (await api.rows(DOMAIN, START, END, 0, 0))[0] // 2

    def by(dimension: Dimension, *values: str) -> Question:
        return Question(DOMAIN, ODD_START, ODD_END, dimension, values)

    def events(**narrower: str) -> Asked:
        return lambda: new.events(EventFilter(DOMAIN, START, END, **narrower), None, 100)

    domains = tuple(f"domain{n}.test" for n in range(1, 6))
    of_batch = by(Dimension.BATCH, batch.message_id)
    delivery = DeliveryId(batch.number, RECIPIENTS // 2)
    return {
        "V1 GetStats, a day": lambda: api.rows(DOMAIN, END - 2 * MONTH, END - 59 * MONTH / 30, 0, 100),
        "V1 GetStats, a year, first page": lambda: api.rows(DOMAIN, *ALWAYS, 0, 100),
        "V1 GetStats, an odd range, page in the middle": lambda: api.rows(
            DOMAIN, ODD_START, ODD_END, half, 100
        ),
        "V1 GetStatsAggregated, a year": lambda: api.counts(DOMAIN, *ALWAYS),
        "counts and rates, total": lambda: new.breakdown(by(Dimension.ALL), 1),
        "counts and rates by template": lambda: new.breakdown(by(Dimension.TEMPLATE), 100),
        "counts and rates by provider": lambda: new.breakdown(by(Dimension.PROVIDER), 100),
        "counts and rates by recipient domain": lambda: new.breakdown(by(Dimension.RECIPIENT_DOMAIN), 100),
        "counts by category": lambda: new.breakdown(by(Dimension.CATEGORY), 100),
        "counts and rates of a Batch": lambda: new.breakdown(of_batch, 1),
        "a year by hour": lambda: new.series(by(Dimension.ALL), Interval.HOUR, BERLIN),
        "a year by day": lambda: new.series(by(Dimension.ALL), Interval.DAY, BERLIN),
        "a year by week, five recipient domains": lambda: new.series(
            by(Dimension.RECIPIENT_DOMAIN, *domains), Interval.WEEK, BERLIN
        ),
        "two months by day, five recipient domains": lambda: new.series(
            Question(DOMAIN, END - 2 * MONTH, END, Dimension.RECIPIENT_DOMAIN, domains), Interval.DAY, BERLIN
        ),
        "a year by day, a template": lambda: new.series(
            by(Dimension.TEMPLATE, f"template3@{DOMAIN}"), Interval.DAY, BERLIN
        ),
        "a Batch by hour": lambda: new.series(of_batch, Interval.HOUR, BERLIN),
        "percentiles, total": lambda: new.latencies(by(Dimension.ALL), 1),
        "percentiles by provider": lambda: new.latencies(by(Dimension.PROVIDER), 100),
        "percentiles of a Batch": lambda: new.latencies(of_batch, 1),
        "timeline of a Delivery": lambda: new.timeline(DOMAIN, delivery),
        "search by recipient": events(email=someone.email),
        "search by recipient and outcome": events(email=someone.email, type="bounced"),
        "search by Batch": events(message_id=batch.message_id),
        "search by Batch and outcome": events(message_id=batch.message_id, type="complained"),
        "search by outcome, rare": events(type="complained"),
        "search by outcome, common": events(type="delivered"),
        "search, newest": events(),
        "search by subject": lambda: new.batches(
            BatchFilter(DOMAIN, START, END, subject="invoice no. 3"), None, 100
        ),
    }


if __name__ == "__main__":
    command()
