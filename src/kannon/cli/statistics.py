"""`kannon stats`."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import click
import grpc

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.options import admin_token_option, api_option, json_option, print_json

TIMES = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
TYPES = ("accepted", "rejected", "delivered", "error", "bounced", "failed", "opened", "clicked")


@click.command()
@click.argument("domain_name", metavar="DOMAIN")
@click.option("--from", "start", type=TIMES, help="Begin, UTC.  [default: a day ago]")
@click.option("--to", "end", type=TIMES, help="End, UTC; not included.  [default: the next hour]")
@api_option
@admin_token_option
@json_option
def stats(
    domain_name: str,
    start: datetime | None,
    end: datetime | None,
    api: str,
    admin_token: str,
    as_json: bool,
) -> None:
    """Show what became of the mails of DOMAIN."""
    now = datetime.now(UTC)
    begin = start.replace(tzinfo=UTC) if start else now - timedelta(days=1)
    until = end.replace(tzinfo=UTC) if end else now + timedelta(hours=1)
    counts = call(api, lambda channel: counts_of(channel, admin_token, domain_name, begin, until))
    if not counts:
        call(api, lambda channel: _known(channel, admin_token, domain_name))
    if as_json:
        print_json(dict(counts))
    else:
        show_counts(counts)


async def _known(channel: grpc.aio.Channel, admin_token: str, domain: str) -> None:
    """Fail where there is no such domain: a mistyped one must not look like one without mail."""
    from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

    request = admin_pb2.GetDomainReq(domain=domain)
    await admin_pb2_grpc.ApiStub(channel).GetDomain(
        request, metadata=admin_metadata(admin_token), timeout=TIMEOUT
    )


async def counts_of(
    channel: grpc.aio.Channel, admin_token: str, domain: str, start: datetime, end: datetime
) -> Counter[str]:
    """Outcomes by type, from the hourly aggregates within [start, end)."""
    from kannon.adapters.pb import stats_v1_pb2, stats_v1_pb2_grpc

    request = stats_v1_pb2.GetStatsAggregatedReq(domain=domain)
    request.from_date.FromDatetime(start.replace(minute=0, second=0, microsecond=0))
    request.to_date.FromDatetime(end)
    answer = await stats_v1_pb2_grpc.StatsApiV1Stub(channel).GetStatsAggregated(
        request, metadata=admin_metadata(admin_token), timeout=TIMEOUT
    )
    counts: Counter[str] = Counter()
    for row in answer.stats:
        counts[row.type] += row.count
    return counts


def show_counts(counts: Counter[str]) -> None:
    """Print counts as a table; a plain one where the output is no terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table("outcome", "count", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for kind in TYPES:
        if counts[kind]:
            table.add_row("deferred" if kind == "error" else kind, str(counts[kind]))
    if not counts:
        table.add_row("nothing yet", "0")
    Console().print(table)
