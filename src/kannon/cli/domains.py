"""`kannon domain`."""

from collections.abc import Mapping

import click

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.limits import limits
from kannon.cli.options import admin_token_option, api_option, json_option, print_json
from kannon.cli.tracking import domain_tracking
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


domain.add_command(limits)
domain.add_command(domain_tracking)


def _records(name: str, public_key: str) -> list[dict[str, str]]:
    return [
        {"name": f"kannon._domainkey.{name}", "type": "TXT", "value": dns_record(public_key)},
        {"name": name, "type": "TXT", "value": "v=spf1 a:<sender.hostname> -all"},
        {"name": f"_dmarc.{name}", "type": "TXT", "value": "v=DMARC1; p=none; rua=mailto:<your address>"},
        {"name": name, "type": "MX", "value": "10 <smtp.domain>."},
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
