"""`kannon key`."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.moments import METAVAR, moment_ahead, moment_text
from kannon.cli.options import admin_token_option, api_option, json_option, print_json
from kannon.cli.tables import Table
from kannon.core.access import Role

if TYPE_CHECKING:
    from kannon.adapters.pb import admin_pb2

PAGE = 1000
HEADINGS = ("id", "key", "role", "state", "created", "expires", "name")
ID_HELP = "ID is that of `kannon key list`, key_…; the key itself is not needed."


@click.group()
def key() -> None:
    """API keys of applications."""


@key.command("create")
@click.argument("domain_name", metavar="DOMAIN")
@click.option("--name", default="default", show_default=True, help="What to call it.")
@click.option(
    "--expires",
    type=moment_ahead,
    metavar=METAVAR,
    help="When it ends: in 30d, 12h, or at 2027-01-01, UTC.  [default: never]",
)
@click.option(
    "--role",
    type=click.Choice([str(role) for role in Role]),
    default=str(Role.DEFAULT),
    show_default=True,
    help="What it is for: to send (sender), to read templates and statistics (reader), both (default), or "
    "for all of DOMAIN, keys and suppressions included (owner).",
)
@api_option
@admin_token_option
@json_option
def create_key(
    domain_name: str,
    name: str,
    expires: datetime | None,
    role: str,
    api: str,
    admin_token: str,
    as_json: bool,
) -> None:
    """Create an API key for DOMAIN. It is shown in full this once."""
    from kannon.adapters.pb import admin_pb2

    request = admin_pb2.CreateAPIKeyRequest(domain=domain_name, name=name, role=role)
    if expires is not None:
        request.expires_at.FromDatetime(expires)
    made = _call(api, admin_token, "CreateAPIKey", request)
    if as_json:
        print_json(_as_object(made.api_key) | {"key": made.key})
    else:
        click.echo(made.key)
        click.echo("Keep it: it cannot be shown again.", err=True)


@key.command("list")
@click.argument("domain_name", metavar="DOMAIN")
@click.option("--active", is_flag=True, help="Leave out keys that are revoked or expired.")
@api_option
@admin_token_option
@json_option
def list_keys(domain_name: str, active: bool, api: str, admin_token: str, as_json: bool) -> None:
    """List the API keys of DOMAIN, newest first; of each only its first characters."""
    from kannon.adapters.pb import admin_pb2

    found: list[admin_pb2.APIKey] = []
    while True:
        request = admin_pb2.ListAPIKeysRequest(
            domain=domain_name, only_active=active, limit=PAGE, offset=len(found)
        )
        answer = _call(api, admin_token, "ListAPIKeys", request)
        found.extend(answer.api_keys)
        if not answer.api_keys or len(found) >= answer.total:
            break
    _show(found, as_json, several=True)


@key.command("show", epilog=ID_HELP)
@click.argument("domain_name", metavar="DOMAIN")
@click.argument("key_id", metavar="ID")
@api_option
@admin_token_option
@json_option
def show_key(domain_name: str, key_id: str, api: str, admin_token: str, as_json: bool) -> None:
    """Show the API key ID of DOMAIN: its first characters, and its state."""
    from kannon.adapters.pb import admin_pb2

    request = admin_pb2.GetAPIKeyRequest(domain=domain_name, id=key_id)
    _show([_call(api, admin_token, "GetAPIKey", request).api_key], as_json)


@key.command("revoke", epilog=ID_HELP)
@click.argument("domain_name", metavar="DOMAIN")
@click.argument("key_id", metavar="ID")
@api_option
@admin_token_option
@json_option
def revoke_key(domain_name: str, key_id: str, api: str, admin_token: str, as_json: bool) -> None:
    """End the API key ID of DOMAIN at once and for good; done twice, it keeps the time of the first."""
    from kannon.adapters.pb import admin_pb2

    request = admin_pb2.DeactivateAPIKeyRequest(domain=domain_name, id=key_id)
    _show([_call(api, admin_token, "DeactivateAPIKey", request).api_key], as_json)


def _call(api: str, admin_token: str, procedure: str, request: Any) -> Any:
    from kannon.adapters.pb import admin_pb2_grpc

    return call(
        api,
        lambda channel: getattr(admin_pb2_grpc.ApiStub(channel), procedure)(
            request, metadata=admin_metadata(admin_token), timeout=TIMEOUT
        ),
    )


def _show(keys: "list[admin_pb2.APIKey]", as_json: bool, several: bool = False) -> None:
    if as_json:
        objects = [_as_object(one) for one in keys]
        print_json(objects if several else objects[0])
    else:
        Table(HEADINGS).print([_row(one) for one in keys])


def _row(one: "admin_pb2.APIKey") -> tuple[str, ...]:
    expires = moment_text(one.expires_at) if one.HasField("expires_at") else "never"
    return (one.id, one.key, one.role, _state(one), moment_text(one.created_at), expires, one.name)


def _state(one: "admin_pb2.APIKey") -> str:
    if one.HasField("deactivated_at"):
        return "revoked"
    return "active" if one.is_active else "expired"


def _as_object(one: "admin_pb2.APIKey") -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(one, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
