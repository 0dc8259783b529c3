"""`kannon domain` and `kannon key`."""

from collections.abc import Mapping
from datetime import UTC, datetime

import click

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.options import admin_token_option, api_option, json_option, print_json
from kannon.core.dkim import dns_record

RECORD_HELP = "SPF and DMARC are for you to decide; these are usual beginnings."


@click.group()
def domain() -> None:
    """Sending domains."""


@domain.command("create")
@click.argument("name")
@api_option
@admin_token_option
@json_option
def create_domain(name: str, api: str, admin_token: str, as_json: bool) -> None:
    """Create the sending domain NAME and show the DNS records to publish."""
    from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

    request = admin_pb2.CreateDomainRequest(domain=name)
    made = call(
        api,
        lambda channel: admin_pb2_grpc.ApiStub(channel).CreateDomain(
            request, metadata=admin_metadata(admin_token), timeout=TIMEOUT
        ),
    )
    _show(made.domain, made.dkim_pub_key, as_json)


@domain.command("show")
@click.argument("name")
@api_option
@admin_token_option
@json_option
def show_domain(name: str, api: str, admin_token: str, as_json: bool) -> None:
    """Show the DNS records of the domain NAME."""
    from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

    found = call(
        api,
        lambda channel: admin_pb2_grpc.ApiStub(channel).GetDomain(
            admin_pb2.GetDomainReq(domain=name), metadata=admin_metadata(admin_token), timeout=TIMEOUT
        ),
    )
    _show(found.domain.domain, found.domain.dkim_pub_key, as_json)


@domain.command("list")
@api_option
@admin_token_option
@json_option
def list_domains(api: str, admin_token: str, as_json: bool) -> None:
    """List all sending domains."""
    from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

    found = call(
        api,
        lambda channel: admin_pb2_grpc.ApiStub(channel).GetDomains(
            admin_pb2.GetDomainsReq(), metadata=admin_metadata(admin_token), timeout=TIMEOUT
        ),
    )
    names = [one.domain for one in found.domains]
    if as_json:
        print_json(names)
    else:
        for name in names:
            click.echo(name)


@click.group()
def key() -> None:
    """API keys of applications."""


@key.command("create")
@click.argument("domain_name", metavar="DOMAIN")
@click.option("--name", default="default", show_default=True, help="What to call it.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="When it ends, UTC.")
@api_option
@admin_token_option
@json_option
def create_key(
    domain_name: str, name: str, expires: datetime | None, api: str, admin_token: str, as_json: bool
) -> None:
    """Create an API key for DOMAIN. It is shown in full this once."""
    from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

    request = admin_pb2.CreateAPIKeyRequest(domain=domain_name, name=name)
    if expires is not None:
        request.expires_at.FromDatetime(expires.replace(tzinfo=UTC))
    made = call(
        api,
        lambda channel: admin_pb2_grpc.ApiStub(channel).CreateAPIKey(
            request, metadata=admin_metadata(admin_token), timeout=TIMEOUT
        ),
    )
    if as_json:
        print_json({"id": made.api_key.id, "domain": domain_name, "name": name, "key": made.key})
    else:
        click.echo(made.key)
        click.echo("Keep it: it cannot be shown again.", err=True)


def _records(name: str, public_key: str) -> list[dict[str, str]]:
    return [
        {"name": f"kannon._domainkey.{name}", "type": "TXT", "value": dns_record(public_key)},
        {"name": name, "type": "TXT", "value": "v=spf1 a:<sender.hostname> -all"},
        {"name": f"_dmarc.{name}", "type": "TXT", "value": f"v=DMARC1; p=none; rua=mailto:postmaster@{name}"},
        {"name": name, "type": "MX", "value": "10 <sender.hostname>."},
        {"name": f"stats.{name}", "type": "CNAME", "value": "<address of the tracking service>."},
    ]


def _zone_text(record: Mapping[str, str]) -> str:
    """The value as a zone file has it: a TXT's strings hold at most 255 characters each (RFC 1035 §3.3)."""
    value = record["value"]
    if record["type"] != "TXT":
        return value
    return " ".join(f'"{value[at : at + 255]}"' for at in range(0, len(value), 255))


def _show(name: str, public_key: str, as_json: bool) -> None:
    records = _records(name, public_key)
    if as_json:
        print_json({"domain": name, "dkim_pub_key": public_key, "records": records})
        return
    click.echo(f"{name}\n\nDNS records to publish:")
    for record in records:
        click.echo(f"\n  {record['name']}  {record['type']}\n    {_zone_text(record)}")
    click.echo(f"\n{RECORD_HELP}")
