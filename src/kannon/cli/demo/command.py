"""The demo: start everything, send one Batch, watch it, check what arrived."""

import asyncio
import email
import email.policy
import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kannon.cli.client import TIMEOUT, admin_metadata, gateway, key_metadata
from kannon.cli.demo.sink import Sink
from kannon.cli.statistics import counts_of, show_counts
from kannon.core.errors import KannonError
from kannon.runtime.logs import start_logging
from kannon.runtime.settings import Settings

if TYPE_CHECKING:
    import grpc

    from kannon.cli.standalone.system import Running

DOMAIN = "demo.example"
SUBJECT = "Hello {{ name }}"
HTML = (
    "<html><body><p>Dear {{ name }},</p>"
    "<p>you are number {{ number }} of {{ total }}.</p>"
    "<p><a href='https://example.com/?n={{ number }}'>More</a></p>"
    "</body></html>"
)
PATIENCE = 120.0
"""Seconds without any progress after which the demo gives up."""


class DemoFailed(KannonError):
    """The demo did not end as it should."""


@click.command()
@click.option(
    "--recipients",
    type=click.IntRange(1, 100_000),
    default=1000,
    show_default=True,
    help="To how many to send.",
)
@click.option(
    "--data-folder",
    type=click.Path(path_type=Path),
    default=Path(".kannon/demo"),
    show_default=True,
    help="Where its servers keep their data; reused the next time.",
)
def demo(recipients: int, data_folder: Path) -> None:
    """Run everything on this machine with a local mail sink, and send one personalised Batch through it."""
    from kannon.cli.standalone.system import running

    folder = data_folder.resolve()
    start_logging("demo", stream=sys.stderr)
    logging.getLogger().setLevel(logging.WARNING)

    async def run() -> str:
        with Sink() as sink:
            click.echo(f"sink         127.0.0.1:{sink.port}")
            settings = Settings.load(
                {
                    "config": os.devnull,
                    "data_folder": str(folder),
                    "api.host": "127.0.0.1",
                    "api.port": str(_free_port()),
                    "sender.hostname": "mail.demo.example",
                    "sender.routes": f"*=127.0.0.1:{sink.port}",
                    "sender.allow_networks": "127.0.0.0/8",
                },
                environment={},
            )
            click.echo("starting     PostgreSQL, NATS, gateway, edge, five functions, their source")
            async with running(settings) as system:
                click.echo(f"gateway      {system.api}")
                return await _unless_asked_to_stop(system, _send_and_watch(system, sink, recipients))

    click.echo(asyncio.run(run()))


