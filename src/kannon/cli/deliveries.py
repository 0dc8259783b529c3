"""`kannon deliveries`."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click
import grpc

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.moments import METAVAR, moment_past, moment_text
from kannon.cli.options import admin_token_option, api_option, json_option, print_json
from kannon.cli.tables import Table
from kannon.core.deliveries import Status

if TYPE_CHECKING:
    from kannon.adapters.pb import admin_pb2

PAGE: Final = 500
LOOK_EVERY: Final = 1.0
"""Seconds between two looks of `--follow`."""
SHARE: Final = 4
"""After a look that took long it waits so many times as long: following must not keep a gateway busy."""
MESSAGE_ID: Final = re.compile(r"msg_[0-9A-Za-z]{16,}@(.+)")
HEADINGS: Final = ("message", "seq", "email", "status", "attempts", "ended or due", "last result")


@click.group()
def deliveries() -> None:
    """Single mails: one recipient's of a message each."""


@deliveries.command("show")
@click.argument("what", metavar="MESSAGE_ID|ADDRESS")
@click.option(
    "--domain",
    "domain_name",
    envvar="KANNON_DOMAIN",
    help="The sending domain; needed with ADDRESS.  [env: KANNON_DOMAIN]",
)
@click.option("--email", metavar="ADDRESS", help="With MESSAGE_ID: this recipient only.")
@click.option("--status", type=click.Choice([str(one) for one in Status]), help="Those in this status only.")
@click.option(
    "--since",
    type=moment_past,
    metavar=METAVAR,
    help="With ADDRESS: in messages of the last 2d, 12h, or since 2027-01-01, UTC.  [default: all]",
)
@click.option("--follow", is_flag=True, help="Go on telling what changes, until all have ended.")
@api_option
@admin_token_option
@json_option
def show_deliveries(
    what: str,
    domain_name: str | None,
    email: str | None,
    status: str | None,
    since: datetime | None,
    follow: bool,
    api: str,
    admin_token: str,
    as_json: bool,
) -> None:
    """Show what became of the mails of a message, or of those to an address, newest message first.

    On a terminal as a table, elsewhere with a tab between the fields; --json prints an object on each line,
    with all that became of the mail.
    """
    asked = _request(what, domain_name, email, since)
    printer = _Printer(as_json, by_message=bool(asked.message_id))
    metadata = admin_metadata(admin_token)
    if follow:
        call(api, lambda channel: _follow(channel, metadata, asked, status, printer))
    else:
        asked.status = status or ""
        call(api, lambda channel: _show(channel, metadata, asked, printer))


def _request(
    what: str, domain: str | None, email: str | None, since: datetime | None
) -> "admin_pb2.ListDeliveriesReq":
    from kannon.adapters.pb import admin_pb2

    if message := MESSAGE_ID.fullmatch(what):
        if since:
            raise click.UsageError("--since is for an ADDRESS: all of a message was sent at once")
        return admin_pb2.ListDeliveriesReq(domain=message[1], message_id=what, email=email or "", take=PAGE)
    if email:
        raise click.UsageError("--email is for a MESSAGE_ID: give the address alone")
    if not domain:
        raise click.UsageError("--domain (KANNON_DOMAIN) is needed to look for an address")
    request = admin_pb2.ListDeliveriesReq(domain=domain, email=what, take=PAGE)
    if since:
        request.from_date.FromDatetime(since)
    return request


async def _show(
    channel: grpc.aio.Channel,
    metadata: Sequence[tuple[str, str]],
    asked: "admin_pb2.ListDeliveriesReq",
    printer: "_Printer",
) -> None:
    async for page in _pages(channel, metadata, asked):
        printer.print(page)


async def _follow(
    channel: grpc.aio.Channel,
    metadata: Sequence[tuple[str, str]],
    asked: "admin_pb2.ListDeliveriesReq",
    status: str | None,
    printer: "_Printer",
) -> None:
    progress = _Progress()
    while True:
        began = time.monotonic()
        pending = False
        async for page in _pages(channel, metadata, asked):
            pending = pending or any(not Status(one.status).is_terminal for one in page)
            printer.print([one for one in progress.changed(page) if status in (None, one.status)])
        if not pending:
            return
        await asyncio.sleep(max(LOOK_EVERY, SHARE * (time.monotonic() - began)))


async def _pages(
    channel: grpc.aio.Channel,
    metadata: Sequence[tuple[str, str]],
    asked: "admin_pb2.ListDeliveriesReq",
) -> "AsyncIterator[Sequence[admin_pb2.Delivery]]":
    from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

    api = admin_pb2_grpc.ApiStub(channel)
    request = admin_pb2.ListDeliveriesReq()
    request.CopyFrom(asked)
    while True:
        answer = await api.ListDeliveries(request, metadata=metadata, timeout=TIMEOUT)
        yield answer.deliveries
        if not answer.next:
            return
        request.after = answer.next


@dataclass
class _Progress:
    """How each Delivery was when it was last looked at."""

    known: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)

    def changed(self, page: "Sequence[admin_pb2.Delivery]") -> "list[admin_pb2.Delivery]":
        """Those that are new, or otherwise than before."""
        found = []
        for one in page:
            name, state = (one.message_id, one.seq), (one.status, one.attempts)
            if self.known.get(name) != state:
                self.known[name] = state
                found.append(one)
        return found


class _Printer:
    def __init__(self, as_json: bool, by_message: bool) -> None:
        self._as_json = as_json
        self._table = Table(HEADINGS, left_out=["message"] if by_message else ["seq", "email"])

    def print(self, page: "Sequence[admin_pb2.Delivery]") -> None:
        if not self._as_json:
            self._table.print([_row(one) for one in page])
            return
        for one in page:
            print_json(_as_object(one))


def _row(one: "admin_pb2.Delivery") -> tuple[str, ...]:
    at = one.ended_at if one.HasField("ended_at") else one.due_at
    result = f"{one.last_code or ''} {one.last_text}".strip()
    return (one.message_id, str(one.seq), one.email, one.status, str(one.attempts), moment_text(at), result)


def _as_object(one: "admin_pb2.Delivery") -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(one, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
