"""`kannon batch`."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from kannon.cli.client import TIMEOUT, call, key_metadata
from kannon.cli.deliveries import MESSAGE_ID
from kannon.cli.moments import METAVAR, moment_ahead, moment_text
from kannon.cli.options import api_option, json_option, print_json
from kannon.cli.tables import printable

if TYPE_CHECKING:
    from kannon.adapters.pb import mailer_pb2

F = TypeVar("F", bound=Callable[..., Any])

SETTLING: Final = 120.0
"""Seconds; of a large Batch the gateway answers when all of it is cancelled or moved."""


@click.group()
def batch() -> None:
    """A message as a whole: all its mails."""


def _takes_batch(command: F) -> F:
    """MESSAGE_ID and whose it is: its domain can be read from it."""

    @click.argument("message_id", metavar="MESSAGE_ID")
    @click.option(
        "--domain",
        "domain_name",
        envvar="KANNON_DOMAIN",
        show_default="that in MESSAGE_ID",
        help="The sending domain.  [env: KANNON_DOMAIN]",
    )
    @click.option(
        "--key", "api_key", envvar="KANNON_KEY", required=True, help="Its API key.  [env: KANNON_KEY]"
    )
    @api_option
    @json_option
    @wraps(command)
    def taking(message_id: str, domain_name: str | None, api_key: str, api: str, **others: Any) -> Any:
        match = MESSAGE_ID.fullmatch(message_id)
        if match is None:
            raise click.BadParameter("of the form msg_<id>@<domain>", param_hint="MESSAGE_ID")
        mailer = _Mailer(api, domain_name or match[1], api_key)
        return command(mailer=mailer, message_id=message_id, **others)

    return taking  # type: ignore[return-value]


class _Mailer:
    """Calls `Mailer` with a Domain's key."""

    def __init__(self, api: str, domain: str, api_key: str) -> None:
        self._api = api
        self._credentials = key_metadata(domain, api_key)

    def call(self, procedure: str, request: Any, timeout: float = TIMEOUT) -> Any:
        from kannon.adapters.pb import mailer_pb2_grpc

        return call(
            self._api,
            lambda channel: getattr(mailer_pb2_grpc.MailerStub(channel), procedure)(
                request, metadata=self._credentials, timeout=timeout
            ),
        )


def _moment(text: str) -> datetime:
    """As `moment_ahead`, and `now`."""
    return datetime.now(UTC) if text == "now" else moment_ahead(text)


@batch.command("show")
@_takes_batch
def show_batch(mailer: _Mailer, message_id: str, as_json: bool) -> None:
    """Show how the message MESSAGE_ID stands: its times, and how many of its mails are in each status."""
    from kannon.adapters.pb import mailer_pb2

    found: mailer_pb2.GetBatchRes = mailer.call("GetBatch", mailer_pb2.GetBatchReq(message_id=message_id))
    if as_json:
        print_json(_as_object(found) | {"counts": dict(sorted(found.counts.items())), "total": found.total})
        return
    lines = [
        ("message", found.message_id),
        ("subject", printable(found.subject)),
        ("template", found.template_id),
        ("accepted", moment_text(found.accepted_time)),
        ("scheduled", moment_text(found.scheduled_time)),
    ]
    if found.HasField("cancelled_time"):
        lines.append(("cancelled", moment_text(found.cancelled_time)))
    counts = ", ".join(f"{count:,} {status}" for status, count in sorted(found.counts.items()))
    lines.append(("mails", f"{found.total:,}" + (f": {counts}" if counts else "")))
    for name, value in lines:
        click.echo(f"{name:<10} {value}")


@batch.command("cancel")
@_takes_batch
def cancel_batch(mailer: _Mailer, message_id: str, as_json: bool) -> None:
    """Send nothing more of the message MESSAGE_ID.

    What is on its way already stays so, and may still arrive. Done twice, it tells how it stands by then.
    """
    from kannon.adapters.pb import mailer_pb2

    request = mailer_pb2.CancelBatchReq(message_id=message_id)
    answer: mailer_pb2.CancelBatchRes = mailer.call("CancelBatch", request, SETTLING)
    if as_json:
        counts = {"cancelled": answer.cancelled, "under_way": answer.under_way, "ended": answer.ended}
        print_json(_as_object(answer) | counts)
    else:
        click.echo(f"{answer.cancelled:,} cancelled, {answer.under_way:,} under way, {answer.ended:,} ended")


@batch.command("reschedule")
@_takes_batch
@click.option(
    "--at",
    "at",
    type=_moment,
    metavar=f"now|{METAVAR}",
    required=True,
    help="Not before this time: now, in 12h or 2d, or 2027-01-31T08:00:00, UTC.",
)
def reschedule_batch(mailer: _Mailer, message_id: str, at: datetime, as_json: bool) -> None:
    """Move the mails of MESSAGE_ID that were not tried yet to another time, earlier or later."""
    from kannon.adapters.pb import mailer_pb2

    request = mailer_pb2.RescheduleBatchReq(message_id=message_id)
    request.scheduled_time.FromDatetime(at)
    answer: mailer_pb2.RescheduleBatchRes = mailer.call("RescheduleBatch", request, SETTLING)
    if as_json:
        counts = {"moved": answer.moved, "under_way": answer.under_way, "ended": answer.ended}
        print_json(_as_object(answer) | counts)
    else:
        counted = f"{answer.moved:,} moved, {answer.under_way:,} under way, {answer.ended:,} ended"
        click.echo(f"{counted}; scheduled for {moment_text(answer.scheduled_time)}")


def _as_object(
    answer: "mailer_pb2.GetBatchRes | mailer_pb2.CancelBatchRes | mailer_pb2.RescheduleBatchRes",
) -> dict[str, Any]:
    """The answer for programs; counts are put in as numbers, for protobuf writes them as texts."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(answer, preserving_proto_field_name=True)
