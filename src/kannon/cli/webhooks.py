"""`kannon webhook`."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import grpc

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.messages import as_object
from kannon.cli.moments import METAVAR, moment_past, moment_text, span_text
from kannon.cli.options import admin_token_option, api_option, json_option, print_json
from kannon.cli.tables import Table, printable

if TYPE_CHECKING:
    from kannon.adapters.pb import admin_pb2

F = TypeVar("F", bound=Callable[..., Any])
HEADINGS: Final = ("webhook", "state", "types", "url")
LOG_HEADINGS: Final = ("number", "age", "state", "tries", "answer", "event")
TEST_SECONDS: Final = 60.0
_SHORT: Final = ("email.kannon.", ".v1")


@click.group()
def webhook() -> None:
    """Webhooks: endpoints that are told what became of a domain's mails."""


def takes_webhook(command: F) -> F:
    """Which webhook of which domain."""
    return _of_domain(click.argument("webhook_id", metavar="WEBHOOK")(command))


def _of_domain(command: F) -> F:
    chosen = click.argument("domain_name", metavar="DOMAIN")
    return chosen(json_option(admin_token_option(api_option(command))))


@webhook.command("create")
@_of_domain
@click.argument("url")
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="TYPE",
    help="Events of this type only, such as bounced; more than once for several.",
)
@click.option("--description", default="", help="For people.")
def create(
    domain_name: str,
    url: str,
    types: tuple[str, ...],
    description: str,
    api: str,
    admin_token: str,
    as_json: bool,
) -> None:
    """Tell URL what becomes of the mails of DOMAIN. The secret is shown this once.

    The endpoint verifies what it gets by the secret (https://www.standardwebhooks.com).
    """
    wanted = _request(
        "CreateWebhook",
        domain=domain_name,
        url=url,
        types=[_full_type(name) for name in types],
        description=description,
    )
    _tell_secret(_call(api, admin_token, "CreateWebhook", wanted), as_json)


@webhook.command("list")
@_of_domain
def list_webhooks(domain_name: str, api: str, admin_token: str, as_json: bool) -> None:
    """List the webhooks of DOMAIN, oldest first."""
    found = _call(api, admin_token, "ListWebhooks", _request("ListWebhooks", domain=domain_name)).webhooks
    if as_json:
        for one in found:
            print_json(as_object(one))
        return
    Table(HEADINGS).print([(one.webhook_id, one.state, _types(one) or "all", one.url) for one in found])


@webhook.command("show")
@takes_webhook
def show(domain_name: str, webhook_id: str, api: str, admin_token: str, as_json: bool) -> None:
    """Show a webhook, and how it is doing."""
    wanted = _request("GetWebhook", domain=domain_name, webhook_id=webhook_id)
    _show(_call(api, admin_token, "GetWebhook", wanted).webhook, as_json)


@webhook.command("delete")
@takes_webhook
def delete(domain_name: str, webhook_id: str, api: str, admin_token: str, as_json: bool) -> None:
    """Delete a webhook, and its log."""
    wanted = _request("DeleteWebhook", domain=domain_name, webhook_id=webhook_id)
    deleted = _call(api, admin_token, "DeleteWebhook", wanted).webhook
    if as_json:
        print_json(as_object(deleted))
    else:
        click.echo(f"deleted {deleted.webhook_id}")


@webhook.command("rotate")
@takes_webhook
@click.option("--at-once", is_flag=True, help="The old secret signs no more; else it does for 24 hours.")
def rotate(
    domain_name: str, webhook_id: str, at_once: bool, api: str, admin_token: str, as_json: bool
) -> None:
    """Give a webhook a new secret, which is shown this once."""
    wanted = _request("RotateWebhookSecret", domain=domain_name, webhook_id=webhook_id, at_once=at_once)
    _tell_secret(_call(api, admin_token, "RotateWebhookSecret", wanted), as_json)


@webhook.command("test")
@takes_webhook
def test(domain_name: str, webhook_id: str, api: str, admin_token: str, as_json: bool) -> None:
    """Have a test event posted, and tell what came of it; fails if the endpoint does not take it."""

    async def tried(channel: grpc.aio.Channel) -> Any:
        wanted = _request("TestWebhook", domain=domain_name, webhook_id=webhook_id)
        delivery = (await _answer(channel, admin_token, "TestWebhook", wanted)).delivery
        page = _request(
            "ListWebhookDeliveries",
            domain=domain_name,
            webhook_id=webhook_id,
            before=delivery.number + 1,
            take=1,
        )
        deadline = asyncio.get_running_loop().time() + TEST_SECONDS
        while not delivery.HasField("last_attempt_at") and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.2)
            found = (await _answer(channel, admin_token, "ListWebhookDeliveries", page)).deliveries
            delivery = next(iter(found), delivery)
        return delivery

    delivery = call(api, tried)
    if as_json:
        print_json(as_object(delivery))
    else:
        click.echo(f"{delivery.state}  {_came_of(delivery)}")
    if delivery.state != "delivered":
        raise SystemExit(1)


