"""`kannon outcomes`: statistics in depth, by `StatsApiV3`."""

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar

import click
import grpc

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.messages import as_object
from kannon.cli.moments import METAVAR, moment_past, moment_text
from kannon.cli.options import admin_token_option, api_option, json_option, print_json
from kannon.cli.statistics import TYPES
from kannon.cli.tables import Table

if TYPE_CHECKING:
    from kannon.adapters.pb import stats_v3_pb2 as pb
    from kannon.adapters.pb.stats_v3_pb2_grpc import StatsApiV3Stub

F = TypeVar("F", bound=Callable[..., Any])

PAGE: Final = 500
EXPORTING: Final = timedelta(days=1).total_seconds()
DIMENSIONS: Final = ("template", "recipient-domain", "provider", "category", "batch")
INTERVALS: Final = ("hour", "day", "week")
COUNTS: Final = ("accepted", "delivered", "deferred", "bounced", "failed", "complained", "opened", "clicked")
RATES: Final = ("delivery", "bounce", "complaint", "open", "click", "click_to_open")
PERCENTILES: Final = (0.5, 0.9, 0.99)


@click.group()
def outcomes() -> None:
    """What became of mails: counts, rates, times, single outcomes, and all of them for a file."""


def _asks(command: F) -> F:
    """Whose outcomes, and of which time."""

    @click.argument("domain_name", metavar="DOMAIN")
    @click.option(
        *("--since", "--from", "start"),
        type=moment_past,
        metavar=METAVAR,
        default="30d",
        show_default=True,
        help="Begin: 2d or 12h ago, or 2027-01-01, UTC.",
    )
    @click.option(
        "--to", "end", type=moment_past, metavar=METAVAR, help="End; not included.  [default: none]"
    )
    @api_option
    @admin_token_option
    @wraps(command)
    def asking(
        domain_name: str, start: datetime, end: datetime | None, api: str, admin_token: str, **others: Any
    ) -> Any:
        return command(asked=_Asked(domain_name, start, end, api, admin_token), **others)

    return asking  # type: ignore[return-value]


class _Asked:
    """Whose outcomes, of which time, and of which gateway."""

    def __init__(
        self, domain: str, start: datetime, end: datetime | None, api: str, admin_token: str
    ) -> None:
        self.domain = domain
        self._start = start
        self._end = end
        self._api = api
        self.metadata = admin_metadata(admin_token)

    def into(self, request: Any, **others: Any) -> Any:
        """The request with domain, range and other fields."""
        request.from_date.FromDatetime(self._start)
        if self._end is not None:
            request.to_date.FromDatetime(self._end)
        request.MergeFrom(type(request)(domain=self.domain, **others))
        return request

    def answer(self, procedure: str, request: Any) -> Any:
        """What the gateway answers."""
        return self.call(
            lambda channel: getattr(stub(channel), procedure)(
                request, metadata=self.metadata, timeout=TIMEOUT
            )
        )

    def call(self, do: Callable[[grpc.aio.Channel], Any]) -> Any:
        """Do something with a channel to the gateway."""
        return call(self._api, do)


def stub(channel: grpc.aio.Channel) -> "StatsApiV3Stub":
    """The client of the service."""
    from kannon.adapters.pb.stats_v3_pb2_grpc import StatsApiV3Stub

    return StatsApiV3Stub(channel)


@outcomes.command("count")
@click.option("--by", type=click.Choice(DIMENSIONS), help="Tell counts apart by this.")
@click.option("--value", "values", multiple=True, help="This value alone; may be given again.")
@click.option("--each", type=click.Choice(INTERVALS), help="A row for each hour, day or week.")
@click.option(
    "--zone",
    default="",
    metavar="NAME",
    help="Time zone of days and weeks, like Europe/Rome.  [default: UTC]",
)
@click.option(
    "--take", type=click.IntRange(1, 1000), default=50, show_default=True, help="Values at the most."
)
@_asks
@json_option
def count(
    asked: _Asked,
    by: str | None,
    values: tuple[str, ...],
    each: str | None,
    zone: str,
    take: int,
    as_json: bool,
) -> None:
    """Count what became of the mails of DOMAIN, and show rates in percent.

    Opens and clicks are those of persons; the rates count each mail once. With --by and --each the values
    must be named.
    """
    from kannon.adapters.pb import stats_v3_pb2 as pb

    if zone and not each:
        raise click.UsageError("--zone: only with --each")
    dimension = _enum("DIMENSION", by)
    heading = (*(("start",) if each else ()), *((by,) if by else ()))
    if each:
        series = pb.GetSeriesReq(dimension=dimension, interval=_enum("INTERVAL", each), zone=zone)
        rows: Sequence[Any] = asked.answer("GetSeries", asked.into(series, values=values)).points
    else:
        request = pb.GetCountsReq(dimension=dimension, take=take)
        rows = asked.answer("GetCounts", asked.into(request, values=values)).tallies
    if as_json:
        for row in rows:
            print_json(as_object(row))
        return
    table = Table((*heading, *COUNTS, *(f"{name.replace('_', '-')} %" for name in RATES)))
    table.print(_count_row(row, by is not None, each is not None) for row in rows)


