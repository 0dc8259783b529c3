"""`kannon audit list`: who called what, and who was not let in."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click
import grpc

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.moments import METAVAR, moment_past, moment_text
from kannon.cli.options import admin_token_option, api_option, json_option, print_json
from kannon.cli.tables import Table
from kannon.core.audit import Decision

if TYPE_CHECKING:
    from kannon.adapters.pb import admin_pb2

PAGE: Final = 500
LOOK_EVERY: Final = 2.0
LATE: Final = timedelta(seconds=10)
"""Gateways write their records a little later than they are of."""
OWN_LOOK: Final = "Api/ListAuditRecords"
HEADINGS: Final = ("at", "decision", "procedure", "domain", "role", "key", "client", "reason", "attribution")


@click.group()
def audit() -> None:
    """Who called what, where audit.enabled is set."""


@audit.command("list")
@click.option("--domain", "domain", default="", metavar="DOMAIN", help="Calls of this domain only.")
@click.option("--procedure", default="", metavar="NAME", help="Of these only, such as Mailer/SendHTML.")
@click.option("--decision", type=click.Choice([str(one) for one in Decision]), help="With this only.")
@click.option("--key", "key_id", default="", metavar="ID", help="By the key of this ID, key_…, only.")
@click.option("--client", default="", metavar="ADDRESS", help="From this address only.")
@click.option(
    "--since", type=moment_past, metavar=METAVAR, help="Not older than this: 2h, or 2027-01-01, UTC."
)
@click.option("--until", type=moment_past, metavar=METAVAR, help="Older than this.")
@click.option("--take", type=click.IntRange(min=1), default=100, show_default=True, help="At the most.")
@click.option("--follow", is_flag=True, help="Show what comes from now on (or --since), until Ctrl-C.")
@api_option
@admin_token_option
@json_option
def list_records(
    since: datetime | None,
    until: datetime | None,
    take: int,
    follow: bool,
    api: str,
    admin_token: str,
    as_json: bool,
    **wanted: str | None,
) -> None:
    """List calls, newest first: on a terminal as a table, elsewhere with a tab between the fields.

    What is unauthenticated tells only what was claimed; what a caller says of itself (attribution) is never
    checked. --json prints an object on each line.
    """
    from kannon.adapters.pb import admin_pb2

    if follow and until:
        raise click.UsageError("--follow has no end: leave --until out")
    request = admin_pb2.ListAuditRecordsReq()
    for name, value in wanted.items():
        setattr(request, name, value or "")
    if since or follow:
        request.from_date.FromDatetime(since or datetime.now(UTC))
    if until:
        request.to_date.FromDatetime(until)
    table = Table(HEADINGS)

    def show(records: "Iterable[admin_pb2.AuditRecord]") -> None:
        if as_json:
            for record in records:
                print_json(_as_object(record))
        else:
            table.print(_row(record) for record in records)

    reader = _Reader(admin_token, request)
    call(api, lambda channel: reader.follow(channel, show) if follow else reader.list(channel, show, take))


class _Reader:
    def __init__(self, admin_token: str, request: "admin_pb2.ListAuditRecordsReq") -> None:
        self._metadata = admin_metadata(admin_token)
        self._request = request

    async def list(self, channel: grpc.aio.Channel, show: Any, take: int) -> None:
        """Show up to `take` records, page by page."""
        async for records in self._pages(channel, take):
            show(records)

    async def follow(self, channel: grpc.aio.Channel, show: Any) -> None:
        """Show records as they come, each once; looks at the trail, such as its own, only if asked for."""
        seen: dict[bytes, datetime] = {}
        while True:
            found = [record async for page in self._pages(channel, None) for record in page]
            new = [record for record in reversed(found) if _identity(record) not in seen]
            show(one for one in new if self._request.procedure or not one.procedure.endswith(OWN_LOOK))
            seen.update((_identity(record), record.at.ToDatetime(tzinfo=UTC)) for record in new)
            if seen:
                start = max(seen.values()) - LATE
                self._request.from_date.FromDatetime(
                    max(start, self._request.from_date.ToDatetime(tzinfo=UTC))
                )
                seen = {identity: at for identity, at in seen.items() if at >= start}
            await asyncio.sleep(LOOK_EVERY)

    async def _pages(
        self, channel: grpc.aio.Channel, take: int | None
    ) -> "AsyncIterator[Iterable[admin_pb2.AuditRecord]]":
        from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

        request = admin_pb2.ListAuditRecordsReq()
        request.CopyFrom(self._request)
        left = take
        while left != 0:
            request.take = PAGE if left is None else min(left, PAGE)
            page = await admin_pb2_grpc.ApiStub(channel).ListAuditRecords(
                request, metadata=self._metadata, timeout=TIMEOUT
            )
            yield page.records
            if not page.next:
                return
            left = None if left is None else left - len(page.records)
            request.before = page.next


def _identity(record: "admin_pb2.AuditRecord") -> bytes:
    return record.SerializeToString(deterministic=True)


def _row(record: "admin_pb2.AuditRecord") -> tuple[str, ...]:
    reason = f"{record.reason} ({record.count:,} times)" if record.count > 1 else record.reason
    return (
        moment_text(record.at),
        record.decision,
        record.procedure.rpartition(".")[2],
        record.domain,
        record.role,
        record.key_id,
        record.client,
        reason,
        record.attribution,
    )


def _as_object(record: "admin_pb2.AuditRecord") -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(record, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
