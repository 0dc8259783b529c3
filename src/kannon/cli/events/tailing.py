"""`kannon events tail`: outcomes as they are committed, by `StatsApiV3.StreamOutcomes`."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

import click
import grpc

from kannon.cli.client import admin_metadata, gateway
from kannon.cli.options import admin_token_option, api_option, json_option
from kannon.cli.outcomes import Display, stub
from kannon.cli.statistics import TYPES

if TYPE_CHECKING:
    from kannon.adapters.pb import stats_v3_pb2 as pb

PAUSES: Final = (0.5, 1.0, 2.0, 5.0)
"""Seconds before each next try to reach a gateway that was there before; the last one for good."""


@click.command()
@click.argument("domain_name", metavar="DOMAIN")
@click.option(
    "--type", "kinds", multiple=True, type=click.Choice(TYPES), help="This type; may be given again."
)
@click.option("--message", "message_id", default="", metavar="MSG_ID", help="Those of this message.")
@click.option("--recipient", default="", metavar="ADDRESS", help="Those of mails to ADDRESS.")
@click.option(
    "--all", "from_beginning", is_flag=True, help="Begin with the oldest that is kept, not with now."
)
@click.option("--cursor", default="", help="Go on from where another tail ended.")
@click.option("--no-follow", is_flag=True, help="End where there are no more, instead of waiting for them.")
@api_option
@admin_token_option
@json_option
def tail(
    domain_name: str,
    kinds: tuple[str, ...],
    message_id: str,
    recipient: str,
    from_beginning: bool,
    cursor: str,
    no_follow: bool,
    api: str,
    admin_token: str,
    as_json: bool,
) -> None:
    """Show outcomes of DOMAIN as they are committed, until Ctrl-C.

    It goes on when the gateway was restarted, misses nothing and shows nothing twice. In the end it tells on
    standard error by which cursor another tail goes on.
    """
    from kannon.adapters.pb import stats_v3_pb2 as pb

    if from_beginning and cursor:
        raise click.UsageError("--all and --cursor exclude each other")
    wanted = pb.StreamOutcomesReq(
        domain=domain_name,
        cursor=cursor,
        from_now=not (from_beginning or cursor),
        follow=not no_follow,
        types=kinds,
        message_id=message_id,
        email=recipient,
    )
    tailing = _Tailing(wanted, api, admin_metadata(admin_token), Display(as_json))
    try:
        asyncio.run(tailing.run())
    except KeyboardInterrupt:
        pass  # the usual end
    finally:
        if tailing.cursor:
            click.echo(f"to go on: --cursor {tailing.cursor}", err=True)


class _Tailing:
    """Reads on and on, over as many streams as that takes."""

    def __init__(self, wanted: "pb.StreamOutcomesReq", api: str, metadata: Any, display: Display) -> None:
        self._wanted = wanted
        self._api = api
        self._metadata = metadata
        self._display = display
        self._failures = 0

    @property
    def cursor(self) -> str:
        """Where to go on; empty if nothing was heard."""
        return self._wanted.cursor

    async def run(self) -> None:
        """Show what comes; raises CallFailed if it is refused, or the gateway was never there."""
        async with gateway(self._api) as channel:
            while True:
                try:
                    await self._read(channel)
                except grpc.aio.AioRpcError as error:
                    if not self._wanted.cursor or error.code() != grpc.StatusCode.UNAVAILABLE:
                        raise
                    await asyncio.sleep(PAUSES[min(self._failures, len(PAUSES) - 1)])
                    self._failures += 1
                else:
                    if not self._wanted.follow:
                        return

    async def _read(self, channel: grpc.aio.Channel) -> None:
        async for message in stub(channel).StreamOutcomes(self._wanted, metadata=self._metadata):
            self._display.show(message.outcomes)
            if message.cursor:
                self._wanted.cursor, self._wanted.from_now = message.cursor, False
            self._failures = 0