def _count_row(row: Any, with_value: bool, with_start: bool) -> Sequence[str]:
    shares = (f"{getattr(row.rates, name):.1%}"[:-1] if row.rates.HasField(name) else "" for name in RATES)
    return (
        *((moment_text(row.start),) if with_start else ()),
        *((row.value or "(unknown)",) if with_value else ()),
        *(str(getattr(row.counts, name)) for name in COUNTS),
        *shares,
    )


@outcomes.command("latency")
@click.option("--by", type=click.Choice(("template", "provider", "batch")), help="Tell times apart by this.")
@click.option("--value", "values", multiple=True, help="This value alone; may be given again.")
@click.option(
    "--percentile",
    "percentiles",
    multiple=True,
    type=click.FloatRange(0, 100, min_open=True),
    default=tuple(100 * share for share in PERCENTILES),
    show_default=True,
    help="In percent; may be given again.",
)
@_asks
@json_option
def latency(
    asked: _Asked, by: str | None, values: tuple[str, ...], percentiles: tuple[float, ...], as_json: bool
) -> None:
    """Show how long it took to deliver the mails of DOMAIN, in seconds from when they were due."""
    from kannon.adapters.pb import stats_v3_pb2 as pb

    shares = [one / 100 for one in percentiles]
    request = pb.GetLatenciesReq(dimension=_enum("DIMENSION", by), percentiles=shares)
    found = asked.answer("GetLatencies", asked.into(request, values=values)).latencies
    if as_json:
        for one in found:
            print_json(as_object(one))
        return
    table = Table((*((by,) if by else ()), "delivered", *(f"p{one:g}" for one in percentiles)))
    table.print(
        (
            *((one.value or "(unknown)",) if by else ()),
            str(one.delivered),
            *(f"{each.seconds:.2f}" for each in one.percentiles),
        )
        for one in found
    )


def _filters(command: F) -> F:
    """Which outcomes."""
    for option in (
        click.option("--type", "kind", type=click.Choice(TYPES), help="Those of this type; error: deferred."),
        click.option("--message", "message_id", default="", metavar="MSG_ID", help="Those of this message."),
        click.option("--recipient", default="", metavar="ADDRESS", help="Those of mails to ADDRESS."),
    ):
        command = option(command)
    return command


@outcomes.command("list")
@_filters
@click.option("--take", type=click.IntRange(min=1), default=100, show_default=True, help="At the most.")
@_asks
@json_option
def list_outcomes(
    asked: _Asked, kind: str | None, message_id: str, recipient: str, take: int, as_json: bool
) -> None:
    """List single outcomes of DOMAIN, newest first: on a terminal as a table, elsewhere with tabs."""
    from kannon.adapters.pb import stats_v3_pb2 as pb

    wanted = asked.into(pb.OutcomeFilter(email=recipient, message_id=message_id, type=kind or ""))

    async def show(channel: grpc.aio.Channel) -> None:
        display = Display(as_json)
        async for page in _pages(channel, asked.metadata, wanted, take):
            display.show(page)

    asked.call(show)


@outcomes.command("timeline")
@click.argument("message_id", metavar="MSG_ID")
@click.argument("seq", type=click.IntRange(min=0))
@api_option
@admin_token_option
@json_option
def timeline(message_id: str, seq: int, api: str, admin_token: str, as_json: bool) -> None:
    """Show all that happened to the mail SEQ (from 0) of the message MSG_ID, oldest first."""
    from kannon.adapters.pb import stats_v3_pb2 as pb

    request = pb.GetTimelineReq(domain=message_id.rpartition("@")[2], message_id=message_id, seq=seq)
    found = call(
        api,
        lambda channel: stub(channel).GetTimeline(
            request, metadata=admin_metadata(admin_token), timeout=TIMEOUT
        ),
    )
    Display(as_json).show(found.outcomes)