async def _unless_asked_to_stop(system: "Running", work: Coroutine[Any, Any, str]) -> str:
    from kannon.cli.standalone.errors import Interrupted

    working = asyncio.create_task(work)
    asked = asyncio.create_task(system.supervisor.asked_to_stop())
    await asyncio.wait([working, asked], return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if working.done():
        return working.result()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    raise Interrupted("asked to stop")


def _free_port() -> int:
    from kannon.cli.standalone.listening import free_port

    return free_port()


async def _send_and_watch(system: "Running", sink: Sink, recipients: int) -> str:
    from kannon.runtime.settings import API_ADMIN_TOKEN

    token = system.settings[API_ADMIN_TOKEN]
    domain = f"n{int(time.time())}.{DOMAIN}"
    async with gateway(system.api) as channel:
        public_key, api_key = await _create_tenant(channel, token, domain)
        start = datetime.now(UTC)
        message_id = await _send_batch(channel, domain, api_key, recipients)
        click.echo(f"accepted     {message_id}")
        began = time.monotonic()
        counts = await _watch(channel, token, domain, start, recipients)
        seconds = time.monotonic() - began
    click.echo(f"took         {seconds:.1f} s, {recipients / seconds:.0f} mails a second\n")
    show_counts(counts)
    verified = _show_one(sink, domain, public_key)
    arrived = len({mail.recipient for mail in sink.mails if domain.encode() in mail.content})
    if counts["delivered"] != recipients or arrived != recipients or not verified:
        raise DemoFailed(
            f"demo: {counts['delivered']} of {recipients} delivered, {arrived} at the sink, "
            f"DKIM {'pass' if verified else 'fail'}"
        )
    return f"demo: {counts['delivered']} of {recipients} delivered, DKIM pass"


async def _create_tenant(channel: "grpc.aio.Channel", token: str, domain: str) -> tuple[str, str]:
    from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

    api = admin_pb2_grpc.ApiStub(channel)
    metadata = admin_metadata(token)
    made = await api.CreateDomain(
        admin_pb2.CreateDomainRequest(domain=domain), metadata=metadata, timeout=TIMEOUT
    )
    key = await api.CreateAPIKey(
        admin_pb2.CreateAPIKeyRequest(domain=domain, name="demo"), metadata=metadata, timeout=TIMEOUT
    )
    click.echo(f"domain       {domain}, with an API key")
    return made.dkim_pub_key, key.key


async def _send_batch(channel: "grpc.aio.Channel", domain: str, api_key: str, recipients: int) -> str:
    from kannon.adapters.pb import mailer_pb2, mailer_pb2_grpc, types_pb2

    request = mailer_pb2.SendHTMLReq(
        sender=types_pb2.Sender(email=f"hello@{domain}", alias="Kannon’s demo"),
        subject=SUBJECT,
        html=HTML,
        global_fields={"total": str(recipients)},
        recipients=[
            types_pb2.Recipient(
                email=f"reader-{number}@example.org",
                fields={"name": f"Reader {number}", "number": str(number)},
            )
            for number in range(1, recipients + 1)
        ],
    )
    answer = await mailer_pb2_grpc.MailerStub(channel).SendHTML(
        request, metadata=key_metadata(domain, api_key), timeout=TIMEOUT
    )
    return str(answer.message_id)


async def _watch(
    channel: "grpc.aio.Channel", token: str, domain: str, start: datetime, recipients: int
) -> Counter[str]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("delivering "), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("delivering", total=recipients)
        done, last_progress = 0, time.monotonic()
        while True:
            counts = await counts_of(channel, token, domain, start, start + timedelta(days=1))
            ended = sum(counts[kind] for kind in ("delivered", "bounced", "failed", "rejected"))
            progress.update(task, completed=ended)
            if ended >= recipients:
                return counts
            if ended > done:
                done, last_progress = ended, time.monotonic()
            if time.monotonic() - last_progress > PATIENCE:
                raise DemoFailed(f"demo: no progress for {PATIENCE:.0f} s at {ended} of {recipients}")
            await asyncio.sleep(0.1)


def _show_one(sink: Sink, domain: str, public_key: str) -> bool:
    mail = next(mail for mail in sink.mails if domain.encode() in mail.content)
    message = email.message_from_bytes(mail.content, policy=email.policy.default)
    click.echo(f"\none of them, to {mail.recipient}:")
    for name in ("From", "To", "Subject", "Date", "Message-ID"):
        click.echo(f"  {name}: {message[name]}")
    text = message.get_body(("plain",))
    for line in (text.get_content() if text else "").strip().splitlines():
        click.echo(f"  | {line}")
    verified = _verify(mail.content, domain, public_key)
    click.echo(f"  DKIM: {'pass' if verified else 'fail'}\n")
    return verified


def _verify(content: bytes, domain: str, public_key: str) -> bool:
    import dkim

    from kannon.core.dkim import dns_record

    def published(name: bytes, timeout: int = 5) -> bytes:
        del timeout
        if name.rstrip(b".").decode() != f"kannon._domainkey.{domain}":
            return b""
        return dns_record(public_key).encode()

    # aiosmtpd hands lines over as they came, dots unstuffed; dkimpy wants CRLF.
    normalised = re.sub(rb"\r?\n", b"\r\n", content)
    return bool(dkim.verify(normalised, dnsfunc=published))
