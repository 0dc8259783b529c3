"""`kannon recipient`: all that is kept of one person."""

import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click
import grpc

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.messages import as_object
from kannon.cli.options import admin_token_option, api_option, json_option, print_json

if TYPE_CHECKING:
    from kannon.adapters.pb import admin_pb2

F = TypeVar("F", bound=Callable[..., Any])
WALKING = 24 * 3600.0
"""Seconds: all mails of a domain are walked through."""


@click.group()
def recipient() -> None:
    """All that is kept of one person: shown, or erased."""


def _asks(command: F) -> F:
    """Whom it is about, and of which domains."""

    @click.argument("address", metavar="ADDRESS")
    @click.option(
        "--domain",
        "domains",
        multiple=True,
        metavar="DOMAIN",
        help="A sending domain; may be given again.  [default: all]",
    )
    @api_option
    @admin_token_option
    @wraps(command)
    def asking(address: str, domains: Sequence[str], api: str, admin_token: str, **others: Any) -> Any:
        metadata = admin_metadata(admin_token)
        chosen = domains or call(api, lambda channel: _all_domains(channel, metadata))
        return command(address=address, domains=chosen, api=api, metadata=metadata, **others)

    return asking  # type: ignore[return-value]


@recipient.command("export")
@click.option(
    "--output", type=click.File("wb"), default="-", metavar="FILE", help="Where to.  [default: stdout]"
)
@_asks
def export_recipient(address: str, domains: Sequence[str], api: str, metadata: Any, output: BinaryIO) -> None:
    """Write all that is kept of ADDRESS as JSON Lines: mails, outcomes, reports, suppressions.

    What is recorded under pseudonyms or without a name cannot be found.
    """
    from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

    async def write(channel: grpc.aio.Channel) -> None:
        for domain in domains:
            request = admin_pb2.ExportRecipientReq(domain=domain, email=address)
            pieces = admin_pb2_grpc.ApiStub(channel).ExportRecipient(
                request, metadata=metadata, timeout=WALKING
            )
            async for piece in pieces:
                output.write(piece.data)

    call(api, write)


@recipient.command("erase")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_asks
@json_option
def erase_recipient(
    address: str, domains: Sequence[str], api: str, metadata: Any, yes: bool, as_json: bool
) -> None:
    """Erase ADDRESS: from mails, outcomes, reports and edges. It cannot be undone.

    Mail that waits is cancelled, counts stay, and a suppression goes on refusing the address, kept as a hash.
    Mail on its way is left: exit code 1 says that the command is to be given again once it has ended.
    """
    from kannon.adapters.pb import admin_pb2

    if not yes:
        click.confirm(f"Erase {address} from {', '.join(domains) or 'no domain'}?", abort=True, err=True)
    is_left = False
    for domain in domains:
        done = call(api, partial(_erase, admin_pb2.EraseRecipientReq(domain=domain, email=address), metadata))
        is_left |= bool(done.in_hand)
        if as_json:
            print_json({"domain": domain} | as_object(done))
            continue
        click.echo(
            f"{domain}: {done.deliveries:,} mails ({done.cancelled:,} cancelled), {done.outcomes:,} outcomes,"
            f" {done.reports:,} reports, {done.suppressions:,} suppressions; {done.in_hand:,} on their way"
        )
        for edge in done.edges_not_reached:
            click.echo(f"{edge} did not answer: it forgets by itself, in time", err=True)
    sys.exit(1 if is_left else 0)


async def _erase(
    request: "admin_pb2.EraseRecipientReq", metadata: Any, channel: grpc.aio.Channel
) -> "admin_pb2.EraseRecipientRes":
    from kannon.adapters.pb import admin_pb2_grpc

    return await admin_pb2_grpc.ApiStub(channel).EraseRecipient(request, metadata=metadata, timeout=WALKING)


async def _all_domains(channel: grpc.aio.Channel, metadata: Any) -> Sequence[str]:
    from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

    found = await admin_pb2_grpc.ApiStub(channel).GetDomains(
        admin_pb2.GetDomainsReq(), metadata=metadata, timeout=TIMEOUT
    )
    return [one.domain for one in found.domains]
