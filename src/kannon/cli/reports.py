"""`kannon bounces list` and `kannon bounces show`: reports that an installation kept."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click
import grpc

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.moments import moment_text
from kannon.cli.options import admin_token_option, api_option, json_option, print_json
from kannon.cli.tables import Table, printable
from kannon.core.reports.values import Kind

if TYPE_CHECKING:
    from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

PAGE: Final = 500
HEADINGS: Final = ("number", "received", "kind", "domain", "address", "status", "text")

Metadata = Sequence[tuple[str, str]]


@click.command("list")
@click.option("--kind", type=click.Choice([str(kind) for kind in Kind]), help="Those of this kind only.")
@click.option("--domain", "domain_name", default="", metavar="DOMAIN", help="Those of this domain only.")
@click.option("--take", type=click.IntRange(min=1), default=100, show_default=True, help="At the most.")
@api_option
@admin_token_option
@json_option
def list_reports(
    kind: str | None, domain_name: str, take: int, api: str, admin_token: str, as_json: bool
) -> None:
    """List what came back, newest first: on a terminal as a table, elsewhere with a tab between the fields.

    How many came of each kind in 30 days is told on standard error; --json prints an object on each line.
    """
    metadata = admin_metadata(admin_token)

    async def show(channel: grpc.aio.Channel) -> None:
        table = Table(HEADINGS)
        async for page in _pages(channel, metadata, kind or "", domain_name, take):
            if page.counts:
                counts = ", ".join(f"{one.count:,} {one.kind}" for one in page.counts)
                click.echo(f"in 30 days: {counts}", err=True)
            if as_json:
                for report in page.reports:
                    print_json(_as_object(report))
            else:
                table.print(_row(report) for report in page.reports)

    call(api, show)


@click.command("show")
@click.argument("number", type=click.IntRange(min=1))
@click.option(
    "--raw",
    type=click.File("wb"),
    metavar="FILE",
    help="Write the message, or its first 64,000 octets, to FILE (- for standard output), and nothing else.",
)
@api_option
@admin_token_option
@json_option
def show_report(number: int, raw: BinaryIO | None, api: str, admin_token: str, as_json: bool) -> None:
    """Show the report NUMBER: what it was taken for, what it says of whom, and how it begins."""
    if raw and as_json:
        raise click.UsageError("--raw writes the message: leave --json out")
    from kannon.adapters.pb import admin_pb2

    request = admin_pb2.GetReportReq(number=number)
    found = call(
        api,
        lambda channel: _stub(channel).GetReport(
            request, metadata=admin_metadata(admin_token), timeout=TIMEOUT
        ),
    )
    if raw:
        raw.write(found.head)
    elif as_json:
        print_json(_as_object(found.report) | {"head": found.head.decode("utf-8", "replace")})
    else:
        _print(found)


async def _pages(
    channel: grpc.aio.Channel, metadata: Metadata, kind: str, domain: str, take: int
) -> "AsyncIterator[admin_pb2.ListReportsRes]":
    from kannon.adapters.pb import admin_pb2

    request = admin_pb2.ListReportsReq(kind=kind, domain=domain)
    while take:
        request.take = min(take, PAGE)
        page = await _stub(channel).ListReports(request, metadata=metadata, timeout=TIMEOUT)
        yield page
        if not page.next:
            return
        take -= len(page.reports)
        request.before = page.next


def _stub(channel: grpc.aio.Channel) -> "admin_pb2_grpc.ApiStub":
    from kannon.adapters.pb import admin_pb2_grpc

    return admin_pb2_grpc.ApiStub(channel)


def _what(report: "admin_pb2.Report") -> str:
    return f"{report.kind} ({report.reason})" if report.reason else report.kind


def _row(report: "admin_pb2.Report") -> tuple[str, ...]:
    """A report with the first recipient that it tells of, and how many more there are."""
    address = status = text = ""
    if report.told:
        first, more = report.told[0], len(report.told) - 1
        address = f"{first.address} (and {more} more)" if more else first.address
        status, text = first.status, first.text
    received = moment_text(report.received_at)
    return (str(report.number), received, _what(report), report.domain, address, status, text)


def _as_object(report: "admin_pb2.Report") -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(report, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _print(found: "admin_pb2.GetReportRes") -> None:
    report = found.report
    _print_lines(
        {
            "number": str(report.number),
            "received": moment_text(report.received_at),
            "kind": _what(report),
            "domain": report.domain,
            "came to": ", ".join(report.recipients),
            "is about": ", ".join(report.deliveries),
            "sender": report.sender or "<>",
            "client": report.client,
            "size": f"{report.size:,} octets",
        }.items()
    )
    for one in report.told:
        click.echo()
        _print_lines(
            {
                "address": one.address,
                "action": one.action,
                "status": one.status,
                "code": str(one.code or ""),
                "category": one.category,
                "hard": "to be written off" if one.hard else "",
                "text": one.text,
                "reporting MTA": one.reporting_mta,
            }.items()
        )
    click.echo()
    for line in found.head.decode("utf-8", "replace").splitlines():
        click.echo(printable(line))


def _print_lines(lines: Iterable[tuple[str, str]]) -> None:
    for name, value in lines:
        if value:
            click.echo(f"{name:<14} {printable(value)}")
