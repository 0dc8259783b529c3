"""`kannon suppression`."""

import csv
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TextIO, TypeVar

import click

from kannon.cli.moments import METAVAR, moment_ahead, moment_past, moment_text
from kannon.cli.options import admin_token_option, api_option, json_option, print_json
from kannon.cli.suppression.asking import Asked, Gateway
from kannon.cli.suppression.rows import COLUMNS, MAX_LINE, BadRow, Row, csv_row, read_rows
from kannon.cli.suppression.working import Addition, Removal
from kannon.cli.tables import Table, printable
from kannon.core.errors import BadInput
from kannon.core.suppression import Reason

if TYPE_CHECKING:
    from kannon.adapters.pb import admin_pb2

REASON: Final = click.Choice([str(reason) for reason in Reason])
HEADINGS: Final = ("address", "reason", "since", "expires", "detail")

F = TypeVar("F", bound=Callable[..., Any])


def of_domain(command: F) -> F:
    """Which domain a command is about, and where its gateway is."""
    domain = click.option(
        "--domain",
        "domain_name",
        envvar="KANNON_DOMAIN",
        required=True,
        help="The sending domain.  [env: KANNON_DOMAIN]",
    )
    return domain(api_option(admin_token_option(json_option(command))))


def chosen_by(command: F) -> F:
    """Which suppressions a command is about."""
    reason = click.option("--reason", type=REASON, help="Those for this reason only.")
    prefix = click.option("--prefix", default="", metavar="TEXT", help="Addresses that begin so only.")
    return reason(prefix(command))


@click.group()
def suppression() -> None:
    """Addresses that a domain does not send to."""


@suppression.command("list")
@chosen_by
@click.option(
    "--since",
    type=moment_past,
    metavar=METAVAR,
    help="Those of the last 2d, 12h, or since 2027-01-01, UTC.  [default: all]",
)
@of_domain
def list_suppressions(
    reason: str | None,
    prefix: str,
    since: datetime | None,
    domain_name: str,
    api: str,
    admin_token: str,
    as_json: bool,
) -> None:
    """List suppressions by address.

    On a terminal as a table, elsewhere with a tab between the fields; --json prints an object on each line.
    """
    table = Table(HEADINGS)

    async def show(asked: Asked) -> None:
        async for page in asked.pages(reason, prefix, since):
            if as_json:
                for one in page:
                    print_json(_as_object(one))
            else:
                table.print([_row(one) for one in page])

    Gateway(api, admin_token, domain_name).ask(show)


@suppression.command("show")
@click.argument("address")
@of_domain
def show_suppression(address: str, domain_name: str, api: str, admin_token: str, as_json: bool) -> None:
    """Show why ADDRESS is suppressed, and until when."""
    gateway = Gateway(api, admin_token, domain_name)
    found = gateway.ask(lambda asked: asked.call("GetSuppression", address=address)).suppression
    if as_json:
        print_json(_as_object(found))
        return
    lines = {
        "address": found.address,
        "reason": found.reason,
        "since": moment_text(found.created_at),
        "expires": _expiry(found),
        "told by": found.source,
        "message": found.message_id,
        "detail": found.detail,
    }
    for name, value in lines.items():
        if value:
            click.echo(f"{name:<9} {printable(value)}")


@suppression.command("add")
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@click.option(
    "--reason",
    type=REASON,
    default=str(Reason.MANUAL),
    show_default=True,
    help="Why.",
)
@click.option("--detail", default="", metavar="TEXT", help="For whoever looks it up.")
@click.option(
    "--expires",
    type=moment_ahead,
    metavar=METAVAR,
    help="When it ends by itself: after 30d, or on 2027-01-01.  [default: as the settings say]",
)
@of_domain
def add_suppressions(
    addresses: tuple[str, ...],
    reason: str,
    detail: str,
    expires: datetime | None,
    domain_name: str,
    api: str,
    admin_token: str,
    as_json: bool,
) -> None:
    """Suppress ADDRESSes. Of one that is suppressed already the stronger reason stays."""
    from kannon.adapters.pb import admin_pb2

    def rows() -> Iterable[Row]:
        for address in addresses:
            made = admin_pb2.NewSuppression(address=address, reason=reason, detail=detail)
            if expires:
                made.expires_at.FromDatetime(expires)
            yield Row(0, made)

    _add(rows(), Gateway(api, admin_token, domain_name), as_json)


