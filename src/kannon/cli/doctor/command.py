"""`kannon doctor`: asks, shows, and says by its exit code whether anything needs a look."""

import asyncio
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click
import grpc

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.doctor.report import Section, sections, verdict
from kannon.cli.messages import as_object
from kannon.cli.options import admin_token_option, api_option, json_option, print_json
from kannon.cli.retries import until_answered

if TYPE_CHECKING:
    from rich.live import Live

    from kannon.adapters.pb import admin_pb2

LOOK_EVERY: Final = 2.0
"""Seconds between two looks of `--watch`."""
SHARE: Final = 4
"""After a look that took long it waits so many times as long: watching must not keep a ledger busy."""


@click.command()
@click.option("--watch", is_flag=True, help="Go on looking, until Ctrl-C.")
@api_option
@admin_token_option
@json_option
def doctor(watch: bool, api: str, admin_token: str, as_json: bool) -> None:
    """Show what waits, why, what happens next and when, and whether anything needs you.

    The first line is the verdict. The exit code is 0 if nothing needs a look, 1 if something does, 3 if the
    gateway does not answer.
    """
    display = _Display(as_json)
    if not watch:
        found = call(api, lambda channel: _look(channel, admin_token))
        display.show(found)
        if found.findings:
            raise SystemExit(1)
        return
    with suppress(KeyboardInterrupt):  # the way to end it
        call(api, lambda channel: _watch(channel, admin_token, display))


async def _look(channel: grpc.aio.Channel, admin_token: str) -> "admin_pb2.DiagnoseRes":
    from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

    return await admin_pb2_grpc.ApiStub(channel).Diagnose(
        admin_pb2.DiagnoseReq(), metadata=admin_metadata(admin_token), timeout=TIMEOUT
    )


async def _watch(channel: grpc.aio.Channel, admin_token: str, display: "_Display") -> None:
    found = await _look(channel, admin_token)
    pause = LOOK_EVERY
    with display.redrawn():
        while True:
            display.show(found)
            await asyncio.sleep(pause)
            began = time.monotonic()
            found = await until_answered(lambda: _look(channel, admin_token), math.inf, _tell_of_waiting)
            pause = max(LOOK_EVERY, SHARE * (time.monotonic() - began))


def _tell_of_waiting(error: grpc.aio.AioRpcError, seconds: float) -> None:
    click.echo(f"waiting: {error.details()}; looking again in {seconds:.1f} s", err=True)


@dataclass
class _Display:
    """Shows a diagnosis, once or again and again."""

    as_json: bool
    _live: "Live | None" = None

    @contextmanager
    def redrawn(self) -> Iterator[None]:
        """Show it in one place of a terminal from here on; elsewhere one look behind the other."""
        if self.as_json or not sys.stdout.isatty():
            yield
            return
        from rich.live import Live

        with Live(auto_refresh=False, vertical_overflow="crop") as self._live:
            yield

    def show(self, found: "admin_pb2.DiagnoseRes") -> None:
        """Show it."""
        if self.as_json:
            print_json(as_object(found))
            return
        parts = [verdict(found), *sections(found)]
        if self._live:
            from rich.text import Text

            self._live.update(Text("\n".join(_lines(parts))), refresh=True)
            return
        for line in _lines(parts):
            click.echo(line)


def _lines(parts: list[Section]) -> Iterator[str]:
    for part in parts:
        yield part.title
        for line in part.lines:
            yield f"  {line}"
