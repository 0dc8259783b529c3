"""`kannon stats`."""

import asyncio
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click
import grpc

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.moments import METAVAR, moment_past
from kannon.cli.options import admin_token_option, api_option, json_option, print_json
from kannon.cli.retries import until_answered

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

TYPES: Final = (
    *("accepted", "rejected", "delivered", "error", "bounced", "failed"),
    *("opened", "clicked", "complained"),
)
SHOWN: Final = tuple("deferred" if kind == "error" else kind for kind in TYPES)
LOOK_EVERY: Final = 1.0
"""Seconds between two looks of `--watch`."""
SHARE: Final = 4
"""After a look that took long it waits so many times as long: watching must not keep a gateway busy."""

Hours = Mapping[datetime, Counter[str]]
"""Outcomes by type, for each hour in which there are any; the oldest first."""
Row = tuple[str, ...]


@click.command()
@click.argument("domain_name", metavar="DOMAIN")
@click.option(
    "--since",
    "--from",
    "start",
    type=moment_past,
    metavar=METAVAR,
    default="1d",
    show_default=True,
    help="Begin, a full hour: 2d or 12h ago, or 2027-01-01, UTC.",
)
@click.option("--to", "end", type=moment_past, metavar=METAVAR, help="End; not included.  [default: none]")
@click.option("--by", type=click.Choice(["hour"]), help="A row for each hour instead of the sum.")
@click.option("--watch", is_flag=True, help="Go on showing them, until Ctrl-C.")
@api_option
@admin_token_option
@json_option
def stats(
    domain_name: str,
    start: datetime,
    end: datetime | None,
    by: str | None,
    watch: bool,
    api: str,
    admin_token: str,
    as_json: bool,
) -> None:
    """Show what became of the mails of DOMAIN.

    On a terminal as a table, elsewhere with a tab between the fields: outcome and count. With --by hour these
    are the hour and the counts of accepted, rejected, delivered, deferred, bounced, failed, opened, clicked,
    complained.
    There, --watch prints the rows that have changed; with --json it prints all of it when any has.
    """
    asked = _Asked(admin_token, domain_name, start, end)
    display = _Display(by_hour=by == "hour", as_json=as_json)
    if not watch:
        display.show(call(api, asked.first_look))
        return
    with suppress(KeyboardInterrupt):  # the way to end it
        call(api, lambda channel: _watch(channel, asked, display))


async def _watch(channel: grpc.aio.Channel, asked: "_Asked", display: "_Display") -> None:
    hours = await asked.first_look(channel)
    pause = LOOK_EVERY
    with display.redrawn():
        while True:
            display.show(hours)
            await asyncio.sleep(pause)
            began = time.monotonic()
            hours = await until_answered(lambda: asked.look(channel), math.inf, _tell_of_waiting)
            pause = max(LOOK_EVERY, SHARE * (time.monotonic() - began))