@suppression.command("import")
@click.argument("file", type=click.File("rb"), metavar="FILE")
@of_domain
def import_suppressions(file: BinaryIO, domain_name: str, api: str, admin_token: str, as_json: bool) -> None:
    """Add the suppressions of a list in CSV; - is standard input.

    Its header has the column `address` or `email`, and may have `reason` (manual where there is none),
    `created_at`, `expires_at` and `detail`, as `export` writes them. A row that cannot be taken is named with
    its line, and the others are taken. Taken twice, a row without `created_at` lasts from the second time on,
    if it ends by itself; no other changes anything.
    """
    lines = iter(lambda: file.readline(MAX_LINE), b"")
    _add(read_rows(lines), Gateway(api, admin_token, domain_name), as_json)


@suppression.command("export")
@click.argument("file", type=click.File("w", encoding="utf-8"), default="-", metavar="[FILE]")
@chosen_by
@of_domain
def export_suppressions(
    file: TextIO,
    reason: str | None,
    prefix: str,
    domain_name: str,
    api: str,
    admin_token: str,
    as_json: bool,
) -> None:
    """Write suppressions as CSV to FILE, or to standard output; `import` reads it.

    --json writes an object on each line instead.
    """

    async def write(asked: Asked) -> int:
        writer, count = csv.writer(file, lineterminator="\n"), 0
        if not as_json:
            writer.writerow(COLUMNS)
        async for page in asked.pages(reason, prefix):
            if as_json:
                for one in page:
                    print_json(_as_object(one), file)
            else:
                writer.writerows(csv_row(one) for one in page)
            count += len(page)
        return count

    count = Gateway(api, admin_token, domain_name).ask(write)
    click.echo(f"{count:,} exported", err=True)


@suppression.command("remove")
@click.argument("addresses", metavar="[ADDRESS]...", nargs=-1)
@chosen_by
@click.option("--all", "everything", is_flag=True, help="All suppressions of the domain.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@of_domain
def remove_suppressions(
    addresses: tuple[str, ...],
    reason: str | None,
    prefix: str,
    everything: bool,
    yes: bool,
    domain_name: str,
    api: str,
    admin_token: str,
    as_json: bool,
) -> None:
    """Remove the suppressions of ADDRESSes, or --all, or all for a --reason or with a --prefix.

    These are sent to again. On a terminal it asks before it removes more than it was told by name.
    """
    is_bulk = everything or bool(reason or prefix)
    if bool(addresses) == is_bulk or (everything and (reason or prefix)):
        raise click.UsageError("give ADDRESSes, or --all, or --reason and --prefix")
    if is_bulk and not yes and not _is_agreed(domain_name, reason, prefix):
        raise SystemExit(1)

    removal = Removal()

    async def remove(asked: Asked) -> None:
        if addresses:
            await removal.do(asked, list(addresses))
            return
        async for page in asked.pages(reason, prefix):
            await removal.do(asked, [one.address for one in page])

    try:
        Gateway(api, admin_token, domain_name).ask(remove)
    finally:
        removal.tell(as_json)
    if removal.left and addresses:
        raise SystemExit(1)


def _add(rows: Iterable[Row | BadRow], gateway: Gateway, as_json: bool) -> None:
    addition = Addition()
    try:
        gateway.ask(lambda asked: addition.do(asked, rows))
    except BadInput as error:
        raise click.BadParameter(str(error), param_hint="FILE") from None
    finally:
        if addition.added or addition.unchanged or addition.rejected:
            addition.tell(as_json)
    if addition.rejected:
        raise SystemExit(1)


def _is_agreed(domain: str, reason: str | None, prefix: str) -> bool:
    """Ask on a terminal; elsewhere nobody could answer."""
    if not sys.stdin.isatty():
        return True
    which = [f"for {reason}"] if reason else []
    which += [f"of {printable(prefix)}…"] if prefix else []
    text = " ".join(["All suppressions of", printable(domain), *which])
    return click.confirm(f"{text} will be removed. Go on?", err=True)


def _row(found: "admin_pb2.Suppression") -> tuple[str, ...]:
    return found.address, found.reason, moment_text(found.created_at), _expiry(found), found.detail


def _expiry(found: "admin_pb2.Suppression") -> str:
    return moment_text(found.expires_at) if found.HasField("expires_at") else "never"


def _as_object(found: "admin_pb2.Suppression") -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
