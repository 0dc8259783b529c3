"""`kannon domain tracking`, and how commands name modes of tracking."""

from typing import TYPE_CHECKING, Final

import click

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.options import admin_token_option, api_option, json_option, print_json
from kannon.core.tracking.policy import Mode

if TYPE_CHECKING:
    from kannon.adapters.pb.tracking_pb2 import TrackingPolicy

MODE: Final = click.Choice([mode.name.lower() for mode in Mode])


@click.command("tracking")
@click.argument("name")
@click.option("--opens", type=MODE, help="The most that may be learnt of who opens a mail.")
@click.option("--links", type=MODE, help="The most that may be learnt of who follows a link.")
@api_option
@admin_token_option
@json_option
def domain_tracking(
    name: str, opens: str | None, links: str | None, api: str, admin_token: str, as_json: bool
) -> None:
    """Show how much may be learnt of the readers of the domain NAME, or change it from the next mail on."""
    from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

    metadata = admin_metadata(admin_token)
    known = call(
        api,
        lambda channel: admin_pb2_grpc.ApiStub(channel).GetDomain(
            admin_pb2.GetDomainReq(domain=name), metadata=metadata, timeout=TIMEOUT
        ),
    ).domain
    if opens or links:
        request = admin_pb2.SetTrackingPolicyReq(domain=known.domain, tracking=known.tracking)
        state(request.tracking, opens, links)
        known = call(
            api,
            lambda channel: admin_pb2_grpc.ApiStub(channel).SetTrackingPolicy(
                request, metadata=metadata, timeout=TIMEOUT
            ),
        ).domain
    modes = modes_of(known.tracking)
    if as_json:
        print_json({"domain": known.domain} | modes)
    else:
        for channel, mode in modes.items():
            click.echo(f"{channel}  {mode}")


def state(policy: "TrackingPolicy", opens: str | None, links: str | None) -> None:
    """Write modes, named as options name them, into a policy; what is None stays."""
    for channel, mode in (("opens", opens), ("links", links)):
        if mode is not None:
            setattr(policy, channel, Mode[mode.upper()].value)


def modes_of(policy: "TrackingPolicy") -> dict[str, str]:
    """A Domain's policy as the commands print it."""
    return {
        "opens": Mode(policy.opens).name.lower(),
        "links": Mode(policy.links).name.lower(),
    }