def _tell_of_waiting(error: grpc.aio.AioRpcError, seconds: float) -> None:
    click.echo(f"waiting: {error.details()}; looking again in {seconds:.1f} s", err=True)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Whose statistics, and of which time; `start` is put back to a full hour."""

    admin_token: str
    domain: str
    start: datetime
    end: datetime | None

    async def first_look(self, channel: grpc.aio.Channel) -> Hours:
        """The counts; fails for a mistyped domain, which must not look like one without mail."""
        hours = await self.look(channel)
        if not hours:
            await _known(channel, self.admin_token, self.domain)
        return hours

    async def look(self, channel: grpc.aio.Channel) -> Hours:
        """The counts as they are now."""
        from kannon.adapters.pb import stats_v1_pb2, stats_v1_pb2_grpc

        request = stats_v1_pb2.GetStatsAggregatedReq(domain=self.domain)
        request.from_date.FromDatetime(self.start.replace(minute=0, second=0, microsecond=0))
        if self.end is not None:
            request.to_date.FromDatetime(self.end)
        answer = await stats_v1_pb2_grpc.StatsApiV1Stub(channel).GetStatsAggregated(
            request, metadata=admin_metadata(self.admin_token), timeout=TIMEOUT
        )
        hours: dict[datetime, Counter[str]] = {}
        for row in sorted(answer.stats, key=lambda row: row.timestamp.seconds):
            hours.setdefault(row.timestamp.ToDatetime(tzinfo=UTC), Counter())[row.type] += row.count
        return hours


async def _known(channel: grpc.aio.Channel, admin_token: str, domain: str) -> None:
    from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

    request = admin_pb2.GetDomainReq(domain=domain)
    await admin_pb2_grpc.ApiStub(channel).GetDomain(
        request, metadata=admin_metadata(admin_token), timeout=TIMEOUT
    )


async def counts_of(
    channel: grpc.aio.Channel, admin_token: str, domain: str, start: datetime, end: datetime
) -> Counter[str]:
    """Outcomes by type, from the hourly aggregates within [start, end)."""
    return total(await _Asked(admin_token, domain, start, end).look(channel))


def total(hours: Hours) -> Counter[str]:
    """Outcomes by type, of all hours."""
    return sum(hours.values(), Counter())


def show_counts(counts: Counter[str]) -> None:
    """Print counts as a table; a plain one where the output is no terminal."""
    from rich.console import Console

    Console().print(_table(("outcome", "count"), _rows(counts)))


@dataclass(slots=True)
class _Display:
    """Shows counts, once or again and again."""

    by_hour: bool
    as_json: bool
    _live: "Live | None" = None
    _told: list[Any] = field(default_factory=list)

    @contextmanager
    def redrawn(self) -> Iterator[None]:
        """Show them in one place of a terminal from here on; elsewhere what has changed."""
        if self.as_json or not sys.stdout.isatty():
            yield
            return
        from rich.live import Live

        with Live(auto_refresh=False) as self._live:
            yield

    def show(self, hours: Hours) -> None:
        """Show counts."""
        if self.as_json:
            told = [_as_object(hours, self.by_hour)]
            if told != self._told:
                print_json(told[0])
        elif sys.stdout.isatty():
            self._draw(hours)
            return
        else:
            told = _rows_by_hour(hours) if self.by_hour else _rows(total(hours))
            for row in told:
                if row not in self._told:
                    click.echo("\t".join(row))
        self._told = told

    def _draw(self, hours: Hours) -> None:
        from rich.console import Console

        console = self._live.console if self._live else Console()
        rows = _rows_by_hour(hours) if self.by_hour else _rows(total(hours))
        if self._live:
            rows = rows[-(console.height - 2) :]  # the newest are those that change
        table = _table(("hour", *SHOWN), rows) if self.by_hour else _table(("outcome", "count"), rows)
        if self._live:
            self._live.update(table, refresh=True)
        else:
            console.print(table)


def _as_object(hours: Hours, by_hour: bool) -> Any:
    if not by_hour:
        return dict(total(hours))
    return [{"hour": _hour_text(hour), **counts} for hour, counts in hours.items()]


def _rows(counts: Counter[str]) -> list[Row]:
    pairs = zip(SHOWN, TYPES, strict=True)
    return [(shown, str(counts[kind])) for shown, kind in pairs if counts[kind]]


def _rows_by_hour(hours: Hours) -> list[Row]:
    return [(_hour_text(hour), *(str(counts[kind]) for kind in TYPES)) for hour, counts in hours.items()]


def _hour_text(hour: datetime) -> str:
    return hour.strftime("%Y-%m-%dT%H:%M:%SZ")


def _table(headings: Row, rows: Sequence[Row]) -> "Table":
    """A table of the columns that say something."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    columns = [at for at in range(len(headings)) if not rows or any(row[at] != "0" for row in rows)]
    for at in columns:
        table.add_column(headings[at], justify="right" if at else "left")
    for row in rows:
        table.add_row(*(row[at] for at in columns))
    if not rows:
        table.add_row("nothing yet")
    return table
