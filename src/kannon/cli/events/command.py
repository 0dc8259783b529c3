"""The group of `kannon events`."""

import click

from kannon.cli.events.tailing import tail


@click.group()
def events() -> None:
    """CloudEvents: what became of mails."""


events.add_command(tail)