@outcomes.command("export")
@_filters
@click.option(
    "--format",
    "form",
    type=click.Choice(("csv", "jsonl")),
    default="csv",
    show_default=True,
    help="Of the file.",
)
@click.option(
    "--output",
    type=click.File("wb"),
    default="-",
    metavar="FILE",
    help="Where to.  [default: standard output]",
)
@_asks
def export(
    asked: _Asked, kind: str | None, message_id: str, recipient: str, form: str, output: BinaryIO
) -> None:
    """Write all single outcomes of DOMAIN as CSV or JSON Lines, as they come; nothing is held back.

    In CSV a text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    from kannon.adapters.pb import stats_v3_pb2 as pb

    request = pb.ExportOutcomesReq(
        format=_enum("EXPORT_FORMAT", form),
        filter=asked.into(pb.OutcomeFilter(email=recipient, message_id=message_id, type=kind or "")),
    )

    async def write(channel: grpc.aio.Channel) -> None:
        written = 0
        async for piece in stub(channel).ExportOutcomes(request, metadata=asked.metadata, timeout=EXPORTING):
            output.write(piece.data)
            written += len(piece.data)
            if sys.stderr.isatty():
                click.echo(f"\r{written / 1e6:,.1f} MB", nl=False, err=True)
        if sys.stderr.isatty():
            click.echo(err=True)

    asked.call(write)


@outcomes.command("batches")
@click.option("--subject", default="", metavar="TEXT", help="Those whose subject contains TEXT.")
@click.option("--take", type=click.IntRange(min=1), default=100, show_default=True, help="At the most.")
@_asks
@json_option
def batches(asked: _Asked, subject: str, take: int, as_json: bool) -> None:
    """List the messages of DOMAIN, newest first."""
    from kannon.adapters.pb import stats_v3_pb2 as pb

    request = asked.into(pb.ListBatchesReq(), subject=subject)

    async def show(channel: grpc.aio.Channel) -> None:
        table = Table(("message", "accepted", "recipients", "subject"))
        left = take
        while left:
            request.take = min(left, PAGE)
            page = await stub(channel).ListBatches(request, metadata=asked.metadata, timeout=TIMEOUT)
            if as_json:
                for one in page.batches:
                    print_json(as_object(one))
            else:
                table.print(
                    (one.message_id, moment_text(one.accepted_at), str(one.recipients), one.subject)
                    for one in page.batches
                )
            left -= len(page.batches)
            request.after = page.next
            if not page.next:
                return

    asked.call(show)


async def _pages(
    channel: grpc.aio.Channel, metadata: Any, wanted: "pb.OutcomeFilter", take: int
) -> "AsyncIterator[Sequence[pb.Outcome]]":
    from kannon.adapters.pb import stats_v3_pb2 as pb

    request = pb.ListOutcomesReq(filter=wanted)
    while take:
        request.take = min(take, PAGE)
        page = await stub(channel).ListOutcomes(request, metadata=metadata, timeout=TIMEOUT)
        yield page.outcomes
        take -= len(page.outcomes)
        request.after = page.next
        if not page.next:
            return


class Display:
    """Shows single outcomes."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._table = Table(("at", "type", "try", "recipient", "mail", "code", "text"))

    def show(self, found: "Sequence[pb.Outcome]") -> None:
        """Show some more."""
        if self._as_json:
            for one in found:
                print_json(as_object(one))
        else:
            self._table.print(_outcome_row(one) for one in found)


def _outcome_row(one: "pb.Outcome") -> Sequence[str]:
    by = f" ({one.machine})" if one.machine else ""
    words = " ".join(word for word in (one.enhanced, one.text or one.url or one.category) if word)
    return (
        moment_text(one.at),
        "deferred" if one.type == "error" else f"{one.type}{by}",
        str(one.attempt or ""),
        one.email,
        one.delivery,
        str(one.code or ""),
        words,
    )


def _enum(kind: str, name: str | None) -> Any:
    from kannon.adapters.pb import stats_v3_pb2 as pb

    return getattr(pb, f"{kind}_{(name or 'unspecified').upper().replace('-', '_')}")
