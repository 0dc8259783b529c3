"""`kannon domain limits`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.options import admin_token_option, api_option, json_option, print_json
from kannon.cli.tables import Table

if TYPE_CHECKING:
    from kannon.adapters.pb import admin_pb2

F = TypeVar("F", bound=Callable[..., Any])
NAMES: Final = ("mails_per_minute", "mails_per_day", "recipients_per_call")
HEADINGS: Final = ("limit", "value", "set by")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a limit is to be; None: as the settings say."""

    value: int | None


class LimitType(click.ParamType):  # type: ignore[type-arg]  # generic in its stubs only
    """A number, `none`, or `default`."""

    name = "limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType`."""
        if isinstance(value, Wanted):
            return value
        if value in ("default", "none"):
            return Wanted(0 if value == "none" else None)
        if not value.isdecimal() or int(value) >= 2**32:
            self.fail(f"{value!r} is neither a whole number nor none or default", param, ctx)
        return Wanted(int(value))


def _limit_option(name: str, about: str) -> Callable[[F], F]:
    return click.option(
        f"--{name.replace('_', '-')}", name, type=LimitType(), metavar="N|none|default", help=about
    )


@click.command("limits")
@click.argument("domain_name", metavar="NAME")
@_limit_option("mails_per_minute", "Mails accepted within a minute.")
@_limit_option("mails_per_day", "Mails accepted within a day, UTC.")
@_limit_option("recipients_per_call", "Recipients of one call.")
@api_option
@admin_token_option
@json_option
def limits(domain_name: str, api: str, admin_token: str, as_json: bool, **given: Wanted | None) -> None:
    """Show how much the domain NAME may send, or set it; what is not given stays as it is.

    `default` is what the settings of the gateway say (limits.mails_per_minute and so on), `none` is no limit.
    """
    from kannon.adapters.pb import admin_pb2

    found = _call(api, admin_token, "GetLimits", admin_pb2.GetLimitsReq(domain=domain_name))
    changes = {name: wanted.value for name, wanted in given.items() if wanted is not None}
    if changes:
        kept = {name: _own(found.own, name) for name in NAMES}
        own = admin_pb2.Limits(**(kept | changes))
        found = _call(api, admin_token, "SetLimits", admin_pb2.SetLimitsReq(domain=domain_name, own=own))
    if as_json:
        print_json(
            {name: {"value": getattr(found.effective, name), "own": _own(found.own, name)} for name in NAMES}
        )
    else:
        Table(HEADINGS).print([_row(found, name) for name in NAMES])


def _call(api: str, admin_token: str, procedure: str, request: Any) -> Any:
    from kannon.adapters.pb import admin_pb2_grpc

    return call(
        api,
        lambda channel: getattr(admin_pb2_grpc.ApiStub(channel), procedure)(
            request, metadata=admin_metadata(admin_token), timeout=TIMEOUT
        ),
    )


def _own(own: "admin_pb2.Limits", name: Any) -> int | None:
    value: int = getattr(own, name)
    return value if own.HasField(name) else None


def _row(found: Any, name: str) -> tuple[str, ...]:
    value = getattr(found.effective, name)
    return (
        name,
        f"{value:,}" if value else "none",
        "settings" if _own(found.own, name) is None else "domain",
    )
