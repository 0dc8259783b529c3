"""`kannon run`: chosen parts in one process group, against a PostgreSQL and a NATS that are there."""

import asyncio
import sys
from contextlib import suppress

import click

from kannon.cli.flags import EPILOG, takes_settings
from kannon.cli.options import json_option, print_json
from kannon.core.errors import KannonError, LedgerUnavailable
from kannon.runtime.settings import (
    DATABASE_URL,
    DEBUG,
    NATS_URL,
    RUN_API,
    RUN_BOUNCE,
    RUN_DISPATCHER,
    RUN_EVENTS,
    RUN_SENDER,
    RUN_SMTP,
    RUN_STATS,
    RUN_TRACK,
    RUN_VERIFIER,
    RUN_WEBHOOKS,
    TICK_EVERY,
    Settings,
)

_SPOKEN = {"gateway": "gRPC", "edge": "gRPC", "reports": "SMTP", "tracking": "HTTP"}


class TablesMissing(KannonError):
    """The database lacks what the parts work on."""


@click.command(epilog=EPILOG)
@takes_settings(
    RUN_API,
    RUN_SMTP,
    RUN_SENDER,
    RUN_DISPATCHER,
    RUN_VERIFIER,
    RUN_BOUNCE,
    RUN_STATS,
    RUN_EVENTS,
    RUN_TRACK,
    RUN_WEBHOOKS,
    DATABASE_URL,
    NATS_URL,
)
@json_option
def run(settings: Settings, as_json: bool) -> None:
    """Run chosen parts on this machine, in the foreground; Ctrl-C stops them in order.

    PostgreSQL and NATS are given by URL, and every group that works with them shares one installation secret.
    The database must be up to date (`kannon migrate`). The parts log to standard error, as JSON.
    """
    from kannon.cli.standalone.components import running
    from kannon.cli.standalone.plan import Plan, Ports, check_ports, chosen, on_this_machine
    from kannon.runtime.logs import start_logging

    parts = chosen(settings)
    settings = on_this_machine(settings, parts)
    plan = Plan(settings, parts, Ports.choose())
    check_ports(settings, parts)
    start_logging("run", settings[DEBUG], stream=sys.stderr)
    if plan.needs_ledger:
        _check_tables(settings[DATABASE_URL])

    async def until_signal() -> None:
        async with running(plan, settings[TICK_EVERY].total_seconds()) as supervisor:
            _tell()
            await supervisor.run_until_signal()

    def _tell() -> None:
        reached = {"gateway": plan.api, "edge": plan.edge, "reports": plan.reports, "tracking": plan.tracking}
        if as_json:
            print_json({"running": plan.parts} | reached)
            return
        click.echo(f"running      {', '.join(plan.parts)}")
        for name, address in reached.items():
            if address:
                click.echo(f"{name:<12} {address} ({_SPOKEN[name]})")
        click.echo("Ctrl-C stops it.")

    asyncio.run(until_signal())


def _check_tables(url: str) -> None:
    from kannon.adapters.postgres.migrate import missing

    with suppress(LedgerUnavailable):  # then the parts wait for it
        if names := missing(url):
            raise TablesMissing(f"the database is not up to date ({', '.join(names)}): run `kannon migrate`")
