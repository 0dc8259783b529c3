"""`kannon send`."""

from datetime import UTC, datetime
from typing import TextIO

import click

from kannon.cli.client import TIMEOUT, call, key_metadata
from kannon.cli.options import api_option, json_option, parse_fields, print_json


@click.command()
@click.option(
    "--domain",
    "domain_name",
    envvar="KANNON_DOMAIN",
    required=True,
    help="The sending domain.  [env: KANNON_DOMAIN]",
)
@click.option("--key", "api_key", envvar="KANNON_KEY", required=True, help="Its API key.  [env: KANNON_KEY]")
@click.option("--from", "sender", required=True, metavar="ADDRESS", help="Address of the sender.")
@click.option("--alias", default="", help="Name of the sender.")
@click.option(
    "--to", "addresses", required=True, multiple=True, metavar="ADDRESS", help="A recipient; repeatable."
)
@click.option("--subject", required=True, help="The subject; {{ NAME }} is filled.")
@click.option(
    "--html", "html_file", type=click.File("r", encoding="utf-8"), default="-", help="File; - is stdin."
)
@click.option("--field", "pairs", multiple=True, metavar="NAME=VALUE", help="Fills {{ NAME }}; repeatable.")
@click.option("--at", type=click.DateTime(["%Y-%m-%dT%H:%M:%S"]), help="Not before this time, UTC.")
@api_option
@json_option
def send(
    domain_name: str,
    api_key: str,
    sender: str,
    alias: str,
    addresses: tuple[str, ...],
    subject: str,
    html_file: TextIO,
    pairs: tuple[str, ...],
    at: datetime | None,
    api: str,
    as_json: bool,
) -> None:
    """Send one message, to each recipient a mail of their own; prints the id of the message."""
    from kannon.adapters.pb import mailer_pb2, mailer_pb2_grpc, types_pb2

    request = mailer_pb2.SendHTMLReq(
        sender=types_pb2.Sender(email=sender, alias=alias),
        subject=subject,
        html=html_file.read(),
        global_fields=parse_fields(pairs),
        recipients=[types_pb2.Recipient(email=address) for address in addresses],
    )
    if at is not None:
        request.scheduled_time.FromDatetime(at.replace(tzinfo=UTC))
    answer = call(
        api,
        lambda channel: mailer_pb2_grpc.MailerStub(channel).SendHTML(
            request, metadata=key_metadata(domain_name, api_key), timeout=TIMEOUT
        ),
    )
    if as_json:
        rejected = [{"email": one.email, "reason": one.reason} for one in answer.rejected_recipients]
        print_json({"message_id": answer.message_id, "accepted": answer.accepted_count, "rejected": rejected})
    else:
        click.echo(answer.message_id)
    for one in answer.rejected_recipients:
        click.echo(f"refused: {one.email}: {one.reason}", err=True)
    if answer.rejected_recipients:
        raise SystemExit(1)