@webhook.command("log")
@takes_webhook
@click.option("--state", type=click.Choice(["owed", "delivered", "failed"]), help="In this state only.")
@click.option("--number", "of", type=click.IntRange(min=1), metavar="N", help="This one only, in full.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most.")
def log(
    domain_name: str,
    webhook_id: str,
    state: str | None,
    of: int | None,
    limit: int,
    api: str,
    admin_token: str,
    as_json: bool,
) -> None:
    """List what was owed to a webhook and what became of that, newest first."""
    wanted = _request(
        "ListWebhookDeliveries",
        domain=domain_name,
        webhook_id=webhook_id,
        state=state or "",
        take=1 if of else limit,
        before=of + 1 if of else 0,
    )
    found = _call(api, admin_token, "ListWebhookDeliveries", wanted).deliveries
    if of is not None:
        found = [one for one in found if one.number == of]
        if not found:
            raise click.ClickException(f"the log has no number {of}")
    if as_json:
        for one in found:
            print_json(as_object(one))
    elif of is not None:
        _print_delivery(found[0])
    else:
        Table(LOG_HEADINGS).print([_row(one) for one in found])


@webhook.command("redeliver")
@takes_webhook
@click.argument("number", type=click.IntRange(min=1), required=False)
@click.option("--failed-since", type=moment_past, metavar=METAVAR, help="All that failed since then.")
def redeliver(
    domain_name: str,
    webhook_id: str,
    number: int | None,
    failed_since: datetime | None,
    api: str,
    admin_token: str,
    as_json: bool,
) -> None:
    """Have events of the log posted once more, under their ids: NUMBER, or all that failed since a time."""
    if (number is None) == (failed_since is None):
        raise click.UsageError("give NUMBER, or --failed-since")
    wanted = _request("RedeliverWebhook", domain=domain_name, webhook_id=webhook_id, number=number or 0)
    if failed_since is not None:
        wanted.failed_since.FromDatetime(failed_since)
    owed = _call(api, admin_token, "RedeliverWebhook", wanted).owed
    if as_json:
        print_json({"owed": owed})
    else:
        click.echo(f"{owed:,} owed")


def _request(procedure: str, **fields: Any) -> Any:
    from kannon.adapters.pb import admin_pb2

    return getattr(admin_pb2, f"{procedure}Req")(**fields)


def _call(api: str, admin_token: str, procedure: str, request: Any) -> Any:
    return call(api, lambda channel: _answer(channel, admin_token, procedure, request))


async def _answer(channel: grpc.aio.Channel, admin_token: str, procedure: str, request: Any) -> Any:
    from kannon.adapters.pb import admin_pb2_grpc

    method = getattr(admin_pb2_grpc.ApiStub(channel), procedure)
    return await method(request, metadata=admin_metadata(admin_token), timeout=TIMEOUT)


def _full_type(name: str) -> str:
    """`bounced` stands for `email.kannon.delivery.bounced.v1`."""
    return name if "." in name else f"{_SHORT[0]}delivery.{name}{_SHORT[1]}"


def _short(name: str) -> str:
    return name.removeprefix(_SHORT[0]).removesuffix(_SHORT[1])


def _types(one: "admin_pb2.Webhook") -> str:
    return ", ".join(_short(name) for name in one.types)


def _tell_secret(answer: Any, as_json: bool) -> None:
    if as_json:
        print_json(as_object(answer.webhook) | {"secret": answer.secret})
        return
    _show(answer.webhook, as_json)
    click.echo(f"secret       {answer.secret}")
    click.echo("Keep the secret: it is not shown again.", err=True)


def _show(one: "admin_pb2.Webhook", as_json: bool) -> None:
    if as_json:
        print_json(as_object(one))
        return
    lines = {
        "webhook": one.webhook_id,
        "url": one.url,
        "types": _types(one) or "all",
        "about": one.description,
        "created": moment_text(one.created_at),
        "state": one.state,
        "failures": f"{one.failures} in a row" if one.failures else "",
        "failing": f"since {moment_text(one.failing_since)}" if one.HasField("failing_since") else "",
        "suspended": f"{moment_text(one.suspended_at)}, {one.suspended_for}" if one.suspended_for else "",
        "old secret": f"until {moment_text(one.old_secret_until)}"
        if one.HasField("old_secret_until")
        else "",
    }
    for name, value in lines.items():
        if value:
            click.echo(f"{name:<12} {printable(value)}")


def _row(one: "admin_pb2.WebhookDelivery") -> tuple[str, ...]:
    age = (datetime.now(UTC) - one.created_at.ToDatetime(tzinfo=UTC)).total_seconds()
    return str(one.number), span_text(age), one.state, str(one.attempts), _came_of(one), _short(one.type)


def _came_of(one: "admin_pb2.WebhookDelivery") -> str:
    return " ".join(filter(None, (str(one.status or ""), one.error)))


def _print_delivery(one: "admin_pb2.WebhookDelivery") -> None:
    lines = {
        "number": str(one.number),
        "event": one.event_id,
        "type": one.type,
        "created": moment_text(one.created_at),
        "state": one.state,
        "tries": str(one.attempts),
        "last try": moment_text(one.last_attempt_at) if one.HasField("last_attempt_at") else "",
        "answer": _came_of(one),
        "took": f"{one.milliseconds} ms" if one.HasField("last_attempt_at") else "",
        "next try": moment_text(one.next_attempt_at) if one.HasField("next_attempt_at") else "",
    }
    for name, value in lines.items():
        if value:
            click.echo(f"{name:<12} {printable(value)}")
    click.echo(one.body)
